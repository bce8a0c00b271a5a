//! A job without a runtime: a plain map, and what it takes to checkpoint it.

use checkpoint_store::*;
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism, StateCatalog};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) const GROUPS: u16 = 16;

/// State, key group, key.
pub(crate) type Key = (String, u16, Vec<u8>);
pub(crate) type Model = BTreeMap<Key, Vec<u8>>;

pub(crate) fn uid() -> OperatorUid {
    OperatorUid::new("profiles").unwrap()
}

pub(crate) fn all_groups() -> KeyGroupRange {
    all_groups_of(GROUPS)
}

pub(crate) fn all_groups_of(max: u16) -> KeyGroupRange {
    KeyGroupRange::all(MaxParallelism::new(max).unwrap())
}

pub(crate) fn key(state: &str, number: u16) -> Key {
    (
        state.to_owned(),
        number % GROUPS,
        number.to_be_bytes().to_vec(),
    )
}

/// Reads an operator's state as `parallelism` subtasks would restore it.
pub(crate) fn read(
    store: &CheckpointStore,
    manifest: &Manifest,
    parallelism: u16,
) -> Result<Model> {
    let mut model = Model::new();
    let Some(operator) = manifest.operator(&uid()) else {
        return Ok(model);
    };
    let states: BTreeSet<_> = operator
        .chain
        .iter()
        .map(|file| file.state.clone())
        .collect();
    for subtask in 0..parallelism {
        let max = MaxParallelism::new(GROUPS).unwrap();
        let groups = KeyGroupRange::for_subtask(max, parallelism, subtask).unwrap();
        for state in &states {
            let mut last = None;
            store.for_each_row(manifest, &uid(), state, groups, |group, key, value| {
                let at = (state.clone(), group.get(), key.to_vec());
                assert!(groups.contains(group));
                assert!(last.as_ref() < Some(&at), "rows are out of order");
                last = Some(at.clone());
                assert!(
                    model.insert(at, value.to_vec()).is_none(),
                    "a row came twice"
                );
                Ok::<_, Error>(())
            })?;
        }
    }
    Ok(model)
}

pub(crate) struct Job {
    pub(crate) store: CheckpointStore,
    pub(crate) model: Model,
    /// Changed since the last acknowledged checkpoint.
    pub(crate) dirty: BTreeSet<Key>,
    pub(crate) previous: Option<Manifest>,
    pub(crate) next_id: CheckpointId,
    pub(crate) parallelism: u16,
    pub(crate) compaction: Option<Compaction>,
}

/// Small files, and merges of so many.
pub(crate) fn options(fan_in: usize) -> StoreOptions {
    // One thread, so that a crash at the n-th call is a crash at the n-th call.
    let options = StoreOptions::default()
        .with_buffer_bytes(64 << 10)
        .with_upload_threads(1)
        .with_file_bytes(64 << 10)
        .with_merge_bytes(fan_in * (256 << 10));
    assert_eq!(options.fan_in(), fan_in);
    options
}

impl Job {
    /// Takes the directory over and goes on from its newest usable checkpoint.
    pub(crate) fn start(blobs: Arc<dyn BlobStore>, parallelism: u16) -> Result<Self> {
        Self::start_with(blobs, parallelism, options(2))
    }

    /// The same with other options.
    pub(crate) fn start_with(
        blobs: Arc<dyn BlobStore>,
        parallelism: u16,
        options: StoreOptions,
    ) -> Result<Self> {
        let store = CheckpointStore::open(blobs, options)?;
        let mut latest = store.latest()?;
        let next_id = latest.next_id;
        let model = loop {
            let Some(manifest) = &latest.manifest else {
                break Model::new();
            };
            match read(&store, manifest, parallelism) {
                Ok(model) => break model,
                Err(error) if error.is_corruption() => {
                    latest = store.latest_before(manifest, &error)?;
                }
                Err(error) => return Err(error),
            }
        };
        Ok(Self {
            store,
            model,
            dirty: BTreeSet::new(),
            previous: latest.manifest,
            next_id,
            parallelism,
            compaction: None,
        })
    }

    pub(crate) fn set(&mut self, key: Key, value: Vec<u8>) {
        self.dirty.insert(key.clone());
        self.model.insert(key, value);
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.model.remove(&key);
        self.dirty.insert(key);
    }

    pub(crate) fn write(&mut self, kind: WriteKind) -> Result<(CheckpointId, Vec<ShardFiles>)> {
        let id = self.next_id;
        self.next_id = id.next();
        let mut shards = Vec::new();
        for subtask in 0..self.parallelism {
            let max = MaxParallelism::new(GROUPS).unwrap();
            let groups = KeyGroupRange::for_subtask(max, self.parallelism, subtask).unwrap();
            let mut writer = self.store.shard_writer(id, &uid(), subtask, groups, kind)?;
            let keys: Vec<&Key> = match kind {
                WriteKind::Full => self.model.keys().collect(),
                WriteKind::Delta => self.dirty.iter().collect(),
            };
            // Backwards, since the order in which rows come must not matter.
            for key in keys.into_iter().rev() {
                let group = KeyGroup::new(key.1);
                if groups.contains(group) {
                    let value = self.model.get(key).map(Vec::as_slice);
                    writer.put(&key.0, group, &key.2, value)?;
                }
            }
            shards.push(writer.finish()?);
        }
        Ok((id, shards))
    }

    pub(crate) fn manifest(&self, id: CheckpointId, shards: Vec<ShardFiles>) -> Manifest {
        let mut draft = ManifestDraft::new(id, 1000 * id.get() as i64, self.previous.as_ref());
        draft = draft
            .with_operator(OperatorUpdate {
                uid: uid(),
                parallelism: self.parallelism,
                max_parallelism: GROUPS,
                catalog: StateCatalog::default(),
                shards,
                subtasks: Vec::new(),
            })
            .with_source(
                "ingest",
                vec![SplitPosition {
                    split: "0".into(),
                    position: serde_json::json!({ "offset": id.get() }),
                }],
            );
        if let Some(compaction) = &self.compaction {
            draft = draft.with_compaction(compaction);
        }
        draft.build()
    }

    /// One checkpoint, acknowledged; after an error nothing is.
    pub(crate) fn checkpoint(&mut self) -> Result<CheckpointId> {
        let kind = match self.previous {
            Some(_) => WriteKind::Delta,
            None => WriteKind::Full,
        };
        self.checkpoint_of(kind)
    }

    pub(crate) fn checkpoint_of(&mut self, kind: WriteKind) -> Result<CheckpointId> {
        let (id, shards) = self.write(kind)?;
        let manifest = self.manifest(id, shards);
        let committed = self.store.commit(manifest)?;
        self.previous = Some(committed.manifest.as_ref().clone());
        self.compaction = None;
        self.dirty.clear();
        Ok(id)
    }

    pub(crate) fn compact(&mut self, policy: &CompactionPolicy) -> Result<()> {
        if let Some(manifest) = &self.previous {
            self.compaction = self.store.compact(manifest, policy)?;
        }
        Ok(())
    }
}
