//! The store: all keyed state of one subtask.

mod asked;
pub(crate) mod frozen;
mod memory_budget;
mod read_ahead;
mod register;
mod restore;
mod seal;
mod snapshots;
pub(crate) mod unclaimed;

pub use seal::{LocalState, Sealing};

use crate::{
    BackendConfig, BackendStats, Codec, Error, KeyGroup, KeyGroupRange, KeyLike, KeyScope,
    KeyedState, KeyedStateBackend, MaxParallelism, PreparedKey, RestoreSource, Result,
    StateCatalog, StateKey, StoreOptions,
    catalog::StateEntry,
    engine::Engine,
    key::NO_NAMESPACE,
    key_group_of,
    options::{DEFAULT_MAX_VALUE_BYTES, DEFAULT_MEMORY_BUDGET_BYTES},
    row_key::hash_words,
    table::{Table, any::AnyTable, rows::RowFormat, sweep::SweepCursor},
};
use asked::Asked;
use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    ops::ControlFlow,
    sync::Arc,
};

/// All keyed state of one subtask, over one backend, with one owner.
///
/// A store is `Send` and has no locks: one thread owns it, as one subtask owns its key groups. State
/// for several threads is several stores with a range of key groups each; the
/// [crate guide](crate) shows how.
///
/// Register the states first ([`value`](Self::value), [`list`](Self::list), ...), then
/// [`scope`](Self::scope) to a key and use the handles. Between batches of work call
/// [`pump`](Self::pump): it captures snapshots, expires state and lets the backend clean up, in slices.
pub struct StateStore {
    pub(crate) tables: Vec<Box<dyn AnyTable>>,
    pub(crate) engine: Engine,
    /// The current key, if it is long: group, key, namespace, map key. Kept to be reused.
    pub(crate) row: Vec<u8>,
    pub(crate) asked: Asked,
    max: MaxParallelism,
    slots: HashMap<String, usize>,
    /// Restored, and not registered yet.
    dormant: BTreeMap<String, StateEntry>,
    /// Format in which rows are restored, where it is not the table's own.
    incoming: HashMap<String, RowFormat>,
    /// Has the rows of the dormant states that came with it, if all state stays in the tables.
    source: Option<Arc<dyn RestoreSource>>,
    next_id: u16,
    restored: bool,
    /// Name of the type of the keys, if it was given.
    key_type: Option<String>,
    /// Table and group that the clock hand points at.
    hand: (usize, usize),
    sweep: Sweep,
    /// What was begun last.
    newest_snapshot: Option<u64>,
    /// Where the backend's files are, if it was opened from a configuration.
    files: Option<BackendConfig>,
}

/// The background sweep.
#[derive(Debug, Default)]
struct Sweep {
    running: bool,
    table: usize,
    cursor: SweepCursor,
    /// Time at which the next sweep for expired state is due.
    due: Option<i64>,
    /// Acknowledgements since the last sweep: there may be tombstones to take out.
    acknowledged: bool,
}

/// Sizes and counters of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Memory that the tables take, free places included.
    pub memory_bytes: u64,
    /// Most that they may take now: the budget without what the backend holds.
    pub memory_budget_bytes: u64,
    /// Live rows in the tables.
    pub resident_rows: u64,
    /// Deleted and evicted rows that the next delta must still mention.
    pub remembered_rows: u64,
    /// Rows evicted so far.
    pub evicted_rows: u64,
    /// Snapshots begun and neither acknowledged nor abandoned.
    pub pending_snapshots: usize,
    /// What the backend says; of the memory backend, the rows of states that are not registered yet.
    pub backend: BackendStats,
}

impl StateStore {
    /// Opens an empty store over the configured backend. Files that an earlier store left there are
    /// cleared: the checkpoint is the truth, restore from it.
    ///
    /// # Errors
    /// Options that contradict each other; the backend cannot be opened.
    pub fn open(options: StoreOptions) -> Result<Self> {
        check_range(&options)?;
        let pinned = options.backend.is_memory();
        let config = options.backend.within(budget_of(&options, pinned));
        let backend = config.open_empty(options.range)?;
        let mut store = Self::over(backend, &options, pinned);
        store.files = Some(config);
        Ok(store)
    }

    /// Opens an empty store over a backend of one's own, which is cleared. What does not fit the
    /// memory budget is evicted to it.
    ///
    /// # Errors
    /// Options that contradict each other; the backend cannot be cleared.
    pub fn with_backend(
        mut backend: Box<dyn KeyedStateBackend>,
        options: StoreOptions,
    ) -> Result<Self> {
        check_range(&options)?;
        backend.clear()?;
        Ok(Self::over(backend, &options, false))
    }

    /// A store over a backend that is empty.
    fn over(backend: Box<dyn KeyedStateBackend>, options: &StoreOptions, pinned: bool) -> Self {
        let max_value = if pinned {
            DEFAULT_MAX_VALUE_BYTES
        } else {
            u64::MAX
        };
        let budget = budget_of(options, pinned);
        let mut store = Self {
            tables: Vec::new(),
            engine: Engine {
                backend,
                pinned,
                unclaimed: unclaimed::Unclaimed::default(),
                range: options.range,
                epoch: 1,
                acked: 0,
                tracking: false,
                snapshots: Vec::new(),
                running: 0,
                now: 0,
                used: 0,
                budget,
                limit: budget,
                asked_at: 0,
                max_value: options.max_value_bytes.unwrap_or(max_value),
                passed: 0,
                crowded_at: u64::MAX,
                evicted: 0,
                evicted_settled: 0,
            },
            row: Vec::with_capacity(64),
            asked: Asked::default(),
            max: options.max_parallelism,
            slots: HashMap::new(),
            dormant: BTreeMap::new(),
            incoming: HashMap::new(),
            source: None,
            next_id: 1,
            restored: false,
            key_type: None,
            hand: (0, 0),
            sweep: Sweep::default(),
            newest_snapshot: None,
            files: None,
        };
        store.engine.measure_backend();
        store
    }

    /// The state of one key: what a handle reads and writes.
    ///
    /// Encodes and hashes the key, once for all states. A key of a group that is not the store's is
    /// an error at the first access.
    #[inline(always)]
    pub fn scope<K: KeyLike + ?Sized>(&mut self, key: &K) -> KeyScope<'_> {
        let group = key_group_of(key.key_hash(), self.max);
        let words = key.key_words();
        if let Some(words) = words.and_then(|words| words.with_u8(NO_NAMESPACE)) {
            return KeyScope::short(self, words, hash_words(words), group);
        }
        self.long_scope(key, group)
    }

    #[inline(never)]
    fn long_scope<K: KeyLike + ?Sized>(&mut self, key: &K, group: KeyGroup) -> KeyScope<'_> {
        self.begin_row(group);
        key.write_key(&mut self.row);
        self.row.push(NO_NAMESPACE);
        let key_len = self.row.len() - 3;
        KeyScope::written(self, key_len, group)
    }

    /// As [`scope`](Self::scope), with a key that is encoded and hashed already.
    #[inline(always)]
    pub fn scope_of(&mut self, key: &PreparedKey) -> KeyScope<'_> {
        if key.words().is_short() {
            return KeyScope::short(self, key.words(), key.hash(), key.group());
        }
        self.row.clear();
        self.row.extend_from_slice(key.row());
        let key_len = self.row.len() - 3;
        KeyScope::written(self, key_len, key.group())
    }

    /// The state of a key given as [`for_each`](Self::for_each) gives it: key bytes with namespace.
    ///
    /// # Errors
    /// The group is not one of the store's.
    pub fn scope_of_row(&mut self, group: KeyGroup, row: &[u8]) -> Result<KeyScope<'_>> {
        if !self.engine.range.contains(group) {
            return Err(Error::KeyGroupOutOfRange {
                group,
                range: self.engine.range,
            });
        }
        self.begin_row(group);
        self.row.extend_from_slice(row);
        Ok(KeyScope::written(self, row.len(), group))
    }

    fn begin_row(&mut self, group: KeyGroup) {
        self.row.clear();
        self.row.extend_from_slice(&group.to_be_bytes());
    }

    /// Sets the clock that time to live goes by, in milliseconds: processing time or event time, as
    /// the caller has it. It may go back.
    #[inline]
    pub fn set_time(&mut self, now_ms: i64) {
        self.engine.now = now_ms;
    }

    /// What the clock shows.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.engine.now
    }

    /// Memory that the state takes, bookkeeping included and the backend's own excepted; costs nothing,
    /// unlike [`stats`](Self::stats).
    #[inline]
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        self.engine.used
    }

    /// Whether the state in memory is larger than what a processor's caches hold for one core, so that
    /// [`KeyScope::prefetch`] pays.
    #[inline]
    #[must_use]
    pub fn outgrows_caches(&self) -> bool {
        self.engine.used > CACHED_BYTES
    }

    /// The number of key groups of the job.
    #[must_use]
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max
    }

    /// The key groups of this store.
    #[must_use]
    pub fn range(&self) -> KeyGroupRange {
        self.engine.range
    }

    /// Visits every row of a state: ascending by key group, then by key, namespace and map key.
    ///
    /// Nothing changes: expired rows are passed over (or shown, if the state returns them), and
    /// evicted ones stay evicted. `visit` gets the row key without group, which
    /// [`split_row_key`](crate::split_row_key) takes apart. Cost: one pass and a sort of each group.
    ///
    /// # Errors
    /// The backend failed, or holds damaged values.
    pub fn for_each<S: KeyedState>(
        &mut self,
        state: &S,
        mut visit: impl FnMut(&[u8], &S::Row),
    ) -> Result<()> {
        let table = self.table::<S::Row>(state.slot())?;
        table.for_each(&self.engine, |key, row| {
            visit(key, row);
            ControlFlow::Continue(())
        })
    }

    pub(crate) fn table<P: Send + 'static>(&self, slot: usize) -> Result<&Table<P>> {
        self.tables
            .get(slot)
            .and_then(|table| {
                let table: &dyn Any = &**table;
                table.downcast_ref()
            })
            .ok_or(Error::ForeignHandle)
    }

    /// Notes the type of the keys in the catalog, so that tools can show them. Nothing is checked by
    /// it: a store takes keys of any type.
    pub fn set_key_type<K: StateKey>(&mut self) {
        self.key_type = Some(Codec::<K>::name_of_type());
    }

    /// The states that the store has, registered or restored.
    #[must_use]
    pub fn catalog(&self) -> StateCatalog {
        let mut states: Vec<_> = self
            .tables
            .iter()
            .map(|table| entry_of(&**table))
            .chain(self.dormant.values().cloned())
            .collect();
        states.sort_by(|a, b| a.name.cmp(&b.name));
        StateCatalog {
            key_type: self.key_type.clone(),
            states,
        }
    }

    /// Sizes and counters; takes a pass over the groups.
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let (live, remembered) = self.tables.iter().fold((0, 0), |(live, rest), table| {
            let counts = table.counts();
            (live + counts.0, rest + counts.1)
        });
        let mut backend = self.engine.backend.stats();
        if self.engine.pinned {
            (backend.rows, backend.memory_bytes) = self.engine.unclaimed.size();
        }
        StoreStats {
            memory_bytes: self.engine.used,
            memory_budget_bytes: self.engine.budget,
            resident_rows: live,
            remembered_rows: remembered,
            evicted_rows: self.engine.evicted,
            pending_snapshots: self.engine.snapshots.len(),
            backend,
        }
    }
}

fn budget_of(options: &StoreOptions, pinned: bool) -> u64 {
    let default = if pinned {
        u64::MAX
    } else {
        DEFAULT_MEMORY_BUDGET_BYTES
    };
    options.memory_budget_bytes.unwrap_or(default)
}

/// About the second-level cache of one core.
const CACHED_BYTES: u64 = 1 << 20;

fn check_range(options: &StoreOptions) -> Result<()> {
    if options.range.end().get() < options.max_parallelism.get() {
        return Ok(());
    }
    Err(Error::InvalidOptions(format!(
        "{} go beyond the max parallelism {}",
        options.range,
        options.max_parallelism.get()
    )))
}

fn entry_of(table: &dyn AnyTable) -> StateEntry {
    StateEntry {
        id: table.id(),
        name: table.name().to_owned(),
        kind: table.kind(),
        type_name: table.type_name().to_owned(),
        version: table.format().version,
        ttl: table.ttl(),
        shape: table.shape().cloned(),
    }
}

impl fmt::Debug for StateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateStore")
            .field("range", &self.engine.range)
            .field("tables", &self.tables)
            .field("backend", &self.engine.backend)
            .finish_non_exhaustive()
    }
}
