//! Barrier alignment over several inputs: Flink's `SingleCheckpointBarrierHandler` as a pure state
//! machine.

use crate::config::CheckpointMode;

/// What follows from a barrier, or from the end of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Nothing yet. In exactly-once mode the input it came from is blocked.
    Wait,
    /// All inputs have delivered it: take the snapshot; all inputs are open again.
    Complete(u64),
    /// It belongs to a checkpoint that is over.
    Ignore,
}

/// Follows one checkpoint at a time; a newer one takes the place of an older that is not complete.
#[derive(Debug)]
pub(crate) struct Aligner {
    mode: CheckpointMode,
    inputs: Vec<Input>,
    current: Option<u64>,
    /// Everything up to this is over.
    finished: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Input {
    delivered: bool,
    ended: bool,
}

impl Aligner {
    pub(crate) fn new(mode: CheckpointMode, inputs: usize) -> Self {
        Self {
            mode,
            inputs: vec![Input::default(); inputs],
            current: None,
            finished: 0,
        }
    }

    /// Whether nothing may be taken from an input for now.
    pub(crate) fn is_blocked(&self, input: usize) -> bool {
        self.mode == CheckpointMode::ExactlyOnce
            && self.current.is_some()
            && self.inputs[input].delivered
    }

    /// The checkpoint being aligned.
    pub(crate) fn current(&self) -> Option<u64> {
        self.current
    }

    pub(crate) fn on_barrier(&mut self, input: usize, id: u64) -> Alignment {
        if id <= self.finished || self.current.is_some_and(|current| id < current) {
            return Alignment::Ignore;
        }
        if self.current != Some(id) {
            // the older one will never complete: its coordinator has given it up
            self.reset();
            self.current = Some(id);
        }
        self.inputs[input].delivered = true;
        self.check()
    }

    pub(crate) fn on_end(&mut self, input: usize) -> Alignment {
        self.inputs[input].ended = true;
        if self.current.is_none() {
            Alignment::Ignore
        } else {
            self.check()
        }
    }

    /// The coordinator has given a checkpoint up; says whether inputs were waiting for it.
    pub(crate) fn on_abort(&mut self, id: u64) -> bool {
        self.finished = self.finished.max(id);
        if self.current.is_some_and(|current| current <= id) {
            self.reset();
            return true;
        }
        false
    }

    fn check(&mut self) -> Alignment {
        let Some(id) = self.current else {
            return Alignment::Ignore;
        };
        if self
            .inputs
            .iter()
            .any(|input| !input.delivered && !input.ended)
        {
            return Alignment::Wait;
        }
        self.finished = id;
        self.reset();
        Alignment::Complete(id)
    }

    fn reset(&mut self) {
        self.current = None;
        self.inputs
            .iter_mut()
            .for_each(|input| input.delivered = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Alignment::{Complete, Ignore, Wait};

    fn aligner(inputs: usize) -> Aligner {
        Aligner::new(CheckpointMode::ExactlyOnce, inputs)
    }

    #[test]
    fn inputs_wait_for_the_slowest() {
        let mut a = aligner(3);
        assert_eq!(a.on_barrier(1, 1), Wait);
        assert!(a.is_blocked(1) && !a.is_blocked(0));
        assert_eq!(a.on_barrier(0, 1), Wait);
        assert_eq!(a.on_barrier(2, 1), Complete(1));
        assert!((0..3).all(|i| !a.is_blocked(i)));
    }

    #[test]
    fn at_least_once_blocks_nobody() {
        let mut a = Aligner::new(CheckpointMode::AtLeastOnce, 2);
        assert_eq!(a.on_barrier(0, 1), Wait);
        assert!(!a.is_blocked(0));
        assert_eq!(a.on_barrier(1, 1), Complete(1));
    }

    #[test]
    fn a_newer_barrier_supersedes_and_old_ones_are_ignored() {
        let mut a = aligner(2);
        assert_eq!(a.on_barrier(0, 1), Wait);
        assert_eq!(a.on_barrier(1, 2), Wait);
        assert!(!a.is_blocked(0) && a.is_blocked(1));
        assert_eq!(a.on_barrier(1, 1), Ignore);
        assert_eq!(a.on_barrier(0, 2), Complete(2));
        assert_eq!(a.on_barrier(0, 2), Ignore);
    }

    #[test]
    fn an_abort_opens_the_inputs_and_late_barriers_are_ignored() {
        let mut a = aligner(2);
        assert_eq!(a.on_barrier(0, 5), Wait);
        assert!(a.on_abort(5));
        assert!(!a.is_blocked(0));
        assert_eq!(a.on_barrier(1, 5), Ignore);
        assert_eq!(a.on_barrier(1, 6), Wait);
        assert!(!a.on_abort(5));
        assert_eq!(a.on_barrier(0, 6), Complete(6));
    }

    #[test]
    fn an_ended_input_is_not_waited_for() {
        let mut a = aligner(2);
        assert_eq!(a.on_barrier(0, 1), Wait);
        assert_eq!(a.on_end(1), Complete(1));
        assert_eq!(a.on_barrier(0, 2), Complete(2));
    }
}
