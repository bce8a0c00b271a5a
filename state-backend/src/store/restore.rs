//! Restoring: a catalog, then rows, before or after the states are registered.

use super::{StateStore, entry_of};
use crate::{Change, DeltaChunk, Error, Result, StateCatalog};

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

    /// Takes in rows of one state; of two rows for one key the later call's counts. Rows of key
    /// groups that are not the store's are passed over. `chunk.state` is not looked at: numbers
    /// differ from store to store.
    ///
    /// # Errors
    /// The state is in no restored catalog; a row does not decode; the memory backend's budget is
    /// exceeded; the backend failed. The store is then good for nothing but being dropped.
    pub fn restore_rows(&mut self, state_name: &str, chunk: &DeltaChunk) -> Result<()> {
        if !self.engine.range.contains(chunk.group) {
            return Ok(());
        }
        if let Some(&slot) = self.slots.get(state_name) {
            let format = *self
                .incoming
                .get(state_name)
                .ok_or_else(|| Error::UnknownState(state_name.to_owned()))?;
            self.tables[slot].restore(&mut self.engine, chunk, format)?;
            self.engine.measure_backend();
            return Ok(());
        }
        let entry = self
            .dormant
            .get(state_name)
            .ok_or_else(|| Error::UnknownState(state_name.to_owned()))?;
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
                    state: entry.id,
                    key: row,
                    value,
                }
            })
            .collect();
        self.engine.backend.load(&changes)?;
        self.engine.measure_backend();
        Ok(())
    }
}
