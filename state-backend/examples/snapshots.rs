//! Counts clicks while snapshots are taken, loses everything, and goes on at another parallelism
//! over another backend.

use state_backend::{
    BackendConfig, DeltaChunk, KeyGroupRange, KeyLike, MaxParallelism, PumpBudget, PumpStatus,
    Result, SnapshotKind, StateCatalog, StateStore, StoreOptions, ValueDef, ValueState,
    key_group_of, subtask_of,
};

const CLICKS: ValueDef<u64> = ValueDef::new("clicks");

fn click(store: &mut StateStore, clicks: ValueState<u64>, user: &str) -> Result<()> {
    clicks.update_or_insert_with(&mut store.scope(user), || 0, |count| *count += 1)
}

/// Works on while the snapshot is written out, a slice after each batch.
fn snapshot(store: &mut StateStore, clicks: ValueState<u64>, id: u64) -> Result<Vec<DeltaChunk>> {
    let mut chunks = Vec::new();
    store.begin_snapshot(id, SnapshotKind::Delta)?;
    loop {
        for user in 0..100 {
            click(store, clicks, &format!("user {user}"))?;
        }
        let status = store.pump(PumpBudget::entries(500), &mut chunks)?;
        if status == PumpStatus::SnapshotDone(id) {
            store.acknowledge(id)?;
            return Ok(chunks);
        }
    }
}

fn run() -> Result<(StateCatalog, Vec<DeltaChunk>)> {
    let mut store = StateStore::open(StoreOptions::new())?;
    let clicks = store.value(&CLICKS)?;
    for user in 0..10_000 {
        click(&mut store, clicks, &format!("user {user}"))?;
    }
    let mut chain = snapshot(&mut store, clicks, 1)?;
    let all: usize = chain.iter().map(DeltaChunk::len).sum();
    let delta = snapshot(&mut store, clicks, 2)?;
    let changed: usize = delta.iter().map(DeltaChunk::len).sum();
    println!("first snapshot: {all} rows, second: {changed}");
    chain.extend(delta);
    Ok((store.catalog(), chain))
}

fn main() -> Result<()> {
    let (catalog, chain) = run()?;
    let dir = std::env::temp_dir().join(format!("weir-snapshots-{}", std::process::id()));
    let (max, parallelism) = (MaxParallelism::DEFAULT, 3);
    let mut stores = Vec::new();
    for index in 0..parallelism {
        let range = KeyGroupRange::for_subtask(max, parallelism, index)?;
        let options = StoreOptions::new()
            .with_key_groups(max, range)
            .with_backend(BackendConfig::redb(&dir))
            .with_memory_budget_bytes(1 << 20);
        let mut store = StateStore::open(options)?;
        store.restore_catalog(&catalog)?;
        for chunk in &chain {
            // Rows of other key groups are passed over.
            store.restore_rows(catalog.name_of(chunk.state).unwrap_or_default(), chunk)?;
        }
        stores.push(store);
    }
    let owner = subtask_of(key_group_of("user 7".key_hash(), max), max, parallelism)?;
    let store = &mut stores[usize::from(owner)];
    let clicks = store.value(&CLICKS)?;
    let seen = clicks.get(&mut store.scope("user 7"))?.copied();
    println!("user 7 lives in store {owner} and has clicked {seen:?} times");
    assert!(seen > Some(1));
    drop(stores);
    std::fs::remove_dir_all(&dir).ok();
    Ok(())
}
