//! Rows of a checkpoint come into memory alike whatever threads take them in, and whenever the state is
//! registered.

use crate::states::{store, take};
use state_backend::{
    DeltaChunk, Error, KeyGroup, KeyGroupRange, RestoreSource, RestoredRows, SnapshotKind,
    StateCatalog, StateStore, StoreOptions, TakeRows, ValueDef,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const COUNT: ValueDef<u64> = ValueDef::new("count");
/// Enough for two threads.
const ROWS: u64 = 70_000;

#[derive(Clone, Copy, Debug)]
enum Order {
    RegisterFirst,
    RestoreFirst,
}

fn restored(
    options: StoreOptions,
    catalog: &StateCatalog,
    chunks: &[DeltaChunk],
    order: Order,
) -> Result<StateStore, Error> {
    let mut store = StateStore::open(options)?;
    if matches!(order, Order::RegisterFirst) {
        store.value(&COUNT)?;
    }
    store.restore_catalog(catalog)?;
    store.restore_chunks("count", chunks.to_vec())?;
    store.value(&COUNT)?;
    Ok(store)
}

fn rows(store: &mut StateStore) -> Vec<(Vec<u8>, u64)> {
    let count = store.value(&COUNT).unwrap();
    let mut rows = Vec::new();
    let visit = |key: &[u8], value: &u64| rows.push((key.to_vec(), *value));
    store.for_each(&count, visit).unwrap();
    rows
}

#[test]
fn many_rows_are_taken_in_alike_before_and_after_registration() {
    let mut from = store();
    let count = from.value(&COUNT).unwrap();
    for key in 0..ROWS {
        count.set(&mut from.scope(&key), key * 3).unwrap();
    }
    let mut chunks = take(&mut from, 1, SnapshotKind::Full);
    let catalog = from.catalog();
    // Newer versions, and deletions, of rows that came before.
    for key in (0..ROWS).step_by(5) {
        let mut scope = from.scope(&key);
        if key % 2 == 0 {
            count.clear(&mut scope).unwrap();
        } else {
            count.set(&mut scope, 7).unwrap();
        }
    }
    from.acknowledge(1).unwrap();
    chunks.extend(take(&mut from, 2, SnapshotKind::Delta));
    let expected = rows(&mut from);
    for order in [Order::RegisterFirst, Order::RestoreFirst] {
        let mut store = restored(StoreOptions::new(), &catalog, &chunks, order).unwrap();
        assert!(rows(&mut store) == expected, "{order:?}");
        let stats = store.stats();
        assert_eq!(stats.resident_rows, expected.len() as u64, "{order:?}");
        assert_eq!(stats.backend.rows, 0, "{order:?}");
        // Nothing has changed since.
        assert!(take(&mut store, 1, SnapshotKind::Delta).is_empty());

        let tight = StoreOptions::new().with_memory_budget_bytes(1 << 20);
        let error = restored(tight, &catalog, &chunks, order).unwrap_err();
        assert!(matches!(error, Error::BudgetExceeded { .. }), "{error}");

        let mut damaged = chunks.clone();
        let group = damaged[damaged.len() / 2].group;
        let mut cut = DeltaChunk::new(damaged[0].state, group);
        cut.push(b"key", Some(&[]));
        damaged.push(cut);
        let error = restored(StoreOptions::new(), &catalog, &damaged, order).unwrap_err();
        assert!(error.to_string().contains("count"), "{error}");
        assert!(error.is_corruption(), "{error}");
    }
}

#[test]
fn rows_that_wait_for_their_state_are_in_full_snapshots_once() {
    let mut from = store();
    let count = from.value(&COUNT).unwrap();
    for key in 0..1000_u64 {
        count.set(&mut from.scope(&key), key).unwrap();
    }
    let chunks = take(&mut from, 1, SnapshotKind::Full);
    let mut waiting = store();
    waiting.restore_catalog(&from.catalog()).unwrap();
    for _ in 0..2 {
        waiting.restore_chunks("count", chunks.clone()).unwrap();
    }
    assert_eq!(waiting.stats().backend.rows, 2000);
    let again = take(&mut waiting, 1, SnapshotKind::Full);
    assert_eq!(again.iter().map(DeltaChunk::len).sum::<usize>(), 1000);
    let order = Order::RegisterFirst;
    let options = StoreOptions::new();
    let mut store = restored(options, &waiting.catalog(), &again, order).unwrap();
    assert_eq!(rows(&mut store), rows(&mut from));
}

const LABEL: ValueDef<String> = ValueDef::new("label");

type Column = (Vec<i32>, Vec<u8>);
type Groups = BTreeMap<KeyGroup, BTreeMap<Vec<u8>, Vec<u8>>>;

/// The rows of chunks of one snapshot, as a checkpoint would have them.
#[derive(Debug, Default)]
struct Checkpoint {
    rows: BTreeMap<String, Groups>,
    /// Reads up to the one that breaks off; 0 for never.
    breaks_off: AtomicU64,
    reads: AtomicU64,
}

impl Checkpoint {
    fn of(catalog: &StateCatalog, chunks: &[DeltaChunk]) -> Self {
        let mut own = Self::default();
        for chunk in chunks {
            let name = catalog.name_of(chunk.state).unwrap().to_owned();
            let groups = own.rows.entry(name).or_default();
            let rows = groups.entry(chunk.group).or_default();
            for (key, value) in chunk.iter() {
                rows.insert(key.to_vec(), value.unwrap().to_vec());
            }
        }
        own
    }

    fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }
}

impl RestoreSource for Checkpoint {
    fn rows(&self, state: &str, groups: KeyGroupRange) -> u64 {
        let all = self.rows.get(state).into_iter().flatten();
        let inside = all.filter(|(group, _)| groups.contains(**group));
        inside.map(|(_, rows)| rows.len() as u64).sum()
    }

    fn read(&self, state: &str, groups: KeyGroupRange, take: TakeRows<'_>) -> Result<(), Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        for (group, rows) in self.rows.get(state).into_iter().flatten() {
            if !groups.contains(*group) {
                continue;
            }
            let column = |bytes: &mut dyn Iterator<Item = &Vec<u8>>| {
                let mut column: Column = (vec![0], Vec::new());
                for bytes in bytes {
                    column.1.extend(bytes);
                    column.0.push(column.1.len() as i32);
                }
                column
            };
            let (keys, values) = (column(&mut rows.keys()), column(&mut rows.values()));
            // In two runs.
            let middle = rows.len() / 2;
            for run in [0..=middle, middle..=rows.len()] {
                let keys = (&keys.0[run.clone()], &keys.1[..]);
                let values = (&values.0[run], &values.1[..]);
                let rows = RestoredRows::new(*group, keys, values)?.with_group_rows(7);
                if take(rows).is_break() {
                    return Ok(());
                }
            }
            if self.breaks_off.load(Ordering::Relaxed) == self.reads() {
                return Err(Error::corrupted("checkpoint", "it breaks off"));
            }
        }
        Ok(())
    }
}

/// A store with two states, and a checkpoint of it.
fn checkpoint() -> (StateStore, Arc<Checkpoint>) {
    let mut from = store();
    let count = from.value(&COUNT).unwrap();
    let label = from.value(&LABEL).unwrap();
    for key in 0..ROWS {
        count.set(&mut from.scope(&key), key * 3).unwrap();
        if key % 100 == 0 {
            label.set(&mut from.scope(&key), format!("{key}")).unwrap();
        }
    }
    let chunks = take(&mut from, 1, SnapshotKind::Full);
    let source = Checkpoint::of(&from.catalog(), &chunks);
    (from, Arc::new(source))
}

#[test]
fn a_store_reads_a_state_from_its_source_when_it_is_registered() {
    let (mut from, source) = checkpoint();
    let (catalog, expected) = (from.catalog(), rows(&mut from));
    for registered in [false, true] {
        let mut to = store();
        if registered {
            to.value(&COUNT).unwrap();
        }
        to.restore_from(&catalog, Arc::clone(&source) as _).unwrap();
        assert_eq!(to.stats().backend.rows, 0, "nothing waits in memory");
        assert!(rows(&mut to) == expected);
        assert_eq!(to.stats().resident_rows, ROWS);
        assert!(take(&mut to, 1, SnapshotKind::Delta).is_empty());
        to.abandon(1).unwrap();

        // Nobody knows the other state yet: it is carried on, and found later.
        let reads = source.reads();
        to.finish_restore().unwrap();
        assert_eq!(to.stats().backend.rows, ROWS / 100);
        to.finish_restore().unwrap();
        assert_eq!(source.reads(), reads + 1);
        let full = take(&mut to, 2, SnapshotKind::Full);
        let all: usize = full.iter().map(DeltaChunk::len).sum();
        assert_eq!(all as u64, ROWS + ROWS / 100);
        let label = to.value(&LABEL).unwrap();
        let mut scope = to.scope(&300_u64);
        let found = label.get(&mut scope).unwrap().map(String::as_str);
        assert_eq!(found, Some("300"));
        assert_eq!(source.reads(), reads + 1);
    }
    // A full snapshot does not wait for the end of the restore to be told.
    let mut early = store();
    early
        .restore_from(&catalog, Arc::clone(&source) as _)
        .unwrap();
    let full = take(&mut early, 1, SnapshotKind::Full);
    let all: usize = full.iter().map(DeltaChunk::len).sum();
    assert_eq!(all as u64, ROWS + ROWS / 100);
    // All at once, also beneath a budget that does not hold it.
    let mut all = store();
    all.restore_all_from(&catalog, &*source).unwrap();
    assert!(rows(&mut all) == expected);
}

#[test]
fn a_source_that_breaks_off_leaves_a_store_that_can_try_again() {
    let (mut from, source) = checkpoint();
    let (catalog, expected) = (from.catalog(), rows(&mut from));
    let mut to = store();
    to.restore_from(&catalog, Arc::clone(&source) as _).unwrap();
    let fail_next = || {
        source
            .breaks_off
            .store(source.reads() + 1, Ordering::Relaxed)
    };
    let used = to.stats().memory_bytes;
    fail_next();
    let error = to.value(&LABEL).unwrap_err();
    assert!(error.is_corruption(), "{error}");
    assert_eq!(to.stats().memory_bytes, used);
    assert!(to.has_state("label"));
    fail_next();
    assert!(to.finish_restore().unwrap_err().is_corruption());
    assert_eq!(to.stats().backend.rows, 0);
    let label = to.value(&LABEL).unwrap();
    assert!(label.get(&mut to.scope(&300_u64)).unwrap().is_some());
    assert!(rows(&mut to) == expected);
    to.finish_restore().unwrap();
    assert_eq!(to.stats().backend.rows, 0);

    let tight = StoreOptions::new().with_memory_budget_bytes(1 << 20);
    let mut tight = StateStore::open(tight).unwrap();
    tight.restore_from(&catalog, source).unwrap();
    let error = tight.value(&COUNT).unwrap_err();
    assert!(matches!(error, Error::BudgetExceeded { .. }), "{error}");
}

#[cfg(feature = "fs")]
#[test]
fn a_store_on_disk_loads_its_source_at_once() {
    let (mut from, source) = checkpoint();
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions::new()
        .with_backend(state_backend::BackendConfig::fs(dir.path()))
        .with_memory_budget_bytes(1 << 20);
    let mut to = StateStore::open(options).unwrap();
    to.restore_from(&from.catalog(), Arc::clone(&source) as _)
        .unwrap();
    assert_eq!(to.stats().backend.rows, ROWS + ROWS / 100);
    let reads = source.reads();
    assert!(rows(&mut to) == rows(&mut from));
    let label = to.value(&LABEL).unwrap();
    assert!(label.get(&mut to.scope(&300_u64)).unwrap().is_some());
    assert_eq!(source.reads(), reads);

    source.breaks_off.store(reads + 1, Ordering::Relaxed);
    let error = store_on(&dir, "again").restore_all_from(&from.catalog(), &*source);
    assert!(error.unwrap_err().is_corruption());
}

#[cfg(feature = "fs")]
fn store_on(dir: &tempfile::TempDir, name: &str) -> StateStore {
    let backend = state_backend::BackendConfig::fs(dir.path().join(name));
    StateStore::open(StoreOptions::new().with_backend(backend)).unwrap()
}
