//! The memory backend against a plain typed hash table: read-modify-write of 1 M keys of 16 bytes
//! with values of 100 bytes, uniform and zipf, without a snapshot and during one.

#![allow(missing_docs, reason = "criterion's macros generate public items")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use state_backend::{
    Codec, DeltaChunk, PreparedKey, PumpBudget, PumpStatus, SnapshotKind, StateStore, StoreOptions,
    ValueDef, ValueState,
};
use std::collections::HashMap;

const KEYS: usize = 1_000_000;
/// Operations of one measured run.
const OPS: usize = 1_000_000;
/// Keys that are known before the first of them is used.
const AHEAD: usize = 16;
/// Operations between two calls of `pump`.
const BATCH: usize = 1_000;

/// 100 bytes that are changed in place.
type Row = [u8; 100];

const ROW: ValueDef<Row> = ValueDef::with_codec(
    "row",
    Codec::new(
        |row, out| {
            out.extend_from_slice(row);
            Ok(())
        },
        |bytes| bytes.try_into().map_err(|_| "not 100 bytes".to_owned()),
        |_| 0,
    ),
);

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// 16 bytes, for both the same.
type Key = (u64, u64);

fn key(index: u64) -> Key {
    (mix(index), index)
}

fn change(row: &mut Row) {
    let count = u64::from_le_bytes([
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7],
    ]);
    row[..8].copy_from_slice(&count.wrapping_add(1).to_le_bytes());
}

/// Which keys are used, in which order.
fn uses(zipf: bool) -> Vec<u32> {
    let mut cdf = Vec::with_capacity(KEYS);
    let mut total = 0_u64;
    for rank in 1..=KEYS as u64 {
        total += (1 << 40) / rank;
        cdf.push(total);
    }
    (0..OPS as u64)
        .map(|n| {
            let draw = u128::from(mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
            if zipf {
                let at = ((draw * u128::from(total)) >> 64) as u64;
                cdf.partition_point(|&sum| sum <= at) as u32
            } else {
                ((draw * KEYS as u128) >> 64) as u32
            }
        })
        .collect()
}

fn filled() -> (StateStore, ValueState<Row>) {
    let options = StoreOptions::new();
    let mut store = StateStore::open(options).expect("a store in memory");
    let state = store.value(&ROW).expect("a new state");
    for index in 0..KEYS as u64 {
        let mut scope = store.scope(&key(index));
        state.set(&mut scope, [7; 100]).expect("room");
    }
    (store, state)
}

/// As a runtime does it that has the next elements at hand.
fn update_known(store: &mut StateStore, state: &ValueState<Row>, uses: &[u32]) {
    let max = store.max_parallelism();
    let keys = uses.iter().map(|&index| key(u64::from(index)));
    let keys: Vec<_> = keys.map(|key| PreparedKey::new(&key, max)).collect();
    for key in &keys {
        store.scope_of(key).prefetch();
    }
    for key in &keys {
        let mut scope = store.scope_of(key);
        state.update(&mut scope, change).expect("in memory");
    }
}

/// Full snapshots one after the other, in slices between batches, as a runtime takes them.
struct Snapshots {
    store: StateStore,
    state: ValueState<Row>,
    chunks: Vec<DeltaChunk>,
    id: u64,
}

impl Snapshots {
    fn begin((store, state): (StateStore, ValueState<Row>)) -> Self {
        let mut own = Self {
            store,
            state,
            chunks: Vec::new(),
            id: 0,
        };
        own.next();
        own
    }

    fn next(&mut self) {
        self.id += 1;
        let begun = self.store.begin_snapshot(self.id, SnapshotKind::Full);
        begun.expect("a new id");
    }

    fn slice(&mut self) {
        let budget = PumpBudget::entries(BATCH as u32);
        let status = self.store.pump(budget, &mut self.chunks);
        if matches!(status, Ok(PumpStatus::SnapshotDone(_))) {
            self.store.acknowledge(self.id).expect("done");
            self.next();
        }
        self.chunks.clear();
    }
}

fn read_modify_write(c: &mut Criterion) {
    let mut group = c.benchmark_group("state/rmw_1m");
    group
        .throughput(Throughput::Elements(OPS as u64))
        .sample_size(10);
    for (name, zipf) in [("uniform", false), ("zipf", true)] {
        let uses = uses(zipf);
        group.bench_function(BenchmarkId::new("plain_hash_table", name), |b| {
            let mut table: HashMap<Key, Row, foldhash::fast::RandomState> = HashMap::default();
            for index in 0..KEYS as u64 {
                table.insert(key(index), [7; 100]);
            }
            b.iter(|| {
                for &index in &uses {
                    let found = table.get_mut(&key(u64::from(index)));
                    change(found.expect("filled"));
                }
            });
        });
        group.bench_function(BenchmarkId::new("memory", name), |b| {
            let (mut store, state) = filled();
            b.iter(|| {
                for &index in &uses {
                    let mut scope = store.scope(&key(u64::from(index)));
                    state.update(&mut scope, change).expect("in memory");
                }
            });
        });
        group.bench_function(BenchmarkId::new("memory_known_ahead", name), |b| {
            let (mut store, state) = filled();
            b.iter(|| {
                for uses in uses.chunks(AHEAD) {
                    update_known(&mut store, &state, uses);
                }
            });
        });
        group.bench_function(BenchmarkId::new("memory_during_snapshots", name), |b| {
            let mut snapshots = Snapshots::begin(filled());
            b.iter(|| {
                for batch in uses.chunks(BATCH) {
                    for &index in batch {
                        let mut scope = snapshots.store.scope(&key(u64::from(index)));
                        let updated = snapshots.state.update(&mut scope, change);
                        updated.expect("in memory");
                    }
                    snapshots.slice();
                }
            });
        });
        let ahead = "memory_known_ahead_during_snapshots";
        group.bench_function(BenchmarkId::new(ahead, name), |b| {
            let mut snapshots = Snapshots::begin(filled());
            b.iter(|| {
                for batch in uses.chunks(BATCH) {
                    for uses in batch.chunks(AHEAD) {
                        update_known(&mut snapshots.store, &snapshots.state, uses);
                    }
                    snapshots.slice();
                }
            });
        });
    }
    group.finish();
}

criterion_group!(benches, read_modify_write);
criterion_main!(benches);
