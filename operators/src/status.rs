//! How a job is doing.

use crate::checkpoint::CheckpointHistory;
use crate::source::Split;
use serde::Serialize;
use std::fmt;
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

/// Where keyed state came from at a start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RestoreSource {
    /// The files that the subtask left at an orderly stop; see [`LocalRecovery`](crate::LocalRecovery).
    Local,
    /// The files of the checkpoint or savepoint.
    Checkpoint,
}

/// How the keyed state of one operator's subtask was restored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateRestore {
    /// The operator's uid.
    pub operator: String,
    /// From 0.
    pub subtask: usize,
    /// Where from.
    pub source: RestoreSource,
    /// Rows of keyed state.
    pub rows: u64,
    /// Bytes read of the checkpoint's files.
    pub bytes_read: u64,
    /// How long it took.
    pub duration_us: u64,
    /// Why local files that were there were not used.
    pub refused: Option<String>,
}

impl fmt::Display for StateRestore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operator, subtask, rows) = (&self.operator, self.subtask, self.rows);
        let ms = self.duration_us as f64 / 1e3;
        match self.source {
            RestoreSource::Local => write!(
                f,
                "{operator}[{subtask}]: {rows} rows from local files in {ms:.1} ms"
            )?,
            RestoreSource::Checkpoint => write!(
                f,
                "{operator}[{subtask}]: {rows} rows from the checkpoint in {ms:.1} ms"
            )?,
        }
        match &self.refused {
            Some(reason) => write!(f, "; local files were not used: {reason}"),
            None => Ok(()),
        }
    }
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
    /// Where the keyed state of the current attempt came from; empty when it began with none.
    pub restored: Vec<StateRestore>,
    /// Its checkpoints.
    pub checkpoints: CheckpointHistory,
}
