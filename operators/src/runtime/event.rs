//! What runs down a chain besides elements.

use crate::checkpoint::PhaseTimes;
use crate::error::Error;
use crate::runtime::metrics::TaskMetrics;
use crate::runtime::query::QueryCommand;
use state_backend::SnapshotKind;
use std::sync::Arc;
use time_engine::Timestamp;

/// What a checkpoint is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SnapshotPurpose {
    /// Recovery: only what changed, deleted when newer ones make it superfluous.
    Checkpoint,
    /// Kept for its owner: everything, in a directory of its own.
    Savepoint,
}

/// What becomes of the sources once a barrier has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopMode {
    /// Time runs to its end first: every timer and window fires, then the state is saved.
    Drain,
    /// The state is saved as it is, to go on from it later.
    Suspend,
}

/// How a barrier goes through the queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    /// Behind the elements before it (aligned).
    InOrder,
    /// Ahead of them; they go into the checkpoint (unaligned).
    Overtaking,
}

/// Separates what belongs to a checkpoint from what comes after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Barrier {
    pub(crate) id: u64,
    pub(crate) purpose: SnapshotPurpose,
    pub(crate) kind: SnapshotKind,
    pub(crate) triggered: Timestamp,
    /// The sources stop behind it until they hear more.
    pub(crate) halt: bool,
    /// The job ends with it, if it succeeds.
    pub(crate) last: bool,
    pub(crate) passing: Passing,
}

/// Whether a link has done what an event asks of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub(crate) enum Flow {
    Done,
    /// The outputs are full: give the same event again when there is room.
    Blocked,
}

/// Which buffers are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flush {
    /// Only what was refused before.
    Refused,
    /// What is older than the buffer timeout.
    Due,
    /// All: there is nothing else to do.
    Idle,
}

/// An event on its way down a chain. A link that has no use for one hands it on.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A batch of a source is through.
    BatchEnd,
    Watermark(Timestamp),
    Idle,
    Active,
    /// The clock shows this time.
    ProcessingTime(Timestamp),
    Barrier(&'a Barrier),
    /// The barrier of this checkpoint, handed on already, is to overtake what it still waits behind.
    Overtake(u64),
    /// A slice of work in the background: snapshots, expiry, eviction. In the rounds after round 0, only for those
    /// who asked for it.
    Work {
        round: usize,
    },
    Flush(Flush),
    Complete(u64),
    Abort(u64),
    Query(&'a mut Option<QueryCommand>),
    /// Nothing follows.
    End,
    /// The end has gone through and everything is handed on: this is the last call.
    Close,
}

/// What a task shares with the links of its chain during a call.
#[derive(Debug)]
pub(crate) struct TaskContext {
    /// Some output is full, or something failed: stop feeding.
    pub(crate) halt: bool,
    pub(crate) failure: Option<Error>,
    /// The clock at the start of this step.
    pub(crate) now: Timestamp,
    /// The earliest processing time at which a link wants to be called.
    pub(crate) wake_at: Timestamp,
    /// A link has work left for the next slice.
    pub(crate) work_left: bool,
    /// A snapshot wants its next slice before the elements that wait.
    pub(crate) slice_due: bool,
    /// What the barrier being delivered has been through.
    pub(crate) barrier_times: PhaseTimes,
    pub(crate) metrics: Arc<TaskMetrics>,
}

impl TaskContext {
    pub(crate) fn new(metrics: Arc<TaskMetrics>) -> Self {
        Self {
            halt: false,
            failure: None,
            now: Timestamp::MIN,
            wake_at: Timestamp::MAX,
            work_left: false,
            slice_due: false,
            barrier_times: PhaseTimes::default(),
            metrics,
        }
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.halt = true;
        self.failure.get_or_insert(error);
    }

    pub(crate) fn take_failure(&mut self) -> Result<(), Error> {
        self.failure.take().map_or(Ok(()), Err)
    }

    pub(crate) fn wake_by(&mut self, at: Timestamp) {
        self.wake_at = self.wake_at.min(at);
    }
}
