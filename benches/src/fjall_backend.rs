//! A fourth backend, written outside the state crate: fjall, an LSM tree (feature `fjall`).
//!
//! It is here to be compared with, and to show that the conformance suite proves a backend that
//! its authors never saw.

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use state_backend::{
    BackendStats, Change, Durability, Error, KeyedStateBackend, Maintenance, Result, StateId, Visit,
};
use std::{
    collections::BTreeMap,
    fmt,
    ops::{Bound, ControlFlow},
    path::Path,
};

/// Rows in one keyspace, named by state and key.
pub struct FjallBackend {
    database: Database,
    rows: Keyspace,
    accepted_bytes: u64,
}

impl fmt::Debug for FjallBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FjallBackend").finish_non_exhaustive()
    }
}

impl FjallBackend {
    /// Opens the database in `dir`, or makes it, with a block cache of this size.
    ///
    /// # Errors
    /// fjall cannot open it.
    pub fn open(dir: &Path, cache_bytes: u64) -> Result<Self> {
        let builder = Database::builder(dir).cache_size(cache_bytes);
        let database = builder.open().map_err(failed("open"))?;
        let rows = database
            .keyspace("rows", KeyspaceCreateOptions::default)
            .map_err(failed("open"))?;
        Ok(Self {
            database,
            rows,
            accepted_bytes: 0,
        })
    }
}

impl KeyedStateBackend for FjallBackend {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.rows.get(name(state, key)).map_err(failed("read"))?;
        Ok(value.map(|value| found(&value)).is_some())
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let within = name(state, prefix);
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(name(state, after)),
            _ => Bound::Included(within.clone()),
        };
        for row in self.rows.range((from, Bound::Unbounded)) {
            let (row, value) = row.into_inner().map_err(failed("scan"))?;
            if !row.starts_with(&within) || visit(&row[2..], &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        // The changes of a fjall batch are of one moment: of two to one key neither is later.
        let last: BTreeMap<_, _> = changes
            .iter()
            .map(|change| ((change.state, change.key), change.value))
            .collect();
        let mut batch = self.database.batch();
        for ((state, key), value) in last {
            match value {
                Some(value) => batch.insert(&self.rows, name(state, key), value),
                None => batch.remove(&self.rows, name(state, key)),
            }
            self.accepted_bytes += (key.len() + value.map_or(0, <[u8]>::len)) as u64;
        }
        batch.commit().map_err(failed("write"))
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    fn clear(&mut self) -> Result<()> {
        self.rows.clear().map_err(failed("clear"))
    }

    fn flush(&mut self, durability: Durability) -> Result<()> {
        let mode = match durability {
            Durability::Buffered => PersistMode::Buffer,
            Durability::Synced => PersistMode::SyncAll,
        };
        self.database.persist(mode).map_err(failed("flush"))
    }

    /// fjall looks after itself.
    fn maintain(&mut self, _: u64) -> Result<Maintenance> {
        Ok(Maintenance::Idle)
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            rows: self.rows.len().map_or(0, |rows| rows as u64),
            memory_bytes: self.database.cache_size() + self.database.write_buffer_size(),
            disk_bytes: self.database.disk_space().unwrap_or_default(),
            accepted_bytes: self.accepted_bytes,
            ..BackendStats::default()
        }
    }
}

fn name(state: StateId, key: &[u8]) -> Vec<u8> {
    [&state.get().to_be_bytes()[..], key].concat()
}

fn failed(action: &'static str) -> impl Fn(fjall::Error) -> Error {
    move |error| Error::Backend {
        backend: "fjall",
        action,
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Target(tempfile::TempDir);

    impl state_backend::conformance::Target for Target {
        const DURABLE: bool = true;

        fn open(&mut self) -> Box<dyn KeyedStateBackend> {
            Box::new(FjallBackend::open(self.0.path(), 8 << 20).unwrap())
        }
    }

    state_backend::conformance_tests!(Target(tempfile::tempdir().unwrap()));
}
