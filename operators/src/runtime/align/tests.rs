//! Promise: a snapshot is taken once for each checkpoint, when everything that must be before it is, and
//! each element is either worked off before it or belongs to it.

use super::*;
use Alignment::{Complete, Snapshot, Wait};
use InputKind::{Ordered, Overtakable};
use Passing::{InOrder, Overtaking};
use proptest::prelude::*;

fn aligner(inputs: usize) -> Aligner {
    let inputs = std::iter::repeat_n(Overtakable, inputs);
    Aligner::new(CheckpointMode::ExactlyOnce, inputs)
}

fn in_order(a: &mut Aligner, input: usize, id: u64) -> Alignment {
    a.on_barrier(input, id, InOrder);
    a.poll()
}

const fn snapshot(id: u64, passing: Passing) -> Alignment {
    Snapshot { id, passing }
}

#[test]
fn inputs_wait_for_the_slowest() {
    let mut a = aligner(3);
    assert_eq!(in_order(&mut a, 1, 1), Wait);
    assert!(a.is_blocked(1) && !a.is_blocked(0));
    assert_eq!(in_order(&mut a, 0, 1), Wait);
    assert_eq!(in_order(&mut a, 2, 1), snapshot(1, InOrder));
    assert_eq!(a.poll(), Complete(1));
    assert!((0..3).all(|i| !a.is_blocked(i) && a.recording(i).is_none()));
}

#[test]
fn at_least_once_blocks_nobody() {
    let mut a = Aligner::new(CheckpointMode::AtLeastOnce, [Overtakable; 2]);
    assert_eq!(in_order(&mut a, 0, 1), Wait);
    assert!(!a.is_blocked(0));
    assert_eq!(in_order(&mut a, 1, 1), snapshot(1, InOrder));
}

#[test]
fn a_newer_barrier_supersedes_and_old_ones_are_ignored() {
    let mut a = aligner(2);
    assert_eq!(in_order(&mut a, 0, 1), Wait);
    assert_eq!(in_order(&mut a, 1, 2), Wait);
    assert!(!a.is_blocked(0) && a.is_blocked(1));
    assert_eq!(in_order(&mut a, 1, 1), Wait);
    assert_eq!(in_order(&mut a, 0, 2), snapshot(2, InOrder));
    assert_eq!(a.poll(), Complete(2));
    assert_eq!(in_order(&mut a, 0, 2), Wait);
    assert_eq!(a.current(), None);
}

#[test]
fn an_abort_opens_the_inputs_and_late_barriers_are_ignored() {
    let mut a = aligner(2);
    assert_eq!(in_order(&mut a, 0, 5), Wait);
    a.on_abort(5);
    assert!(!a.is_blocked(0));
    assert_eq!(in_order(&mut a, 1, 5), Wait);
    assert_eq!(in_order(&mut a, 1, 6), Wait);
    a.on_abort(5);
    assert_eq!(in_order(&mut a, 0, 6), snapshot(6, InOrder));
}

#[test]
fn an_ended_input_is_not_waited_for() {
    let mut a = aligner(2);
    assert_eq!(in_order(&mut a, 0, 1), Wait);
    a.on_end(1);
    assert_eq!(a.poll(), snapshot(1, InOrder));
    assert_eq!(a.poll(), Complete(1));
    assert_eq!(in_order(&mut a, 0, 2), snapshot(2, InOrder));
}

#[test]
fn the_first_overtaking_barrier_takes_the_snapshot_and_the_rest_is_recorded() {
    let mut a = aligner(3);
    a.on_overtaking(1);
    assert_eq!(a.poll(), snapshot(1, Overtaking));
    assert!((0..3).all(|i| a.recording(i) == Some(1) && !a.is_blocked(i)));
    assert_eq!(in_order(&mut a, 2, 1), Wait);
    assert_eq!(a.recording(2), None);
    assert!(!a.is_blocked(2));
    a.on_end(0);
    assert_eq!(a.poll(), Wait);
    a.on_barrier(1, 1, Overtaking);
    assert_eq!(a.poll(), Complete(1));
}

#[test]
fn broadcast_inputs_are_never_overtaken() {
    let inputs = [Overtakable, Ordered, Ordered];
    let mut a = Aligner::new(CheckpointMode::ExactlyOnce, inputs);
    a.on_overtaking(1);
    assert_eq!(a.poll(), Wait);
    // whose barrier has been taken waits, as with aligned barriers
    a.on_barrier(1, 1, Overtaking);
    assert_eq!(a.poll(), Wait);
    assert!(a.is_blocked(1) && !a.is_blocked(0) && a.recording(0).is_none());
    a.on_barrier(2, 1, Overtaking);
    assert_eq!(a.poll(), snapshot(1, Overtaking));
    assert_eq!(a.recording(0), Some(1));
    a.on_barrier(0, 1, Overtaking);
    assert_eq!(a.poll(), Complete(1));
}

#[test]
fn a_timeout_turns_an_alignment_into_an_overtaking() {
    let mut a = aligner(2);
    assert_eq!(in_order(&mut a, 0, 4), Wait);
    assert!(a.is_blocked(0));
    a.on_timeout(4);
    assert_eq!(a.poll(), snapshot(4, Overtaking));
    // of the first everything before the barrier has been worked off
    assert_eq!((a.recording(0), a.recording(1)), (None, Some(4)));
    assert!(!a.is_blocked(0));
    assert_eq!(in_order(&mut a, 1, 4), Complete(4));
}

#[test]
fn a_timeout_before_the_first_barrier_holds_for_it() {
    let mut a = aligner(2);
    a.on_timeout(4);
    assert_eq!(a.poll(), Wait);
    assert_eq!(in_order(&mut a, 0, 4), snapshot(4, Overtaking));
    assert_eq!(in_order(&mut a, 1, 4), Complete(4));
    // and for no later one
    assert_eq!(in_order(&mut a, 0, 5), Wait);
    assert!(a.is_blocked(0));
}

#[test]
fn an_abort_ends_the_recording() {
    let mut a = aligner(2);
    a.on_overtaking(3);
    assert_eq!(a.poll(), snapshot(3, Overtaking));
    a.on_abort(3);
    assert!((0..2).all(|i| a.recording(i).is_none()));
    a.on_overtaking(3);
    assert_eq!(a.poll(), Wait);
}

proptest! {
    /// Whatever comes in whatever order: one snapshot for each checkpoint at most, never an older one
    /// after a newer; nothing is recorded before it, nobody waits behind it.
    #[test]
    fn one_snapshot_and_then_one_completion(
        kinds in proptest::collection::vec(prop_oneof![Just(Overtakable), Just(Ordered)], 1..5),
        events in proptest::collection::vec((0..5_usize, 1..5_u64, 0..8_u8), 0..60),
    ) {
        let n = kinds.len();
        let mut a = Aligner::new(CheckpointMode::ExactlyOnce, kinds.iter().copied());
        let (mut last, mut completed) = (0, 0);
        for (input, id, what) in events {
            match what {
                0..4 => a.on_barrier(input % n, id, InOrder),
                4 => a.on_barrier(input % n, id, Overtaking),
                5 => a.on_overtaking(id),
                6 => a.on_timeout(id),
                _ => a.on_abort(id),
            }
            loop {
                match a.poll() {
                    Wait => break,
                    Snapshot { id, passing } => {
                        prop_assert!(id > last);
                        last = id;
                        if passing == InOrder {
                            prop_assert_eq!(a.poll(), Complete(id));
                            completed = id;
                        }
                        for (input, kind) in kinds.iter().enumerate() {
                            prop_assert!(*kind == Overtakable || a.recording(input).is_none());
                        }
                    }
                    Complete(id) => {
                        prop_assert!(id == last && id > completed);
                        completed = id;
                    }
                }
            }
            for input in 0..n {
                prop_assert!(a.recording(input).is_none() || !a.is_blocked(input));
            }
        }
    }
}
