//! The work that all engines of `backends` are given, and Weir's own engines: read-modify-write of one of 200,000
//! keys of 16 bytes with 100-byte values. The package in `benches/rocksdb` gives the same work to RocksDB.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use redb::{Database, Durability, ReadableTable, TableDefinition};
use state_backend::{
    BackendConfig, PumpBudget, StateStore, StoreOptions, ValueDef, ValueState, disk::DiskOptions,
};
use std::{collections::HashMap, hint::black_box, path::Path};

pub(crate) const KEYS: u64 = 200_000;
pub(crate) const OPS: u64 = 10_000;
pub(crate) const VALUE: usize = 100;

pub(crate) type Key = (u64, u64);

fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

pub(crate) fn key(id: u64) -> Key {
    (mix64(id), id)
}

/// The ids of one round; each round has others.
fn draw(round: &mut u64) -> Vec<u64> {
    *round += 1;
    (0..OPS).map(|n| mix64((*round << 32) + n) % KEYS).collect()
}

pub(crate) trait Subject {
    /// Adds one to the counter at the head of the value of each key.
    fn round(&mut self, ids: &[u64]);
}

struct Plain(HashMap<Key, [u8; VALUE], foldhash::fast::RandomState>);

impl Plain {
    fn filled() -> Self {
        Self((0..KEYS).map(|id| (key(id), [0; VALUE])).collect())
    }
}

impl Subject for Plain {
    fn round(&mut self, ids: &[u64]) {
        for id in ids {
            if let Some(value) = self.0.get_mut(&key(*id)) {
                value[0] = value[0].wrapping_add(1);
                black_box(value);
            }
        }
    }
}

/// A store over some backend.
pub(crate) struct Stored {
    store: StateStore,
    values: ValueState<Vec<u8>>,
    chunks: Vec<state_backend::DeltaChunk>,
}

impl Stored {
    pub(crate) fn filled(mut store: StateStore) -> Self {
        let values = store.value(&ValueDef::new("values")).expect("register");
        for id in 0..KEYS {
            let value = vec![0; VALUE];
            values.set(&mut store.scope(&key(id)), value).expect("set");
        }
        Self {
            store,
            values,
            chunks: Vec::new(),
        }
    }

    fn open(backend: BackendConfig, budget: u64) -> Self {
        let mut options = StoreOptions::default();
        if !backend.is_memory() {
            options = options.with_memory_budget_bytes(budget);
        }
        Self::filled(StateStore::open(options.with_backend(backend)).expect("open"))
    }
}

impl Subject for Stored {
    fn round(&mut self, ids: &[u64]) {
        for batch in ids.chunks(256) {
            for id in batch {
                let mut scope = self.store.scope(&key(*id));
                let count = |value: &mut Vec<u8>| value[0] = value[0].wrapping_add(1);
                self.values.update(&mut scope, count).expect("update");
            }
            let pumped = self.store.pump(PumpBudget::default(), &mut self.chunks);
            pumped.expect("pump");
        }
    }
}

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");

/// redb as its documentation shows it, one transaction a round, not synced.
struct RedbAlone(Database);

impl RedbAlone {
    fn filled(dir: &Path, cache: usize) -> Self {
        let database = Database::builder()
            .set_cache_size(cache)
            .create(dir.join("alone.redb"))
            .expect("create");
        let mut subject = Self(database);
        for first in (0..KEYS).step_by(OPS as usize) {
            subject.round(&(first..first + OPS).collect::<Vec<_>>());
        }
        subject
    }
}

impl Subject for RedbAlone {
    fn round(&mut self, ids: &[u64]) {
        let mut transaction = self.0.begin_write().expect("begin");
        transaction
            .set_durability(Durability::None)
            .expect("durability");
        {
            let mut rows = transaction.open_table(ROWS).expect("table");
            for id in ids {
                let (high, low) = key(*id);
                let row = [high.to_be_bytes(), low.to_be_bytes()].concat();
                let old = rows.get(row.as_slice()).expect("get");
                let mut value = old.map_or([0; VALUE], |old| {
                    old.value().try_into().unwrap_or([0; VALUE])
                });
                value[0] = value[0].wrapping_add(1);
                rows.insert(row.as_slice(), value.as_slice())
                    .expect("insert");
            }
        }
        transaction.commit().expect("commit");
    }
}

/// How the store of a subject that has not room for all is configured: a quarter of the state, which takes about
/// 45 MB as the budget counts.
pub(crate) const QUARTER: u64 = 12 << 20;

/// Makes a subject, filled, when its turn has come.
pub(crate) type Make<'a> = Box<dyn Fn() -> Box<dyn Subject> + 'a>;

fn disk() -> DiskOptions {
    DiskOptions::default()
        .with_cache_bytes(8 << 20)
        .with_write_buffer_bytes(2 << 20)
}

/// The hash table that is the limit, the stores over Weir's backends, and redb alone; files go below `dir`.
pub(crate) fn subjects(dir: &Path) -> Vec<(&'static str, Make<'_>)> {
    let fs = |name: &str| BackendConfig::Fs {
        dir: dir.join(name),
        options: disk(),
    };
    let redb = |name: &str| BackendConfig::Redb {
        dir: dir.join(name),
        options: disk(),
    };
    let all = 1 << 30;
    vec![
        ("hash_table", Box::new(|| Box::new(Plain::filled()))),
        (
            "memory",
            Box::new(move || Box::new(Stored::open(BackendConfig::Memory, all))),
        ),
        (
            "fs",
            Box::new(move || Box::new(Stored::open(fs("fs"), all))),
        ),
        (
            "redb",
            Box::new(move || Box::new(Stored::open(redb("redb"), all))),
        ),
        (
            "fs_quarter_in_memory",
            Box::new(move || Box::new(Stored::open(fs("fs4"), QUARTER))),
        ),
        (
            "redb_quarter_in_memory",
            Box::new(move || Box::new(Stored::open(redb("redb4"), QUARTER))),
        ),
        (
            "redb_alone",
            Box::new(move || Box::new(RedbAlone::filled(dir, 20 << 20))),
        ),
    ]
}

/// Times rounds of each subject.
pub(crate) fn measure(criterion: &mut Criterion, subjects: &[(&str, Make<'_>)]) {
    let mut group = criterion.benchmark_group("read_modify_write");
    group.sample_size(10).throughput(Throughput::Elements(OPS));
    for (name, make) in subjects {
        let mut subject = make();
        let mut round = 0;
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            bencher.iter_batched(
                || draw(&mut round),
                |ids| subject.round(&ids),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}
