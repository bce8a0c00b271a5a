//! Rows of a checkpoint come into memory alike whatever threads take them in, and whenever the state is
//! registered.

use crate::states::{store, take};
use state_backend::{
    DeltaChunk, Error, SnapshotKind, StateCatalog, StateStore, StoreOptions, ValueDef,
};

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
