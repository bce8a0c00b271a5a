//! State of a state store goes through a checkpoint into other state stores: another backend,
//! another parallelism.

use checkpoint_store::{
    BlobPath, CheckpointStore, Error, ManifestDraft, MemoryBlobs, OperatorUid, OperatorUpdate,
    SavepointWriter, ShardFiles, SubtaskSnapshot, WriteKind,
};
use state_backend::operator_state::{ListMode, ListSnapshot};
use state_backend::{
    BackendConfig, KeyGroupRange, MapDef, MaxParallelism, PumpBudget, PumpStatus, SnapshotKind,
    StateKey, StateStore, StoreOptions, ValueDef, key_group_of,
};
use std::sync::Arc;

const COUNT: ValueDef<u64> = ValueDef::new("count");
const CLICKS: MapDef<String, u32> = MapDef::new("clicks");

fn open(backend: BackendConfig, parallelism: u16, index: u16) -> StateStore {
    let max = MaxParallelism::DEFAULT;
    let range = KeyGroupRange::for_subtask(max, parallelism, index).unwrap();
    StateStore::open(
        StoreOptions::new()
            .with_backend(backend)
            .with_key_groups(max, range),
    )
    .unwrap()
}

fn write(
    store: &CheckpointStore,
    state: &mut StateStore,
    id: checkpoint_store::CheckpointId,
    uid: &OperatorUid,
    kind: SnapshotKind,
) -> ShardFiles {
    let write_kind = match kind {
        SnapshotKind::Delta => WriteKind::Delta,
        _ => WriteKind::Full,
    };
    state.begin_snapshot(id.get(), kind).unwrap();
    let mut writer = store
        .shard_writer(id, uid, 0, state.range(), write_kind)
        .unwrap()
        .with_catalog(&state.catalog());
    let mut chunks = Vec::new();
    loop {
        let status = state.pump(PumpBudget::default(), &mut chunks).unwrap();
        for chunk in chunks.drain(..) {
            writer.write(&chunk).unwrap();
        }
        if let PumpStatus::SnapshotDone(done) = status {
            assert_eq!(done, id.get());
            return writer.finish().unwrap();
        }
    }
}

#[test]
fn state_moves_between_backends_and_parallelisms() {
    let store = CheckpointStore::open(
        Arc::new(MemoryBlobs::new()),
        checkpoint_store::StoreOptions::default(),
    )
    .unwrap();
    let uid = OperatorUid::new("profile").unwrap();
    let mut state = open(BackendConfig::Memory, 1, 0);
    let count = state.value(&COUNT).unwrap();
    let clicks = state.map(&CLICKS).unwrap();
    let user = |n: u64| format!("user-{n}");
    for n in 0..500 {
        let mut scope = state.scope(&user(n));
        count.set(&mut scope, n).unwrap();
        clicks.put(&mut scope, &"item".to_owned(), 1).unwrap();
    }
    let first = store.latest().unwrap().next_id;
    let files = write(&store, &mut state, first, &uid, SnapshotKind::Full);
    let offsets = ListSnapshot {
        mode: ListMode::Split,
        items: vec![vec![1, 2], vec![]],
    };
    let mut subtask = SubtaskSnapshot::default();
    subtask
        .operator_state
        .insert("offsets".into(), offsets.clone().into());
    let update = |files, catalog| {
        OperatorUpdate::new(uid.clone(), 1, 128)
            .with_catalog(catalog)
            .with_shard(files)
            .with_subtask(subtask.clone())
    };
    let draft = ManifestDraft::new(first, 0, None).with_operator(update(files, state.catalog()));
    let base = store.commit(draft.build()).unwrap().manifest;
    state.acknowledge(first.get()).unwrap();
    // Changed, deleted, new: a delta.
    for n in (0..500).step_by(5) {
        let mut scope = state.scope(&user(n));
        match n % 2 {
            0 => count.clear(&mut scope).unwrap(),
            _ => count.set(&mut scope, n + 1000).unwrap(),
        }
        clicks.put(&mut scope, &"other".to_owned(), 2).unwrap();
    }
    let files = write(&store, &mut state, first.next(), &uid, SnapshotKind::Delta);
    assert!(files.rows() < 300, "{} rows are no delta", files.rows());
    let draft = ManifestDraft::new(first.next(), 0, Some(&base))
        .with_operator(update(files, state.catalog()));
    store.commit(draft.build()).unwrap();

    let latest = store.latest().unwrap().manifest.unwrap();
    let listed = &latest.operator(&uid).unwrap().subtasks[0].operator_state["offsets"];
    assert_eq!(ListSnapshot::from(listed.clone()), offsets);
    let savepoint = SavepointWriter::create(
        Arc::clone(store.blobs()),
        BlobPath::new("savepoints/a").unwrap(),
        checkpoint_store::StoreOptions::default(),
    );
    let savepoint = store.save_as(&latest, &savepoint.unwrap()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    for (from, parallelism) in [(&latest, 1), (&latest, 3), (&savepoint, 2)] {
        let mut found = 0;
        for index in 0..parallelism {
            let backend = match index {
                0 => BackendConfig::Memory,
                _ => BackendConfig::fs(dir.path().join(format!("{parallelism}-{index}"))),
            };
            let mut part = open(backend, parallelism, index);
            let mut rows = 0;
            let restored = store
                .restore(from, &uid, &mut part, &mut |p| rows = p.rows)
                .unwrap();
            assert_eq!(restored.rows, rows);
            let count = part.value(&COUNT).unwrap();
            let clicks = part.map(&CLICKS).unwrap();
            for n in 0..500 {
                let group = key_group_of(user(n).java_hash(), MaxParallelism::DEFAULT);
                if !part.range().contains(group) {
                    continue;
                }
                found += 1;
                let mut scope = part.scope(&user(n));
                let expected = match (n % 5, n % 2) {
                    (0, 0) => None,
                    (0, _) => Some(n + 1000),
                    _ => Some(n),
                };
                assert_eq!(count.get(&mut scope).unwrap().copied(), expected);
                let mut click =
                    |item: &str| clicks.get(&mut scope, &item.to_owned()).unwrap().copied();
                assert_eq!(click("item"), Some(1));
                assert_eq!(click("other"), (n % 5 == 0).then_some(2));
            }
        }
        assert_eq!(found, 500);
    }
    let max = MaxParallelism::new(64).unwrap();
    let mut other =
        StateStore::open(StoreOptions::new().with_key_groups(max, KeyGroupRange::all(max)))
            .unwrap();
    let refused = store.restore(&latest, &uid, &mut other, &mut |_| {});
    assert!(
        matches!(refused, Err(Error::Incompatible { .. })),
        "{refused:?}"
    );
}
