//! What all tables of a store share: the backend, the epochs, the snapshots, the budget.

use crate::{
    DeltaChunk, Error, KeyGroup, KeyGroupRange, KeyedStateBackend, Result, StateId,
    snapshot::{Phase, Snapshot},
    store::{
        frozen::{FrozenPart, FrozenReader},
        unclaimed::Unclaimed,
    },
    table::{
        entry::Entry,
        rows::{Rows, Unexpired},
    },
    ttl::Ttl,
};

/// What an allocator keeps of memory that was given back, however small the budget: measured beyond 64 MiB.
const KEPT_BYTES: u64 = 12 << 20;

/// Evicted rows that are worth a thread to read them again.
const FEW_EVICTED: u64 = 16;

/// Shared by all tables of one store.
#[derive(Debug)]
pub(crate) struct Engine {
    /// Begun and neither acknowledged nor abandoned, oldest first. Declared before the backend: those that read
    /// from its files end before it.
    pub(crate) snapshots: Vec<Snapshot>,
    pub(crate) backend: Box<dyn KeyedStateBackend>,
    /// All state stays in the tables, and nothing is in the backend.
    pub(crate) pinned: bool,
    /// What no table claims yet, if all state stays in the tables; else that is in the backend.
    pub(crate) unclaimed: Unclaimed,
    pub(crate) range: KeyGroupRange,
    /// Changes are stamped with it; begins at 1 and grows with every snapshot.
    pub(crate) epoch: u32,
    /// Changes up to this epoch are in an acknowledged snapshot.
    pub(crate) acked: u32,
    /// Somebody may hold older state than the tables do: deletions and evictions must be remembered
    /// for the next delta. Set by the first snapshot and by a restore.
    pub(crate) tracking: bool,
    /// How many of the snapshots are still being captured.
    pub(crate) running: usize,
    pub(crate) now: i64,
    /// Memory that the tables take.
    pub(crate) used: u64,
    /// What the tables may take: the store's budget without what the backend holds.
    pub(crate) budget: u64,
    /// The store's budget.
    pub(crate) limit: u64,
    /// Rows evicted when the backend was last asked what it holds.
    pub(crate) asked_at: u64,
    pub(crate) max_value: u64,
    /// Groups that the hand has gone through since the tables last fitted.
    pub(crate) passed: usize,
    /// Use beyond which rows are evicted: the budget, or more if nothing more could be.
    pub(crate) crowded_at: u64,
    pub(crate) evicted: u64,
    /// Rows evicted before the newest acknowledged snapshot began.
    pub(crate) evicted_settled: u64,
}

impl Engine {
    pub(crate) fn add_used(&mut self, bytes: i64) {
        self.used = self.used.saturating_add_signed(bytes);
    }

    /// Takes what the backend holds out of the budget (its index, its caches, its buffers), what a snapshot
    /// being captured does, and what an allocator keeps of memory that was given back: some 12 MiB and a
    /// thirty-second, a fifth of a small budget. A quarter is left to the tables whatever they say.
    pub(crate) fn measure_backend(&mut self) {
        if !self.pinned {
            let backend = self.backend.stats().memory_bytes;
            let kept = (self.limit / 32 + KEPT_BYTES).min(self.limit / 5);
            let others = backend + crate::snapshot::open_bytes(self.limit) + kept;
            self.budget = self.limit.saturating_sub(others).max(self.limit / 4);
            self.crowded_at = self.budget;
            self.asked_at = self.evicted;
        }
    }

    /// Group at a position of the store's range.
    pub(crate) fn group_at(&self, offset: usize) -> KeyGroup {
        KeyGroup::new(self.range.start().get() + offset as u16)
    }

    /// Changes up to this epoch are in acknowledged snapshots, and no pending one wants them again:
    /// they can be forgotten.
    pub(crate) fn settled(&self) -> u32 {
        self.snapshots
            .iter()
            .map(|snapshot| snapshot.base)
            .fold(self.acked, u32::min)
    }

    /// Whether a full snapshot still needs rows that only the backend has.
    pub(crate) fn full_running(&self) -> bool {
        self.running > 0 && self.snapshots.iter().any(|s| s.running && s.full)
    }

    /// Writes a row as it is into every snapshot that wants it and has not got it: to be called
    /// before the row changes.
    pub(crate) fn preserve<P>(
        &mut self,
        table: &RowsOf<'_, P>,
        group: usize,
        entry: &mut Entry<P>,
    ) -> Result<()> {
        self.preserve_in(table, group, entry, |_| true)
    }

    /// As [`preserve`](Self::preserve), of a row that has just come from the backend: a snapshot that reads all rows there
    /// has it already.
    pub(crate) fn preserve_loaded<P>(
        &mut self,
        table: &RowsOf<'_, P>,
        group: usize,
        entry: &mut Entry<P>,
    ) -> Result<()> {
        self.preserve_in(table, group, entry, |snapshot| !snapshot.reads_all())
    }

    #[inline(always)]
    fn preserve_in<P>(
        &mut self,
        table: &RowsOf<'_, P>,
        group: usize,
        entry: &mut Entry<P>,
        concerns: impl Fn(&Snapshot) -> bool,
    ) -> Result<()> {
        let key_group = self.group_at(group);
        for snapshot in &mut self.snapshots {
            if concerns(snapshot) && snapshot.wants(entry.modified, entry.captured) {
                table.write(snapshot, key_group, entry, self.max_value)?;
            }
        }
        entry.captured = self.epoch - 1;
        Ok(())
    }

    /// Whether a running snapshot reads what the backend had when it began: what is evicted since is not there.
    pub(crate) fn frozen_running(&self) -> bool {
        self.running > 0
            && self
                .snapshots
                .iter()
                .any(|s| s.running && s.frozen.is_some())
    }

    /// The reader of a snapshot that is about to begin; `None` if there is nothing worth one, or the backend cannot.
    pub(crate) fn freeze(&mut self, full: bool) -> Result<Option<FrozenPart>> {
        // Of two snapshots of all state the older is to be through with a row first.
        let in_slices = |s: &Snapshot| s.running && s.full && s.frozen.is_none();
        let few = !full && self.evicted - self.evicted_settled < FEW_EVICTED;
        if self.pinned || few || self.snapshots.iter().any(in_slices) {
            return Ok(None);
        }
        let rows = self.backend.freeze()?;
        let chunk_bytes = crate::snapshot::chunk_bytes(self.limit);
        let reader = rows.and_then(|rows| FrozenReader::start(rows, chunk_bytes));
        Ok(reader.map(FrozenPart::new))
    }
}

/// What a table needs to write its rows, apart from the rows.
pub(crate) struct RowsOf<'a, P> {
    pub(crate) id: StateId,
    pub(crate) name: &'a str,
    pub(crate) ttl: Option<&'a Ttl>,
    pub(crate) rows: &'a dyn Rows<P>,
}

impl<P> RowsOf<'_, P> {
    /// Adds the row to the snapshot. Returns the bytes it took.
    pub(crate) fn write(
        &self,
        snapshot: &mut Snapshot,
        group: KeyGroup,
        entry: &Entry<P>,
        max_value: u64,
    ) -> Result<usize> {
        let (now, deletions) = (snapshot.now, snapshot.deletions);
        let bytes = snapshot.sink.write(self.id, group, |chunk| {
            self.write_into(chunk, entry, now, deletions, max_value)
        })?;
        if snapshot.full
            && let Some(frozen) = &mut snapshot.frozen
        {
            let written = frozen.written.entry((self.id, group)).or_default();
            written.push(entry.key.bytes());
        }
        Ok(bytes)
    }

    fn write_into(
        &self,
        chunk: &mut DeltaChunk,
        entry: &Entry<P>,
        now: i64,
        deletions: bool,
        max_value: u64,
    ) -> Result<usize> {
        let key = entry.key.bytes();
        let before = chunk.bytes();
        let Some(payload) = &entry.value else {
            if deletions {
                chunk.push(key, None);
            }
            return Ok(key.len());
        };
        let mut left = Unexpired::All;
        let size = chunk
            .push_with(key, |out| match self.ttl {
                Some(ttl) if ttl.cleanup.full_snapshot => {
                    left = self
                        .rows
                        .encode_unexpired(payload, entry.written, ttl, now, out)?;
                    Ok(())
                }
                _ => self.rows.encode(payload, entry.written, out),
            })
            .map_err(|reason| Error::Encode {
                state: self.name.to_owned(),
                reason,
            })?;
        if size as u64 > max_value {
            chunk.pop();
            return Err(self.too_large(key.len(), size, max_value));
        }
        if left == Unexpired::Nothing {
            chunk.pop();
            if deletions {
                chunk.push(key, None);
            }
        }
        Ok(chunk.bytes() - before)
    }

    pub(crate) fn too_large(&self, key_bytes: usize, size: usize, max_value: u64) -> Error {
        Error::ValueTooLarge {
            state: self.name.to_owned(),
            key_bytes: key_bytes as u64,
            value_bytes: size as u64,
            limit_bytes: max_value,
        }
    }
}

impl Engine {
    /// Epoch of the newest full snapshot whose walk through the backend has passed this row, or 0: a
    /// row loaded now is in that snapshot already. So is one that is `unchanged` since the last acknowledged snapshot,
    /// wherever its walk is, if the backend's rows were frozen for it.
    pub(crate) fn full_seen(&self, slot: usize, group: usize, row: &[u8], unchanged: bool) -> u32 {
        if self.running == 0 {
            return 0;
        }
        let seen = |snapshot: &&Snapshot| {
            snapshot.full
                && (!snapshot.running || (unchanged && snapshot.frozen.is_some()) || {
                    let cursor = &snapshot.cursor;
                    let at = (slot, group);
                    let cursor_at = (cursor.table, cursor.group);
                    at < cursor_at
                        || (at == cursor_at
                            && matches!(&cursor.phase,
                                Phase::Beneath { after: Some(after) } if row <= &after[..]))
                })
        };
        self.snapshots
            .iter()
            .filter(seen)
            .map(|snapshot| snapshot.epoch)
            .max()
            .unwrap_or(0)
    }
}
