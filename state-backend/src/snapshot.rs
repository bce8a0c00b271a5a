//! Snapshots under way: what each wants, and the chunks it has so far.

use crate::{DeltaChunk, KeyGroup, StateId, store::frozen::FrozenPart};
use std::collections::HashMap;

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum SnapshotKind {
    /// What changed since the newest acknowledged snapshot, deletions included; everything if there
    /// is none and nothing was restored.
    Delta,
    /// All state.
    Full,
}

/// How much one [`pump`](crate::StateStore::pump) may do.
///
/// Counted in entries encoded; one takes about 0.1 us plus what its value takes to encode, looking
/// at an unchanged one an eighth of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PumpBudget {
    pub(crate) entries: u32,
}

impl PumpBudget {
    /// A slice of this many entries.
    #[must_use]
    pub const fn entries(entries: u32) -> Self {
        Self { entries }
    }

    /// A slice without end: finishes a running snapshot in one call.
    pub const UNLIMITED: Self = Self { entries: u32::MAX };
}

impl Default for PumpBudget {
    /// 1,000 entries: half a millisecond for values of ordinary size in a table far beyond the caches.
    fn default() -> Self {
        Self::entries(1_000)
    }
}

/// What one [`pump`](crate::StateStore::pump) left to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PumpStatus {
    /// Call again between the next batches.
    Working,
    /// The snapshot of this id has handed out its last chunk. There may be more to do.
    SnapshotDone(u64),
    /// A thread reads what the snapshot wants from the backend, and the owner has nothing to add: call again in a
    /// millisecond.
    Waiting,
    /// Nothing to do until state or time changes.
    Idle,
}

/// Work left in a slice: 8 for an entry encoded, 1 for one looked at.
#[derive(Debug)]
pub(crate) struct Work {
    left: i64,
}

impl Work {
    pub(crate) fn new(budget: PumpBudget) -> Self {
        Self {
            left: i64::from(budget.entries.max(1)) * 8,
        }
    }

    #[inline]
    pub(crate) fn looked(&mut self) {
        self.left -= 1;
    }

    /// Bytes count, too: large values are no cheaper for being few.
    #[inline]
    pub(crate) fn encoded(&mut self, bytes: usize) {
        self.left -= 8 + (bytes / 32) as i64;
    }

    /// Rows that went to the backend, which cleans up as it takes them: some microseconds each. A quarter is left
    /// whatever they cost, or a store that always evicts would come to nothing else.
    pub(crate) fn evicted(&mut self, rows: u64) {
        let cost = i64::try_from(rows).unwrap_or(i64::MAX).saturating_mul(48);
        self.left = self.left.saturating_sub(cost).max(self.left / 4);
    }

    #[inline]
    pub(crate) fn is_spent(&self) -> bool {
        self.left <= 0
    }

    pub(crate) fn entries_left(&self) -> usize {
        (self.left / 8).max(1) as usize
    }

    /// Rows that may still be read from the backend one after the other, from a disk that is the system's cache.
    pub(crate) fn reads_left(&self) -> usize {
        (self.left / Self::READ).max(1) as usize
    }

    /// Rows that were read from the backend, one after the other.
    pub(crate) fn read(&mut self, rows: usize) {
        self.left -= rows as i64 * Self::READ;
    }

    const READ: i64 = 40;
}

/// One begun snapshot that is neither acknowledged nor abandoned.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: u64,
    /// All state, not only what changed.
    pub(crate) full: bool,
    /// It says what was deleted: another may come before it in a chain.
    pub(crate) deletions: bool,
    /// Changes up to this epoch are in it.
    pub(crate) epoch: u32,
    /// Changes up to this epoch were in acknowledged ones before it.
    pub(crate) base: u32,
    /// The store's clock when it began.
    pub(crate) now: i64,
    /// Still being captured.
    pub(crate) running: bool,
    pub(crate) sink: Sink,
    pub(crate) cursor: Cursor,
    /// Rows that only the backend has are read beside the owner; it writes out what it evicts.
    pub(crate) frozen: Option<FrozenPart>,
    /// Rows evicted before it began.
    pub(crate) evicted: u64,
}

impl Snapshot {
    /// Whether it reads all rows of the backend beside the owner.
    pub(crate) fn reads_all(&self) -> bool {
        self.full && self.frozen.is_some()
    }

    /// Whether a row last modified at `modified` belongs into it, and it has not got it yet.
    #[inline]
    pub(crate) fn wants(&self, modified: u32, captured: u32) -> bool {
        self.running
            && captured < self.epoch
            && modified <= self.epoch
            && (self.full || modified > self.base)
    }
}

/// How far the capture of a snapshot has come.
#[derive(Debug, Default)]
pub(crate) struct Cursor {
    pub(crate) table: usize,
    pub(crate) group: usize,
    pub(crate) phase: Phase,
}

#[derive(Debug, Default)]
pub(crate) enum Phase {
    #[default]
    Start,
    /// Through what was evicted, to drop what is known elsewhere by now.
    Settling { next: usize },
    /// Through the list of changes.
    Dirty { next: usize },
    /// Through all rows.
    Scan { next: usize },
    /// Through what was evicted after it changed.
    Ghosts { next: usize },
    /// Through the backend's rows of the group, after this key.
    Beneath { after: Option<Vec<u8>> },
}

/// Chunks being filled, and those that are full.
#[derive(Debug)]
pub(crate) struct Sink {
    open: HashMap<(StateId, KeyGroup), DeltaChunk, foldhash::fast::RandomState>,
    open_bytes: usize,
    /// Most that all chunks being filled may take.
    limit: usize,
    full: Vec<DeltaChunk>,
}

/// Size at which a chunk is handed out.
const CHUNK_BYTES: usize = 256 << 10;
/// Most that all chunks being filled may take, however large the store's budget.
const OPEN_BYTES: u64 = 8 << 20;

/// Most that all chunks being filled may take in a store with this budget.
pub(crate) fn open_bytes(budget: u64) -> u64 {
    (budget / 32).clamp(64 << 10, OPEN_BYTES)
}

/// Size at which a chunk of a snapshot that is read beside the owner is handed out.
pub(crate) fn chunk_bytes(budget: u64) -> usize {
    CHUNK_BYTES.min(open_bytes(budget) as usize / 8)
}

impl Sink {
    pub(crate) fn within(budget: u64) -> Self {
        Self {
            open: HashMap::default(),
            open_bytes: 0,
            limit: open_bytes(budget) as usize,
            full: Vec::new(),
        }
    }

    /// Hands out the chunk that rows of a group go into, and closes it if that made it large.
    #[inline]
    pub(crate) fn write<T>(
        &mut self,
        state: StateId,
        group: KeyGroup,
        write: impl FnOnce(&mut DeltaChunk) -> T,
    ) -> T {
        let chunk = self
            .open
            .entry((state, group))
            .or_insert_with(|| DeltaChunk::new(state, group));
        let before = chunk.bytes();
        let written = write(chunk);
        let after = chunk.bytes();
        self.open_bytes += after.saturating_sub(before);
        if after >= CHUNK_BYTES {
            self.close(state, group);
        }
        if self.open_bytes >= self.limit {
            self.close_all();
        }
        written
    }

    /// No more rows come for this state and group.
    pub(crate) fn close(&mut self, state: StateId, group: KeyGroup) {
        if let Some(chunk) = self.open.remove(&(state, group)) {
            self.open_bytes = self.open_bytes.saturating_sub(chunk.bytes());
            if !chunk.is_empty() {
                self.full.push(chunk);
            }
        }
    }

    pub(crate) fn close_all(&mut self) {
        self.open_bytes = 0;
        let open = std::mem::take(&mut self.open);
        self.full
            .extend(open.into_values().filter(|chunk| !chunk.is_empty()));
    }

    pub(crate) fn drain_into(&mut self, out: &mut Vec<DeltaChunk>) {
        out.append(&mut self.full);
    }
}
