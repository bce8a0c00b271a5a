//! Which failed checkpoints fail the job: Flink's `CheckpointFailureManager` as a pure state machine.

use std::collections::BTreeSet;
use std::fmt;

/// Why a checkpoint was not completed; the names are Flink's `CheckpointFailureReason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum FailureReason {
    /// Periodic triggering was switched off.
    PeriodicSchedulerShutdown,
    /// The queue of requests is full.
    TooManyCheckpointRequests,
    /// The minimum pause since the last completion is not over.
    MinimumTimeBetweenCheckpoints,
    /// Some task is not running yet, or no longer.
    NotAllRequiredTasksRunning,
    /// The checkpoint storage failed.
    IoException,
    /// Some output cannot take part in a checkpoint.
    BlockingOutputExist,
    /// The asynchronous part of a snapshot failed.
    CheckpointAsyncException,
    /// A file shared by several checkpoints failed.
    ChannelStateSharedStreamException,
    /// It took longer than the timeout.
    CheckpointExpired,
    /// A newer one completed before it.
    CheckpointSubsumed,
    /// A task refused it.
    CheckpointDeclined,
    /// A task was not ready.
    CheckpointDeclinedTaskNotReady,
    /// A task was closing.
    CheckpointDeclinedTaskClosing,
    /// A task saw a newer barrier first.
    CheckpointDeclinedSubsumed,
    /// A task saw the barrier that cancels it.
    CheckpointDeclinedOnCancellationBarrier,
    /// A task's input ended before all barriers were there.
    CheckpointDeclinedInputEndOfStream,
    /// The coordinator was shut down.
    CheckpointCoordinatorShutdown,
    /// The coordinator was suspended.
    CheckpointCoordinatorSuspend,
    /// Part of the job is being restarted.
    JobFailoverRegion,
    /// A task failed.
    TaskFailure,
    /// A task failed while it took its snapshot.
    TaskCheckpointFailure,
    /// A task did not know the checkpoint it was notified of.
    UnknownTaskCheckpointNotificationFailure,
    /// The manifest could not be written.
    FinalizeCheckpointFailure,
    /// Triggering it failed.
    TriggerCheckpointFailure,
}

impl FailureReason {
    /// Every reason with Flink's name for it.
    pub const ALL: [(Self, &'static str); 24] = [
        (
            Self::PeriodicSchedulerShutdown,
            "PERIODIC_SCHEDULER_SHUTDOWN",
        ),
        (
            Self::TooManyCheckpointRequests,
            "TOO_MANY_CHECKPOINT_REQUESTS",
        ),
        (
            Self::MinimumTimeBetweenCheckpoints,
            "MINIMUM_TIME_BETWEEN_CHECKPOINTS",
        ),
        (
            Self::NotAllRequiredTasksRunning,
            "NOT_ALL_REQUIRED_TASKS_RUNNING",
        ),
        (Self::IoException, "IO_EXCEPTION"),
        (Self::BlockingOutputExist, "BLOCKING_OUTPUT_EXIST"),
        (Self::CheckpointAsyncException, "CHECKPOINT_ASYNC_EXCEPTION"),
        (
            Self::ChannelStateSharedStreamException,
            "CHANNEL_STATE_SHARED_STREAM_EXCEPTION",
        ),
        (Self::CheckpointExpired, "CHECKPOINT_EXPIRED"),
        (Self::CheckpointSubsumed, "CHECKPOINT_SUBSUMED"),
        (Self::CheckpointDeclined, "CHECKPOINT_DECLINED"),
        (
            Self::CheckpointDeclinedTaskNotReady,
            "CHECKPOINT_DECLINED_TASK_NOT_READY",
        ),
        (
            Self::CheckpointDeclinedTaskClosing,
            "CHECKPOINT_DECLINED_TASK_CLOSING",
        ),
        (
            Self::CheckpointDeclinedSubsumed,
            "CHECKPOINT_DECLINED_SUBSUMED",
        ),
        (
            Self::CheckpointDeclinedOnCancellationBarrier,
            "CHECKPOINT_DECLINED_ON_CANCELLATION_BARRIER",
        ),
        (
            Self::CheckpointDeclinedInputEndOfStream,
            "CHECKPOINT_DECLINED_INPUT_END_OF_STREAM",
        ),
        (
            Self::CheckpointCoordinatorShutdown,
            "CHECKPOINT_COORDINATOR_SHUTDOWN",
        ),
        (
            Self::CheckpointCoordinatorSuspend,
            "CHECKPOINT_COORDINATOR_SUSPEND",
        ),
        (Self::JobFailoverRegion, "JOB_FAILOVER_REGION"),
        (Self::TaskFailure, "TASK_FAILURE"),
        (Self::TaskCheckpointFailure, "TASK_CHECKPOINT_FAILURE"),
        (
            Self::UnknownTaskCheckpointNotificationFailure,
            "UNKNOWN_TASK_CHECKPOINT_NOTIFICATION_FAILURE",
        ),
        (
            Self::FinalizeCheckpointFailure,
            "FINALIZE_CHECKPOINT_FAILURE",
        ),
        (Self::TriggerCheckpointFailure, "TRIGGER_CHECKPOINT_FAILURE"),
    ];

    /// The reason of that (Flink) name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, n)| *n == name).map(|(r, _)| *r)
    }

    /// Flink's name, in capitals.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(r, _)| *r == self)
            .map_or("UNKNOWN", |(_, n)| n)
    }

    /// Whether it happens before any barrier was sent.
    pub fn is_pre_flight(self) -> bool {
        matches!(
            self,
            Self::PeriodicSchedulerShutdown
                | Self::TooManyCheckpointRequests
                | Self::MinimumTimeBetweenCheckpoints
                | Self::NotAllRequiredTasksRunning
                | Self::IoException
                | Self::BlockingOutputExist
        )
    }

    /// Whether it counts against the tolerable number of failures.
    ///
    /// What a shutdown, a restart or a mere refusal explains does not.
    pub fn is_counted(self) -> bool {
        matches!(
            self,
            Self::IoException
                | Self::CheckpointAsyncException
                | Self::CheckpointExpired
                | Self::CheckpointDeclined
                | Self::FinalizeCheckpointFailure
        )
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What follows from a failed checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureVerdict {
    /// The job goes on.
    Tolerate,
    /// More failures in a row than are tolerable: the job must be restarted.
    FailJob,
}

/// Counts failures in a row and says when they are too many.
///
/// One checkpoint id counts once; a completed checkpoint newer than the last one starts the count anew;
/// failures of checkpoints that are not newer than the last success, and of savepoints, never count.
#[derive(Debug, Clone)]
pub struct FailureCounter {
    tolerable: Option<u32>,
    in_a_row: u32,
    counted: BTreeSet<u64>,
    last_success: Option<u64>,
}

impl FailureCounter {
    /// A counter that tolerates `tolerable` failures in a row; `None` tolerates any number.
    pub fn new(tolerable: Option<u32>) -> Self {
        Self {
            tolerable,
            in_a_row: 0,
            counted: BTreeSet::new(),
            last_success: None,
        }
    }

    /// A checkpoint (or savepoint) completed.
    pub fn on_complete(&mut self, id: u64) {
        if self.last_success.is_none_or(|last| id > last) {
            self.last_success = Some(id);
            self.clear();
        }
    }

    /// A checkpoint failed; `savepoint` failures are the caller's business and never fail the job.
    pub fn on_failure(
        &mut self,
        id: u64,
        reason: FailureReason,
        savepoint: bool,
    ) -> FailureVerdict {
        let Some(tolerable) = self.tolerable else {
            return FailureVerdict::Tolerate;
        };
        let stale = self.last_success.is_some_and(|last| id <= last);
        if savepoint || stale {
            return FailureVerdict::Tolerate;
        }
        if reason.is_counted() && self.counted.insert(id) {
            self.in_a_row += 1;
        }
        if self.in_a_row > tolerable {
            self.clear();
            return FailureVerdict::FailJob;
        }
        FailureVerdict::Tolerate
    }

    /// Failures in a row so far.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    fn clear(&mut self) {
        self.in_a_row = 0;
        self.counted.clear();
    }
}
