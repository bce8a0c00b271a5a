//! Ending a store so that the next one can go on from its files instead of reading a checkpoint.

use super::{StateStore, check_range};
#[cfg(any(feature = "fs", feature = "redb"))]
use crate::local::{Found, LocalFiles};
use crate::{
    BackendStats, Change, Durability, Error, KeyedStateBackend, Maintenance, Result, StateCatalog,
    StateId, StoreOptions, Visit,
};

/// What [`StateStore::open_sealed`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalState {
    /// The store holds the checkpoint: there is nothing to restore.
    Adopted {
        /// Rows in the files.
        rows: u64,
    },
    /// No files: the store is empty.
    Absent,
    /// There were files that are not the checkpoint; they are deleted, and the store is empty.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What [`StateStore::seal`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// The files can be adopted.
    Sealed {
        /// Rows in them.
        rows: u64,
        /// Their size.
        bytes: u64,
    },
    /// The state is not the snapshot's any more; nothing was done.
    Changed,
    /// The backend keeps no files; nothing was done.
    NoFiles,
}

impl StateStore {
    /// Opens a store over the files that [`seal`](Self::seal) left under this `label`, as it was then, if
    /// they are of the same key groups and of the states in `catalog`, and not one byte has changed;
    /// else an empty store, as [`open`](Self::open) does.
    ///
    /// The rows stay in the files until they are asked for. Cost: one pass over the files at the speed of
    /// the disk; the log (fs) reads its keys as well. Files are adopted once: until the store is sealed
    /// again a further start finds none.
    ///
    /// # Errors
    /// As [`open`](Self::open). Whatever is wrong with the files is no error but [`LocalState::Refused`].
    pub fn open_sealed(
        options: StoreOptions,
        label: &[u8],
        catalog: &StateCatalog,
    ) -> Result<(Self, LocalState)> {
        check_range(&options)?;
        let found = Self::adopt(&options, label, catalog);
        let local = match found {
            Ok(Ok((store, rows))) => return Ok((store, LocalState::Adopted { rows })),
            Ok(Err(local)) => local,
            Err(error) => LocalState::Refused {
                reason: match std::error::Error::source(&error) {
                    Some(source) => format!("{error}: {source}"),
                    None => error.to_string(),
                },
            },
        };
        Ok((Self::open(options)?, local))
    }

    #[cfg(not(any(feature = "fs", feature = "redb")))]
    fn adopt(
        _: &StoreOptions,
        _: &[u8],
        _: &StateCatalog,
    ) -> Result<std::result::Result<(Self, u64), LocalState>> {
        Ok(Err(LocalState::Absent))
    }

    #[cfg(any(feature = "fs", feature = "redb"))]
    fn adopt(
        options: &StoreOptions,
        label: &[u8],
        catalog: &StateCatalog,
    ) -> Result<std::result::Result<(Self, u64), LocalState>> {
        let config = options.backend.within(super::budget_of(options, false));
        let Some(files) = LocalFiles::of(&config, options.range) else {
            return Ok(Err(LocalState::Absent));
        };
        let (backend, states, rows) = match files.adopt(label, options.max_parallelism, catalog)? {
            Found::Sealed {
                backend,
                states,
                rows,
            } => (backend, states, rows),
            Found::Nothing => return Ok(Err(LocalState::Absent)),
            Found::Unusable(reason) => return Ok(Err(LocalState::Refused { reason })),
        };
        let mut store = Self::over(backend, options, false);
        store.restored = true;
        store.engine.tracking = true;
        for entry in states {
            store.next_id = store.next_id.max(entry.id.get().saturating_add(1));
            store.dormant.insert(entry.name.clone(), entry);
        }
        store.files = Some(config);
        Ok(Ok((store, rows)))
    }

    /// Ends the store with its files as they must be for [`open_sealed`](Self::open_sealed): all rows
    /// written out, synced, and marked as those of `snapshot`, known from then on as `label`. To be called
    /// when the snapshot, the newest begun, is durable elsewhere: the caller vouches for that, the store for
    /// having changed nothing since it began it.
    ///
    /// Unless the answer is [`Sealing::Changed`] or [`Sealing::NoFiles`] the store is closed, also after an
    /// error: whatever is done with it is an error, or finds nothing. Cost: writing the rows that the
    /// backend does not have, one pass over memory and one over the files. The death of the process or the
    /// machine at any moment leaves sealed files or such as are deleted by the next start.
    ///
    /// # Errors
    /// The files could not be written or synced: they are not sealed.
    pub fn seal(&mut self, snapshot: u64, label: &[u8]) -> Result<Sealing> {
        if self.files.as_ref().is_none_or(|files| files.is_memory()) {
            return Ok(Sealing::NoFiles);
        }
        let epoch = self.engine.epoch - 1;
        let is_newest = self.newest_snapshot == Some(snapshot) && self.engine.running == 0;
        if !is_newest || !self.tables.iter().all(|t| t.is_unchanged_since(epoch)) {
            return Ok(Sealing::Changed);
        }
        let catalog = self.catalog();
        let saved = self
            .tables
            .iter_mut()
            .try_for_each(|table| table.save_all(&mut self.engine))
            .and_then(|()| self.engine.backend.flush(Durability::Synced));
        let rows = self.engine.backend.stats().rows;
        // Closed before it is sealed: closing may write.
        self.engine.backend = Box::new(Closed);
        saved?;
        self.seal_files(label, &catalog, rows)
    }

    #[cfg(not(any(feature = "fs", feature = "redb")))]
    fn seal_files(&mut self, _: &[u8], _: &StateCatalog, _: u64) -> Result<Sealing> {
        Ok(Sealing::NoFiles)
    }

    #[cfg(any(feature = "fs", feature = "redb"))]
    fn seal_files(&mut self, label: &[u8], catalog: &StateCatalog, rows: u64) -> Result<Sealing> {
        let files = self
            .files
            .as_ref()
            .and_then(|config| LocalFiles::of(config, self.engine.range));
        let Some(files) = files else {
            return Ok(Sealing::NoFiles);
        };
        let bytes = files.seal(label, self.max, catalog, rows)?;
        Ok(Sealing::Sealed { rows, bytes })
    }
}

/// Takes the backend's place when its files are sealed.
#[derive(Debug)]
struct Closed;

fn closed() -> Error {
    Error::Poisoned {
        reason: "the store is closed".to_owned(),
    }
}

impl KeyedStateBackend for Closed {
    fn read(&self, _: StateId, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Err(closed())
    }

    fn scan(&self, _: StateId, _: &[u8], _: Option<&[u8]>, _: Visit<'_>) -> Result<()> {
        Err(closed())
    }

    fn apply(&mut self, _: &[Change<'_>]) -> Result<()> {
        Err(closed())
    }

    fn load(&mut self, _: &[Change<'_>]) -> Result<()> {
        Err(closed())
    }

    fn clear(&mut self) -> Result<()> {
        Err(closed())
    }

    fn flush(&mut self, _: Durability) -> Result<()> {
        Err(closed())
    }

    fn maintain(&mut self, _: u64) -> Result<Maintenance> {
        Ok(Maintenance::Idle)
    }

    fn stats(&self) -> BackendStats {
        BackendStats::default()
    }
}
