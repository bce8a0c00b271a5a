//! A checkpoint under way: who has acknowledged it, who is still to.

use crate::operator_state::OperatorState;
use crate::source::Split;
use checkpoint_store::ShardFiles;
use serde::Serialize;
use state_backend::StateCatalog;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use time_engine::Timestamp;

use super::SnapshotPurpose;

/// One part that takes its own snapshot: an operator's, source's or sink's subtask.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ShardKey {
    pub(crate) uid: Arc<str>,
    pub(crate) subtask: usize,
}

/// How long the phases of one part took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PhaseTimes {
    /// From the trigger to the first barrier.
    pub start_delay_us: u64,
    /// From the first barrier to the last.
    pub alignment_us: u64,
    /// What the operator stood still for.
    pub sync_us: u64,
    /// From then until everything was written.
    pub async_us: u64,
}

/// What one part contributes.
#[derive(Debug, Default)]
pub(crate) struct Ack {
    pub(crate) files: Option<ShardFiles>,
    pub(crate) catalog: Option<StateCatalog>,
    pub(crate) operator_state: Option<OperatorState>,
    pub(crate) positions: Option<Vec<Split>>,
    pub(crate) in_flight: Vec<Vec<u8>>,
    pub(crate) times: PhaseTimes,
    pub(crate) bytes: u64,
}

/// Whether all parts are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    Waiting,
    Complete,
    /// Not one of the parts, or it has been heard already.
    Unexpected,
}

/// A checkpoint that was triggered and has neither completed nor failed.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) id: u64,
    pub(crate) purpose: SnapshotPurpose,
    pub(crate) triggered: Timestamp,
    missing: BTreeSet<ShardKey>,
    pub(crate) acks: BTreeMap<ShardKey, Ack>,
}

impl Pending {
    pub(crate) fn new(
        id: u64,
        purpose: SnapshotPurpose,
        triggered: Timestamp,
        parts: impl IntoIterator<Item = ShardKey>,
    ) -> Self {
        let missing = parts.into_iter().collect();
        Self {
            id,
            purpose,
            triggered,
            missing,
            acks: BTreeMap::new(),
        }
    }

    pub(crate) fn on_ack(&mut self, part: ShardKey, ack: Ack) -> Progress {
        if !self.missing.remove(&part) {
            return Progress::Unexpected;
        }
        self.acks.insert(part, ack);
        if self.missing.is_empty() {
            Progress::Complete
        } else {
            Progress::Waiting
        }
    }

    pub(crate) fn missing(&self) -> impl Iterator<Item = &ShardKey> {
        self.missing.iter()
    }

    pub(crate) fn parts(&self) -> usize {
        self.missing.len() + self.acks.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(uid: &str, subtask: usize) -> ShardKey {
        ShardKey {
            uid: uid.into(),
            subtask,
        }
    }

    #[test]
    fn completes_when_each_part_has_acknowledged_once() {
        let parts = [part("a", 0), part("a", 1), part("s", 0)];
        let at = Timestamp::EPOCH;
        let mut pending = Pending::new(1, SnapshotPurpose::Checkpoint, at, parts);
        assert_eq!(
            pending.on_ack(part("a", 1), Ack::default()),
            Progress::Waiting
        );
        assert_eq!(
            pending.on_ack(part("a", 1), Ack::default()),
            Progress::Unexpected
        );
        assert_eq!(
            pending.on_ack(part("b", 0), Ack::default()),
            Progress::Unexpected
        );
        assert_eq!(
            pending.on_ack(part("a", 0), Ack::default()),
            Progress::Waiting
        );
        assert_eq!(pending.missing().collect::<Vec<_>>(), [&part("s", 0)]);
        assert_eq!(
            pending.on_ack(part("s", 0), Ack::default()),
            Progress::Complete
        );
    }
}
