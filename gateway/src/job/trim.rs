//! Lets go of the log behind the checkpoints.

use super::source::SOURCE;
use crate::log::IngestLog;
use operators::{CheckpointListener, Split};
use std::{
    collections::VecDeque,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// Keeps the log from the oldest retained checkpoint on: should a newer one turn out to be damaged, the
/// job goes on from an older one, and needs the log from there.
#[derive(Debug)]
pub(crate) struct Trimmer {
    log: IngestLog,
    retained: usize,
    /// Positions of the checkpoints completed since the start, oldest first, as many as are retained.
    /// Those of an earlier process are not known: nothing is trimmed until they are no longer retained.
    positions: Mutex<VecDeque<u64>>,
    last: AtomicU64,
}

impl Trimmer {
    pub(crate) fn new(log: IngestLog, retained: usize) -> Self {
        Self {
            log,
            retained,
            positions: Mutex::default(),
            last: AtomicU64::new(0),
        }
    }

    /// The position of the newest checkpoint; 0 before the first since the start.
    pub(crate) fn last_position(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }
}

impl CheckpointListener for Trimmer {
    fn on_complete(&self, checkpoint: u64, positions: &[(String, Vec<Split>)]) {
        let position = positions
            .iter()
            .find(|(uid, _)| uid == SOURCE)
            .and_then(|(_, splits)| splits.first())
            .and_then(Split::offset);
        let Some(position) = position else {
            return;
        };
        tracing::debug!(checkpoint, position, "checkpoint complete");
        self.last.store(position, Ordering::Relaxed);
        let mut known = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.push_back(position);
        if known.len() > self.retained {
            known.pop_front();
        }
        if known.len() == self.retained
            && let Some(oldest) = known.front()
        {
            self.log.trim(*oldest);
        }
    }
}
