//! Restoring: a catalog, then rows, before or after the states are registered.

use super::{
    StateStore, entry_of,
    read_ahead::{Put, read_ahead},
};
use crate::{
    Change, DeltaChunk, Error, RestoreSource, Result, StateCatalog, StateId, engine::Engine,
};
use std::{ops::ControlFlow, sync::Arc};

/// Rows of a source go on to a backend about this many bytes at a time, and less within a small budget: three such
/// portions are in memory at once, and the backend's buffers are not evicted from.
const PORTION_BYTES: u64 = 16 << 20;

/// Rows of a source that nobody claims wait in chunks of about this size.
const WAITING_BYTES: usize = 1 << 20;

impl StateStore {
    /// Restores from a checkpoint: its catalog, and the rows that `source` has of the store's key groups.
    ///
    /// Over a backend on disk all rows are loaded into it at once. In memory those of the registered states
    /// are taken in at once, those of every other state when it is registered, straight into its table, so
    /// that no row waits anywhere. So the source has to stay readable until [`finish_restore`]: call that
    /// when the states are registered. Memory beside the tables is what the source takes to read on up to
    /// four threads.
    ///
    /// [`finish_restore`]: Self::finish_restore
    ///
    /// # Errors
    /// As [`restore_catalog`](Self::restore_catalog) and [`restore_rows`](Self::restore_rows), and those of
    /// the source.
    pub fn restore_from(
        &mut self,
        catalog: &StateCatalog,
        source: Arc<dyn RestoreSource>,
    ) -> Result<()> {
        self.finish_restore()?;
        self.restore_catalog(catalog)?;
        if !self.engine.pinned {
            return self.load_from(catalog, &*source);
        }
        for entry in &catalog.states {
            self.pull_registered(&entry.name, &*source)?;
        }
        self.source = Some(source);
        Ok(())
    }

    /// As [`restore_from`](Self::restore_from) and [`finish_restore`](Self::finish_restore) in one.
    ///
    /// # Errors
    /// As theirs.
    pub fn restore_all_from(
        &mut self,
        catalog: &StateCatalog,
        source: &dyn RestoreSource,
    ) -> Result<()> {
        self.finish_restore()?;
        self.restore_catalog(catalog)?;
        if !self.engine.pinned {
            return self.load_from(catalog, source);
        }
        for entry in &catalog.states {
            self.pull_registered(&entry.name, source)?;
        }
        self.hold_unclaimed(source)
    }

    /// Lets go of the source of [`restore_from`](Self::restore_from). Rows of states that nobody has
    /// registered come into memory, encoded: they are part of every full snapshot, and a later
    /// registration finds them. Without such a source nothing is done.
    ///
    /// # Errors
    /// Those of the source, which is kept.
    pub fn finish_restore(&mut self) -> Result<()> {
        let Some(source) = self.source.clone() else {
            return Ok(());
        };
        self.hold_unclaimed(&*source)?;
        self.source = None;
        Ok(())
    }

    fn pull_registered(&mut self, name: &str, source: &dyn RestoreSource) -> Result<()> {
        let (Some(&slot), Some(format)) = (self.slots.get(name), self.incoming.get(name)) else {
            return Ok(());
        };
        self.tables[slot].pull(&mut self.engine, source, *format)
    }

    /// Reads what no table claims into chunks; all of it or, after an error, nothing.
    fn hold_unclaimed(&mut self, source: &dyn RestoreSource) -> Result<()> {
        let mut held = Vec::new();
        for entry in self.dormant.values() {
            let mut open = DeltaChunk::new(entry.id, self.engine.range.start());
            source.read(&entry.name, self.engine.range, &mut |rows| {
                if open.group != rows.group() || open.bytes() > WAITING_BYTES {
                    let next = DeltaChunk::new(entry.id, rows.group());
                    held.push((entry.id, std::mem::replace(&mut open, next)));
                }
                open.extend(&rows);
                ControlFlow::Continue(())
            })?;
            held.push((entry.id, open));
        }
        for (state, chunk) in held {
            self.engine.unclaimed.push(state, chunk);
        }
        Ok(())
    }

    /// Loads all rows into the backend, the next ones being read meanwhile.
    fn load_from(&mut self, catalog: &StateCatalog, source: &dyn RestoreSource) -> Result<()> {
        let range = self.engine.range;
        let portion = PORTION_BYTES.min(self.engine.limit / 64) as usize;
        let read = |put: Put<'_, (usize, Vec<DeltaChunk>)>| {
            for (at, entry) in catalog.states.iter().enumerate() {
                let (mut full, mut bytes) = (Vec::new(), 0);
                let mut open = DeltaChunk::new(entry.id, range.start());
                let mut flow = ControlFlow::Continue(());
                source.read(&entry.name, range, &mut |rows| {
                    if open.group != rows.group() || bytes + open.bytes() > portion {
                        let next = DeltaChunk::new(entry.id, rows.group());
                        let chunk = std::mem::replace(&mut open, next);
                        bytes += chunk.bytes();
                        full.push(chunk);
                    }
                    open.extend(&rows);
                    if bytes > portion {
                        bytes = 0;
                        flow = put((at, std::mem::take(&mut full)));
                    }
                    flow
                })?;
                full.push(open);
                if flow.is_break() || put((at, full)).is_break() {
                    break;
                }
            }
            Ok(())
        };
        read_ahead(read, |(at, chunks)| {
            self.restore_chunks(&catalog.states[at].name, chunks)
        })
    }

    /// Takes in the catalog of a checkpoint, which the rows of
    /// [`restore_rows`](Self::restore_rows) then follow.
    ///
    /// Restore into an empty store. States may be registered before or after; those that never are
    /// stay in the backend and in every full snapshot.
    ///
    /// # Errors
    /// A registered state differs in kind or type from the recorded one, or cannot read its version.
    pub fn restore_catalog(&mut self, catalog: &StateCatalog) -> Result<()> {
        self.restored = true;
        self.engine.tracking = true;
        for entry in &catalog.states {
            if let Some(&slot) = self.slots.get(&entry.name) {
                let table = &*self.tables[slot];
                entry.check(&entry_of(table), table.migrates())?;
                self.incoming.insert(entry.name.clone(), entry.format());
            } else if let Some(known) = self.dormant.get(&entry.name) {
                let mut same = entry.clone();
                same.id = known.id;
                if same != *known {
                    return Err(Error::InvalidDefinition {
                        state: entry.name.clone(),
                        reason: "restored twice from catalogs that differ".to_owned(),
                    });
                }
            } else {
                let mut entry = entry.clone();
                entry.id = self.new_id(&entry.name)?;
                self.dormant.insert(entry.name.clone(), entry);
            }
        }
        Ok(())
    }

    /// Takes in rows of one state; of two rows for one key the later one counts. Rows of key
    /// groups that are not the store's are passed over. `chunk.state` is not looked at: numbers
    /// differ from store to store.
    ///
    /// # Errors
    /// The state is in no restored catalog; a row does not decode; the memory backend's budget is
    /// exceeded; the backend failed. The store is then good for nothing but being dropped.
    pub fn restore_rows(&mut self, state_name: &str, chunk: &DeltaChunk) -> Result<()> {
        self.restore_chunks(state_name, vec![chunk.clone()])
    }

    /// As [`restore_rows`](Self::restore_rows), of many rows at once, of one key group or several. Where they
    /// go into memory, up to four threads take them in, each a key group at a time, if there are some
    /// ten thousand rows for each.
    ///
    /// # Errors
    /// As [`restore_rows`](Self::restore_rows).
    pub fn restore_chunks(&mut self, state_name: &str, mut chunks: Vec<DeltaChunk>) -> Result<()> {
        chunks.retain(|chunk| self.engine.range.contains(chunk.group));
        if let Some(&slot) = self.slots.get(state_name) {
            let format = *self
                .incoming
                .get(state_name)
                .ok_or_else(|| Error::UnknownState(state_name.to_owned()))?;
            self.tables[slot].restore(&mut self.engine, chunks, format)?;
            self.engine.measure_backend();
            return Ok(());
        }
        let entry = self
            .dormant
            .get(state_name)
            .ok_or_else(|| Error::UnknownState(state_name.to_owned()))?;
        let state = entry.id;
        // What waits at a source came before these.
        self.finish_restore()?;
        for chunk in chunks {
            if self.engine.pinned {
                self.engine.unclaimed.push(state, chunk);
            } else {
                load_unclaimed(&mut self.engine, state, &chunk)?;
            }
        }
        self.engine.measure_backend();
        Ok(())
    }
}

fn load_unclaimed(engine: &mut Engine, state: StateId, chunk: &DeltaChunk) -> Result<()> {
    let mut arena = Vec::with_capacity(chunk.bytes() + 2 * chunk.len());
    for (key, _) in chunk.iter() {
        arena.extend_from_slice(&chunk.group.to_be_bytes());
        arena.extend_from_slice(key);
    }
    let mut rest = &arena[..];
    let changes: Vec<_> = chunk
        .iter()
        .map(|(key, value)| {
            let row;
            (row, rest) = rest.split_at(key.len() + 2);
            Change {
                state,
                key: row,
                value,
            }
        })
        .collect();
    engine.backend.load(&changes)
}
