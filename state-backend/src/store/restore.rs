//! Restoring: a catalog, then rows, before or after the states are registered.

use super::{StateStore, entry_of};
use crate::{Change, DeltaChunk, Error, KeyGroup, Result, StateCatalog, StateId, engine::Engine};

impl StateStore {
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
        for chunk in chunks {
            if self.engine.pinned {
                self.engine.unclaimed.push(entry.id, chunk);
            } else {
                load_unclaimed(&mut self.engine, entry.id, &chunk)?;
            }
        }
        self.engine.measure_backend();
        Ok(())
    }

    /// Says that about so many rows of a state and key group are about to be restored, so that room is
    /// made for them at once. Does nothing if the state is not registered, or its rows stay in a backend,
    /// or there are some already, or the memory budget does not have the room.
    pub fn expect_rows(&mut self, state_name: &str, group: KeyGroup, rows: u64) {
        let at = self.engine.range.offset_of(group);
        if let (Some(&slot), Some(at), Ok(rows)) =
            (self.slots.get(state_name), at, usize::try_from(rows))
        {
            self.tables[slot].expect(&mut self.engine, at, rows);
        }
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
