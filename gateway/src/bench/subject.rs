//! What is measured: a store over a backend, or a plain hash table.

use super::{config::BackendName, ids::mix, payload::Payload};
use foldhash::fast::RandomState;
use state_backend::{
    BackendConfig, DeltaChunk, MapDef, MapState, PreparedKey, PumpBudget, PumpStatus, Result,
    SnapshotKind, StateStore, StoreOptions, StoreStats, ValueDef, ValueState, disk::DiskOptions,
};
use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

/// Entries of each map that is scanned.
pub(crate) const SCANNED: u32 = 100;

/// Keys that are fetched at once in the batches.
const PREFETCHED: usize = 64;

/// 16 bytes, spread over the key groups.
type Key = (u64, u64);

fn key(id: u64) -> Key {
    (mix(id), id)
}

/// Something that holds a value for each id.
pub(crate) trait Subject {
    fn put(&mut self, id: u64) -> Result<()>;

    fn read(&mut self, id: u64) -> Result<u64>;

    fn update(&mut self, id: u64) -> Result<()>;

    /// Updates a batch of ids that are known beforehand.
    fn update_all(&mut self, ids: &[u64]) -> Result<()> {
        ids.iter().try_for_each(|id| self.update(*id))
    }

    /// Fills the map that `scan` visits.
    fn put_map(&mut self, id: u64) -> Result<()>;

    /// Visits the entries of a map in order; returns their sum.
    fn scan(&mut self, id: u64) -> Result<u64>;

    /// The store, if this is one.
    fn store(&mut self) -> Option<&mut StateStore>;

    /// A slice of background work, between operations.
    fn between(&mut self, out: &mut Vec<DeltaChunk>) -> Result<PumpStatus> {
        match self.store() {
            Some(store) => store.pump(PumpBudget::default(), out),
            None => Ok(PumpStatus::Idle),
        }
    }

    fn begin_checkpoint(&mut self, id: u64, kind: SnapshotKind) -> Result<()> {
        match self.store() {
            Some(store) => store.begin_snapshot(id, kind),
            None => Ok(()),
        }
    }

    fn stats(&mut self) -> StoreStats {
        self.store().map(|store| store.stats()).unwrap_or_default()
    }
}

/// The limit: what a program without a store would use.
pub(crate) struct Plain<P> {
    size: usize,
    values: HashMap<Key, P, RandomState>,
    maps: HashMap<Key, BTreeMap<u32, u64>, RandomState>,
}

impl<P: Payload> Plain<P> {
    pub(crate) fn new(size: usize) -> Self {
        Self {
            size,
            values: HashMap::default(),
            maps: HashMap::default(),
        }
    }
}

impl<P: Payload> Subject for Plain<P> {
    fn put(&mut self, id: u64) -> Result<()> {
        self.values.insert(key(id), P::new(self.size, id));
        Ok(())
    }

    fn read(&mut self, id: u64) -> Result<u64> {
        Ok(self.values.get(&key(id)).map_or(0, P::counter))
    }

    fn update(&mut self, id: u64) -> Result<()> {
        if let Some(value) = self.values.get_mut(&key(id)) {
            value.count();
        }
        Ok(())
    }

    fn put_map(&mut self, id: u64) -> Result<()> {
        let entries = (0..SCANNED).map(|n| (n, u64::from(n))).collect();
        self.maps.insert(key(id), entries);
        Ok(())
    }

    fn scan(&mut self, id: u64) -> Result<u64> {
        Ok(self.maps.get(&key(id)).map_or(0, |map| map.values().sum()))
    }

    fn store(&mut self) -> Option<&mut StateStore> {
        None
    }
}

/// A store with one value state and one map state.
pub(crate) struct Stored<P> {
    size: usize,
    store: StateStore,
    values: ValueState<P>,
    maps: MapState<u32, u64>,
    /// Kept to be reused.
    batch: Vec<PreparedKey>,
}

impl<P: Payload> Stored<P> {
    pub(crate) fn open(options: StoreOptions, size: usize) -> Result<Self> {
        let mut store = StateStore::open(options)?;
        let values = store.value(&ValueDef::new("values"))?;
        let maps = store.map(&MapDef::new("maps"))?;
        Ok(Self {
            size,
            store,
            values,
            maps,
            batch: Vec::new(),
        })
    }
}

impl<P: Payload> Subject for Stored<P> {
    fn put(&mut self, id: u64) -> Result<()> {
        let value = P::new(self.size, id);
        self.values.set(&mut self.store.scope(&key(id)), value)
    }

    fn read(&mut self, id: u64) -> Result<u64> {
        let mut scope = self.store.scope(&key(id));
        Ok(self.values.get(&mut scope)?.map_or(0, P::counter))
    }

    fn update(&mut self, id: u64) -> Result<()> {
        let mut scope = self.store.scope(&key(id));
        self.values.update(&mut scope, P::count)?;
        Ok(())
    }

    fn update_all(&mut self, ids: &[u64]) -> Result<()> {
        for ids in ids.chunks(PREFETCHED) {
            let max = self.store.max_parallelism();
            self.batch.clear();
            let prepared = ids.iter().map(|id| PreparedKey::new(&key(*id), max));
            self.batch.extend(prepared);
            for key in &self.batch {
                self.store.scope_of(key).prefetch();
            }
            for key in &self.batch {
                let mut scope = self.store.scope_of(key);
                self.values.update(&mut scope, P::count)?;
            }
        }
        Ok(())
    }

    fn put_map(&mut self, id: u64) -> Result<()> {
        let mut scope = self.store.scope(&key(id));
        for n in 0..SCANNED {
            self.maps.put(&mut scope, &n, u64::from(n))?;
        }
        Ok(())
    }

    fn scan(&mut self, id: u64) -> Result<u64> {
        let mut sum = 0;
        let mut scope = self.store.scope(&key(id));
        self.maps.for_each(&mut scope, |_, value| sum += value)?;
        Ok(sum)
    }

    fn store(&mut self) -> Option<&mut StateStore> {
        Some(&mut self.store)
    }
}

/// Options for one store within `budget` bytes, tables and backend together.
pub(crate) fn store_options(backend: BackendName, dir: &Path, budget: u64) -> Option<StoreOptions> {
    let dir = dir.to_owned();
    let options = DiskOptions::default();
    let config = match backend {
        BackendName::HashTable => return None,
        BackendName::Memory => return Some(StoreOptions::default()),
        BackendName::Fs => BackendConfig::Fs { dir, options },
        BackendName::Redb => BackendConfig::Redb { dir, options },
    };
    let options = StoreOptions::default().with_backend(config);
    Some(options.with_memory_budget_bytes(budget))
}
