//! What became of past checkpoints: bounded, with the slowest part of each named.

use super::pending::PhaseTimes;
use super::{FailureReason, SnapshotPurpose};
use serde::Serialize;
use std::collections::VecDeque;
use std::fmt;

/// What one part of the job contributed to a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShardRecord {
    /// The operator's, source's or sink's uid.
    pub uid: String,
    /// From 0.
    pub subtask: usize,
    /// Bytes it wrote.
    pub bytes: u64,
    /// How long its phases took.
    pub times: PhaseTimes,
}

impl ShardRecord {
    fn total_us(&self) -> u64 {
        let t = &self.times;
        t.start_delay_us + t.alignment_us + t.sync_us + t.async_us
    }

    fn slowest_phase(&self) -> (&'static str, u64) {
        let t = &self.times;
        [
            ("start delay", t.start_delay_us),
            ("alignment", t.alignment_us),
            ("sync", t.sync_us),
            ("async", t.async_us),
        ]
        .into_iter()
        .max_by_key(|(_, us)| *us)
        .unwrap_or(("sync", 0))
    }
}

/// Where a checkpoint stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum CheckpointState {
    /// Triggered, not all parts are there.
    InProgress,
    /// Durable.
    Completed {
        /// Where it is, for a restore.
        location: String,
    },
    /// Given up.
    Failed {
        /// Flink's name of the reason.
        reason: String,
        /// The cause in words.
        message: String,
    },
}

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckpointRecord {
    /// Its number.
    pub id: u64,
    /// Checkpoint or savepoint.
    pub purpose: SnapshotPurpose,
    /// When it was triggered, in ms since the epoch.
    pub triggered_ms: i64,
    /// From then to its end; so far, while it is in progress.
    pub duration_ms: u64,
    /// The manifest's commit alone.
    pub commit_us: u64,
    /// Bytes written for it.
    pub bytes_written: u64,
    /// Bytes a restore from it reads.
    pub bytes_total: u64,
    /// Parts that take a snapshot.
    pub parts: usize,
    /// What each acknowledged part contributed.
    pub shards: Vec<ShardRecord>,
    /// How it stands.
    pub state: CheckpointState,
}

impl fmt::Display for CheckpointRecord {
    /// One line that names the slowest part and phase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.purpose {
            SnapshotPurpose::Checkpoint => "checkpoint",
            SnapshotPurpose::Savepoint => "savepoint",
        };
        write!(f, "{what} {} ", self.id)?;
        match &self.state {
            CheckpointState::InProgress => write!(f, "in progress for {} ms", self.duration_ms)?,
            CheckpointState::Completed { .. } => write!(
                f,
                "completed in {} ms, {} bytes written of {}",
                self.duration_ms, self.bytes_written, self.bytes_total
            )?,
            CheckpointState::Failed { reason, message } => {
                write!(
                    f,
                    "failed after {} ms: {reason}: {message}",
                    self.duration_ms
                )?;
            }
        }
        if let Some(slowest) = self.shards.iter().max_by_key(|shard| shard.total_us()) {
            let (phase, us) = slowest.slowest_phase();
            write!(
                f,
                "; slowest {}[{}], {phase} {}.{:03} ms",
                slowest.uid,
                slowest.subtask,
                us / 1000,
                us % 1000
            )?;
        }
        Ok(())
    }
}

/// The last checkpoints, oldest first, and totals over all.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CheckpointHistory {
    /// Triggered so far.
    pub triggered: u64,
    /// Completed so far.
    pub completed: u64,
    /// Failed so far.
    pub failed: u64,
    /// The checkpoint the job was restored from.
    pub restored: Option<u64>,
    /// The last ones, oldest first.
    pub recent: VecDeque<CheckpointRecord>,
}

const KEPT: usize = 100;

impl CheckpointHistory {
    pub(crate) fn begin(&mut self, record: CheckpointRecord) {
        self.triggered += 1;
        if self.recent.len() >= KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(record);
    }

    pub(crate) fn change(&mut self, id: u64, change: impl FnOnce(&mut CheckpointRecord)) {
        if let Some(record) = self.recent.iter_mut().rev().find(|record| record.id == id) {
            change(record);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&CheckpointRecord> {
        self.recent.iter().rev().find(|record| record.id == id)
    }

    pub(crate) fn complete(&mut self, id: u64, change: impl FnOnce(&mut CheckpointRecord)) {
        self.completed += 1;
        self.change(id, change);
    }

    pub(crate) fn fail(
        &mut self,
        id: u64,
        duration_ms: u64,
        reason: FailureReason,
        message: String,
    ) {
        self.failed += 1;
        self.change(id, |record| {
            record.duration_ms = duration_ms;
            record.state = CheckpointState::Failed {
                reason: reason.to_string(),
                message,
            };
        });
    }

    /// The newest completed one.
    pub fn last_completed(&self) -> Option<&CheckpointRecord> {
        let done =
            |record: &&CheckpointRecord| matches!(record.state, CheckpointState::Completed { .. });
        self.recent.iter().rev().find(done)
    }
}
