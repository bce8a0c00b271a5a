//! Barriers over several inputs: Flink's `SingleCheckpointBarrierHandler` with its aligned, unaligned and
//! alternating controllers, as a pure state machine.

use super::event::Passing;
use crate::config::CheckpointMode;

/// What follows from what the inputs have delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alignment {
    /// Nothing yet.
    Wait,
    /// Take the snapshot now. `InOrder`: everything before the barriers has been worked off.
    /// `Overtaking`: what the inputs still have before theirs belongs to the snapshot.
    Snapshot { id: u64, passing: Passing },
    /// All barriers are there, and nothing more belongs to it.
    Complete(u64),
}

/// Whether barriers may overtake the elements of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InputKind {
    Overtakable,
    /// A broadcast: what one subtask has worked off and another has not could belong to no new one.
    Ordered,
}

/// Follows one checkpoint at a time; a newer one takes the place of an older that is not complete.
#[derive(Debug)]
pub(crate) struct Aligner {
    mode: CheckpointMode,
    inputs: Vec<Input>,
    current: Option<Current>,
    /// Everything up to this is over.
    finished: u64,
    /// Aligning everything up to this has taken too long: barriers overtake.
    switched: u64,
}

#[derive(Debug, Clone, Copy)]
struct Input {
    kind: InputKind,
    delivered: bool,
    ended: bool,
}

impl Input {
    fn is_through(&self) -> bool {
        self.delivered || self.ended
    }
}

#[derive(Debug, Clone, Copy)]
struct Current {
    id: u64,
    passing: Passing,
    /// The snapshot has been taken.
    taken: bool,
}

impl Aligner {
    pub(crate) fn new(mode: CheckpointMode, inputs: impl IntoIterator<Item = InputKind>) -> Self {
        let inputs = inputs.into_iter().map(|kind| Input {
            kind,
            delivered: false,
            ended: false,
        });
        Self {
            mode,
            inputs: inputs.collect(),
            current: None,
            finished: 0,
            switched: 0,
        }
    }

    /// Whether nothing may be taken from an input for now: its barrier is there and the snapshot is not.
    pub(crate) fn is_blocked(&self, input: usize) -> bool {
        self.mode == CheckpointMode::ExactlyOnce
            && self.current.is_some_and(|current| !current.taken)
            && self.inputs[input].delivered
    }

    /// The snapshot that what is taken from an input belongs to: it is before the input's barrier, and
    /// the snapshot has been taken.
    pub(crate) fn recording(&self, input: usize) -> Option<u64> {
        let current = self.current.filter(|current| current.taken)?;
        (!self.inputs[input].is_through()).then_some(current.id)
    }

    /// The checkpoint being followed.
    pub(crate) fn current(&self) -> Option<u64> {
        self.current.map(|current| current.id)
    }

    /// An input has delivered its barrier.
    pub(crate) fn on_barrier(&mut self, input: usize, id: u64, passing: Passing) {
        if self.follow(id, passing) {
            self.inputs[input].delivered = true;
        }
    }

    /// A barrier that overtakes waits in the queue of some input.
    pub(crate) fn on_overtaking(&mut self, id: u64) {
        self.follow(id, Passing::Overtaking);
    }

    /// Aligning has taken too long.
    pub(crate) fn on_timeout(&mut self, id: u64) {
        self.switched = self.switched.max(id);
        if let Some(current) = &mut self.current
            && current.id <= id
        {
            current.passing = Passing::Overtaking;
        }
    }

    pub(crate) fn on_end(&mut self, input: usize) {
        self.inputs[input].ended = true;
    }

    /// The coordinator has given a checkpoint up.
    pub(crate) fn on_abort(&mut self, id: u64) {
        self.finished = self.finished.max(id);
        if self.current.is_some_and(|current| current.id <= id) {
            self.reset();
        }
    }

    /// What is to be done now; to be asked until there is nothing.
    pub(crate) fn poll(&mut self) -> Alignment {
        let Some(current) = &mut self.current else {
            return Alignment::Wait;
        };
        let id = current.id;
        let complete = self.inputs.iter().all(Input::is_through);
        if current.taken {
            if !complete {
                return Alignment::Wait;
            }
            self.finished = id;
            self.reset();
            return Alignment::Complete(id);
        }
        let passing = current.passing;
        let mut ordered = self.inputs.iter().filter(|i| i.kind == InputKind::Ordered);
        let early = passing == Passing::Overtaking && ordered.all(Input::is_through);
        if !complete && !early {
            return Alignment::Wait;
        }
        current.taken = true;
        Alignment::Snapshot { id, passing }
    }

    /// Whether a checkpoint is not over; makes it the current one.
    fn follow(&mut self, id: u64, passing: Passing) -> bool {
        if id <= self.finished || self.current.is_some_and(|current| id < current.id) {
            return false;
        }
        if self.current().is_none_or(|current| current != id) {
            // the older one will never complete: its coordinator has given it up
            self.reset();
            let passing = Passing::InOrder;
            let taken = false;
            self.current = Some(Current { id, passing, taken });
        }
        if let Some(current) = &mut self.current
            && (passing == Passing::Overtaking || id <= self.switched)
        {
            current.passing = Passing::Overtaking;
        }
        true
    }

    fn reset(&mut self) {
        self.current = None;
        self.inputs
            .iter_mut()
            .for_each(|input| input.delivered = false);
    }
}

#[cfg(test)]
mod tests;
