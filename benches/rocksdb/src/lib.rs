//! RocksDB as a backend of Weir's stores, written outside the state crate and proven by its conformance suite, and
//! the options that Flink gives RocksDB.

use rocksdb::{
    BlockBasedOptions, Cache, DB, Direction, IteratorMode, Options, WriteBatch, WriteOptions,
};
use state_backend::{
    BackendStats, Change, Durability, Error, KeyedStateBackend, Maintenance, Result, StateId, Visit,
};
use std::{fmt, ops::ControlFlow, path::Path};

/// Whether tables of the tree have a Bloom filter of 10 bits a key. Flink's default is without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// No filter.
    None,
    /// Of 10 bits a key.
    Bloom,
}

/// RocksDB as Flink opens it, with this much memory in all: two thirds of it for blocks, a third for what has not
/// been written yet (Flink's `RocksDBMemoryControllerUtils` divides so at its default of one half, with one account for both).
/// Two background threads (`state.backend.rocksdb.thread.num`), level compaction, Snappy.
#[must_use]
pub fn options(memory_bytes: u64, filter: Filter) -> Options {
    let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(&Cache::new_lru_cache(memory / 3 * 2));
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    if filter == Filter::Bloom {
        blocks.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_db_write_buffer_size(memory / 3);
    options.set_write_buffer_size((64 << 20).min(memory / 6));
    options.increase_parallelism(2);
    options
}

/// As Flink writes: its checkpoints are the durable copy, so no log.
#[must_use]
pub fn without_log() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// Rows in one column family, named by state and key.
pub struct RocksDbBackend {
    db: DB,
    memory_bytes: u64,
    accepted_bytes: u64,
    /// As of the last flush: RocksDB itself only estimates them.
    rows: u64,
}

impl fmt::Debug for RocksDbBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RocksDbBackend").finish_non_exhaustive()
    }
}

impl RocksDbBackend {
    /// Opens the database in `dir`, or makes it, with this much memory.
    ///
    /// # Errors
    /// RocksDB cannot open it.
    pub fn open(dir: &Path, memory_bytes: u64) -> Result<Self> {
        let db = DB::open(&options(memory_bytes, Filter::Bloom), dir).map_err(failed("open"))?;
        let mut backend = Self {
            db,
            memory_bytes,
            accepted_bytes: 0,
            rows: 0,
        };
        backend.count_rows()?;
        Ok(backend)
    }

    fn count_rows(&mut self) -> Result<()> {
        self.rows = 0;
        for row in self.db.iterator(IteratorMode::Start) {
            row.map_err(failed("count"))?;
            self.rows += 1;
        }
        Ok(())
    }

    fn property(&self, name: &str) -> u64 {
        self.db
            .property_int_value(name)
            .ok()
            .flatten()
            .unwrap_or_default()
    }
}

impl KeyedStateBackend for RocksDbBackend {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self
            .db
            .get_pinned(name(state, key))
            .map_err(failed("read"))?;
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
        let after = after.filter(|after| *after >= prefix);
        let after = after.map(|after| name(state, after));
        let from = after.as_deref().unwrap_or(&within);
        for row in self
            .db
            .iterator(IteratorMode::From(from, Direction::Forward))
        {
            let (row, value) = row.map_err(failed("scan"))?;
            if after.as_deref() == Some(&*row) {
                continue;
            }
            if !row.starts_with(&within) || visit(&row[2..], &value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        let mut batch = WriteBatch::default();
        for change in changes {
            let row = name(change.state, change.key);
            match change.value {
                Some(value) => batch.put(row, value),
                None => batch.delete(row),
            }
            self.accepted_bytes += (change.key.len() + change.value.map_or(0, <[u8]>::len)) as u64;
        }
        self.db.write(batch).map_err(failed("write"))
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    fn clear(&mut self) -> Result<()> {
        let rows: Vec<_> = self
            .db
            .iterator(IteratorMode::Start)
            .collect::<std::result::Result<_, _>>()
            .map_err(failed("clear"))?;
        let mut batch = WriteBatch::default();
        for (row, _) in rows {
            batch.delete(row);
        }
        self.db.write(batch).map_err(failed("clear"))
    }

    fn flush(&mut self, durability: Durability) -> Result<()> {
        self.db
            .flush_wal(durability == Durability::Synced)
            .map_err(failed("flush"))?;
        self.count_rows()
    }

    /// RocksDB looks after itself.
    fn maintain(&mut self, _: u64) -> Result<Maintenance> {
        Ok(Maintenance::Idle)
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            rows: self.rows,
            memory_bytes: self.memory_bytes,
            disk_bytes: self.property("rocksdb.total-sst-files-size"),
            accepted_bytes: self.accepted_bytes,
            ..BackendStats::default()
        }
    }
}

fn name(state: StateId, key: &[u8]) -> Vec<u8> {
    [&state.get().to_be_bytes()[..], key].concat()
}

fn failed(action: &'static str) -> impl Fn(rocksdb::Error) -> Error {
    move |error| Error::Backend {
        backend: "rocksdb",
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
            Box::new(RocksDbBackend::open(self.0.path(), 12 << 20).unwrap())
        }
    }

    state_backend::conformance_tests!(Target(tempfile::tempdir().unwrap()));
}
