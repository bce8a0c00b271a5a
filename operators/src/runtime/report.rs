//! What tasks and writers tell the coordinator, and what it tells them.

use super::event::Barrier;
use crate::checkpoint::{Ack, FailureReason, ShardKey};
use crate::error::Error;
use crate::status::StateRestore;

/// Reports; each is from one attempt (one start of the job).
#[derive(Debug)]
pub(crate) enum Report {
    /// A task runs; these are its parts that take snapshots, and this is where its state came from.
    Started {
        parts: Vec<ShardKey>,
        restored: Vec<StateRestore>,
    },
    Ack {
        checkpoint: u64,
        part: ShardKey,
        ack: Box<Ack>,
    },
    Declined {
        checkpoint: u64,
        part: ShardKey,
        reason: FailureReason,
        error: Error,
    },
    /// A source has nothing more to read.
    Exhausted,
    Failed {
        error: Error,
    },
    Finished,
}

/// Commands to a task.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    /// Sources only: send this barrier.
    Trigger(Barrier),
    /// Aligning this checkpoint's barriers takes too long: they overtake from now on.
    Overtake(u64),
    Complete(u64),
    Abort(u64),
    /// Sources only: nothing will follow.
    Finish,
    /// Sources only: read no more, let time run to its end.
    Drain,
    /// Sources only: a stop has failed, go on reading.
    Resume,
}

/// From this attempt's task.
#[derive(Debug)]
pub(crate) struct Envelope {
    pub(crate) attempt: u64,
    pub(crate) task: usize,
    pub(crate) report: Report,
}

/// The most reports that wait for the coordinator. Their number is bounded by the protocol: a task
/// sends one for its start and its end, and one for each part and checkpoint under way.
pub(crate) const REPORTS: usize = 1 << 16;
