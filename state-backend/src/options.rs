//! Options of a store.

#[cfg(any(feature = "fs", feature = "redb"))]
use crate::disk::DiskOptions;
use crate::{KeyGroupRange, KeyedStateBackend, MaxParallelism, MemoryBackend, Result};
#[cfg(any(feature = "fs", feature = "redb"))]
use std::path::PathBuf;

/// What lies beneath a store's tables.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum BackendConfig {
    /// Nothing: all state stays in memory, and writing more than the budget is an error.
    #[default]
    Memory,
    /// A log of files, with the keys in memory.
    #[cfg(feature = "fs")]
    Fs {
        /// Where the files go; each store needs a directory, or a range of key groups, of its own.
        dir: PathBuf,
        /// Sizes, syncing, compaction.
        options: DiskOptions,
    },
    /// A B-tree in one file for each range of key groups.
    #[cfg(feature = "redb")]
    Redb {
        /// Where the file goes; each store needs a directory, or a range of key groups, of its own.
        dir: PathBuf,
        /// Sizes, syncing, compaction.
        options: DiskOptions,
    },
}

impl BackendConfig {
    /// The fs backend in this directory, with default options.
    #[cfg(feature = "fs")]
    #[must_use]
    pub fn fs(dir: impl Into<PathBuf>) -> Self {
        Self::Fs {
            dir: dir.into(),
            options: DiskOptions::default(),
        }
    }

    /// The redb backend in this directory, with default options.
    #[cfg(feature = "redb")]
    #[must_use]
    pub fn redb(dir: impl Into<PathBuf>) -> Self {
        Self::Redb {
            dir: dir.into(),
            options: DiskOptions::default(),
        }
    }

    /// The same in a directory below: for one of several stores.
    #[must_use]
    #[cfg_attr(
        not(any(feature = "fs", feature = "redb")),
        expect(unused_variables, reason = "memory has no directory")
    )]
    pub fn below(&self, name: &str) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Memory => {}
            #[cfg(feature = "fs")]
            Self::Fs { dir, .. } => *dir = dir.join(name),
            #[cfg(feature = "redb")]
            Self::Redb { dir, .. } => *dir = dir.join(name),
        }
        config
    }

    /// The same with caches and write buffers that a store of this much memory has place for: at most a
    /// sixteenth and an eighth of it.
    #[must_use]
    #[cfg_attr(
        not(any(feature = "fs", feature = "redb")),
        expect(unused_variables, reason = "memory has neither")
    )]
    pub fn within(&self, budget_bytes: u64) -> Self {
        let mut config = self.clone();
        match &mut config {
            Self::Memory => {}
            #[cfg(feature = "fs")]
            Self::Fs { options, .. } => {
                *options = options.within(budget_bytes).with_short_writes();
            }
            #[cfg(feature = "redb")]
            Self::Redb { options, .. } => *options = options.within(budget_bytes),
        }
        config
    }

    /// Opens the backend, empty: what files an earlier one of this range left are deleted unread.
    ///
    /// So nothing in its files is worth a sync: unless
    /// [`with_sync`](crate::disk::DiskOptions::with_sync) asked for one, they are opened with
    /// [`SyncPolicy::Never`](crate::disk::SyncPolicy::Never). A start makes no `fsync` then (a dozen for a
    /// new B-tree otherwise), nor does an eviction.
    ///
    /// # Errors
    /// The files cannot be deleted or made; another backend has them open.
    pub fn open_empty(&self, range: KeyGroupRange) -> Result<Box<dyn KeyedStateBackend>> {
        #[cfg(not(any(feature = "fs", feature = "redb")))]
        let _ = range;
        match self {
            Self::Memory => Ok(Box::new(MemoryBackend::new())),
            #[cfg(feature = "fs")]
            Self::Fs { dir, options } => {
                let dir = crate::fs::dir_of(dir, range);
                let options = &options.within_a_store();
                crate::fs::FsBackend::remove(&dir, options)?;
                Ok(Box::new(crate::fs::FsBackend::open(&dir, options)?))
            }
            #[cfg(feature = "redb")]
            Self::Redb { dir, options } => {
                let options = &options.within_a_store();
                crate::redb::RedbBackend::remove(dir, range, options)?;
                Ok(Box::new(crate::redb::RedbBackend::open(
                    dir, range, options,
                )?))
            }
        }
    }

    /// Whether all state stays in memory.
    #[must_use]
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::Memory)
    }
}

/// Largest value of the memory backend unless set: 5 MiB, as in Flink's `MemoryStateBackend`.
pub const DEFAULT_MAX_VALUE_BYTES: u64 = 5 << 20;

/// Memory for tables over a backend on disk unless set: 256 MiB.
pub const DEFAULT_MEMORY_BUDGET_BYTES: u64 = 256 << 20;

/// Options of a [`StateStore`](crate::StateStore).
#[derive(Clone, Debug)]
pub struct StoreOptions {
    pub(crate) backend: BackendConfig,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) range: KeyGroupRange,
    pub(crate) memory_budget_bytes: Option<u64>,
    pub(crate) max_value_bytes: Option<u64>,
}

impl Default for StoreOptions {
    /// The memory backend, all of 128 key groups, no limit but 5 MiB for one value.
    fn default() -> Self {
        Self {
            backend: BackendConfig::default(),
            max_parallelism: MaxParallelism::DEFAULT,
            range: KeyGroupRange::all(MaxParallelism::DEFAULT),
            memory_budget_bytes: None,
            max_value_bytes: None,
        }
    }
}

impl StoreOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what lies beneath.
    #[must_use]
    pub fn with_backend(mut self, backend: BackendConfig) -> Self {
        self.backend = backend;
        self
    }

    /// Sets the number of key groups and the range of them that this store has.
    #[must_use]
    pub fn with_key_groups(mut self, max: MaxParallelism, range: KeyGroupRange) -> Self {
        self.max_parallelism = max;
        self.range = range;
        self
    }

    /// Limits the memory of the store: of the tables, free places included, of the backend's index, cache
    /// and write buffers, which are made smaller to fit, of what a snapshot collects, and a reserve for what the
    /// allocator keeps of memory that was given back: 12 MiB and a thirty-second of the budget, a fifth at most. Over a backend on disk, what does not fit is evicted to
    /// it (256 MiB unless set). The log keeps the keys of all its rows in memory: where they take more than three
    /// quarters of the budget, the tables stay at a quarter and the budget is exceeded. The memory backend answers with
    /// [`Error::BudgetExceeded`](crate::Error::BudgetExceeded) (no limit unless set).
    #[must_use]
    pub fn with_memory_budget_bytes(mut self, bytes: u64) -> Self {
        self.memory_budget_bytes = Some(bytes);
        self
    }

    /// Limits one value (a whole list, one entry of a map): 5 MiB with the memory backend, else
    /// none, unless set.
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = Some(bytes);
        self
    }

    /// What lies beneath.
    #[must_use]
    pub fn backend(&self) -> &BackendConfig {
        &self.backend
    }

    /// The number of key groups.
    #[must_use]
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max_parallelism
    }

    /// The range of key groups.
    #[must_use]
    pub fn range(&self) -> KeyGroupRange {
        self.range
    }
}
