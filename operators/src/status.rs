//! How a job is doing.

use crate::checkpoint::CheckpointHistory;
use crate::source::Split;
use serde::Serialize;
use time_engine::Timestamp;

/// Where a job is in its life; Flink's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum JobState {
    /// Tasks are being started and state restored.
    Initializing,
    /// All tasks run.
    Running,
    /// It failed and waits for its restart.
    Restarting,
    /// All sources ended, or it was drained.
    Finished,
    /// It was stopped to go on later.
    Suspended,
    /// It was cancelled.
    Canceled,
    /// It failed for good.
    Failed,
}

impl JobState {
    /// Whether it will never run again.
    pub fn is_terminal(self) -> bool {
        !matches!(self, Self::Initializing | Self::Running | Self::Restarting)
    }
}

/// Figures of one subtask of one task.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SubtaskStatus {
    /// The first operator of its chain.
    pub task: String,
    /// From 0.
    pub subtask: usize,
    /// Elements taken in since the start of this attempt.
    pub records_in: u64,
    /// Elements handed out.
    pub records_out: u64,
    /// How far event time has come; none before the first watermark.
    pub watermark: Option<Timestamp>,
    /// Time asleep for want of input.
    pub idle_ms: u64,
    /// Time asleep because its outputs were full.
    pub backpressured_ms: u64,
    /// Memory that keyed state takes.
    pub state_bytes: u64,
    /// Timers that wait.
    pub timers: u64,
    /// Elements too late for every window.
    pub late: u64,
    /// The longest slice of background work, and so the longest a snapshot held elements up.
    pub max_slice_us: u64,
    /// Sources: how far each split has been read.
    pub positions: Vec<Split>,
}

/// How a job is doing.
#[derive(Debug, Clone, Serialize)]
pub struct JobStatus {
    /// Its name.
    pub name: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Starts so far.
    pub attempts: u64,
    /// The last failure, with its causes.
    pub failure: Option<String>,
    /// Every subtask of the current attempt.
    pub subtasks: Vec<SubtaskStatus>,
    /// Its checkpoints.
    pub checkpoints: CheckpointHistory,
}
