//! From the acknowledgements of a checkpoint to its manifest.

use crate::checkpoint::{Ack, Pending, ShardKey, ShardRecord};
use crate::config::{CheckpointConfig, JobConfig};
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::operator_state::saved;
use crate::source::{Split, to_position};
use checkpoint_store::{
    CheckpointId, CheckpointStore, Compaction, Location, Manifest, ManifestDraft, OperatorUid,
    OperatorUpdate, SavepointWriter,
};
use state_backend::StateCatalog;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(crate) struct Committed {
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) location: String,
    pub(crate) shards: Vec<ShardRecord>,
}

type ByOperator<'a> = BTreeMap<&'a str, Vec<(&'a ShardKey, &'a Ack)>>;

/// Publishes a checkpoint all parts of which are there.
pub(crate) fn commit(
    store: &CheckpointStore,
    pending: &Pending,
    previous: Option<&Manifest>,
    savepoint: Option<(&SavepointWriter, &str)>,
    compaction: Option<&Compaction>,
    config: &JobConfig,
    took_ms: u64,
) -> Result<Committed> {
    let id = CheckpointId::new(pending.id);
    let mut by_operator = ByOperator::new();
    for (part, ack) in &pending.acks {
        by_operator.entry(&part.uid).or_default().push((part, ack));
    }
    let created_ms = pending.triggered.as_millis();
    let previous = previous.filter(|_| savepoint.is_none());
    let mut draft = ManifestDraft::new(id, created_ms, previous)
        .with_property("job", config.name.clone())
        .with_timings(took_ms, phases(pending));
    if let (Some(compaction), None) = (compaction, savepoint) {
        draft = draft.with_compaction(compaction);
    }
    for (uid, parts) in by_operator {
        let positions: Vec<_> = parts
            .iter()
            .filter_map(|(_, ack)| ack.positions.as_ref())
            .flatten()
            .collect();
        if parts.iter().any(|(_, ack)| ack.positions.is_some()) {
            draft = draft.with_source(uid, positions.into_iter().map(to_position).collect());
        }
        let is_operator = parts.iter().any(|(_, ack)| {
            ack.files.is_some() || ack.operator_state.is_some() || !ack.in_flight.is_empty()
        });
        if is_operator {
            draft = draft.with_operator(update(uid, &parts, config)?);
        }
    }
    let (manifest, location) = match savepoint {
        Some((savepoint, directory)) => (
            Arc::new(savepoint.commit(draft.build())?),
            directory.to_owned(),
        ),
        None => (
            store.commit(draft.build())?.manifest,
            format!("checkpoint {id}"),
        ),
    };
    let shards = pending
        .acks
        .iter()
        .map(|(part, ack)| ShardRecord {
            uid: part.uid.to_string(),
            subtask: part.subtask,
            bytes: ack.bytes,
            times: ack.times,
        })
        .collect();
    Ok(Committed {
        manifest,
        location,
        shards,
    })
}

fn update(uid: &str, parts: &[(&ShardKey, &Ack)], config: &JobConfig) -> Result<OperatorUpdate> {
    let parallelism = parts.len();
    let catalog = parts.iter().find_map(|(_, ack)| ack.catalog.clone());
    Ok(OperatorUpdate {
        uid: OperatorUid::new(uid)?,
        parallelism: u16::try_from(parallelism)
            .map_err(|_| Error::invalid(format!("{uid:?} has {parallelism} subtasks")))?,
        max_parallelism: config.max_parallelism.get(),
        catalog: catalog.unwrap_or_else(StateCatalog::default),
        shards: parts
            .iter()
            .filter_map(|(_, ack)| ack.files.clone())
            .collect(),
        subtasks: parts
            .iter()
            .map(|(_, ack)| {
                saved(
                    ack.operator_state.clone().unwrap_or_default(),
                    ack.in_flight.clone(),
                )
            })
            .collect(),
    })
}

/// The longest of each phase, over all parts.
fn phases(pending: &Pending) -> BTreeMap<String, u64> {
    let longest = |of: fn(&crate::checkpoint::PhaseTimes) -> u64| {
        pending
            .acks
            .values()
            .map(|ack| of(&ack.times))
            .max()
            .unwrap_or(0)
            / 1_000
    };
    BTreeMap::from([
        ("start_delay".to_owned(), longest(|t| t.start_delay_us)),
        ("alignment".to_owned(), longest(|t| t.alignment_us)),
        ("sync".to_owned(), longest(|t| t.sync_us)),
        ("async".to_owned(), longest(|t| t.async_us)),
    ])
}

/// The positions of every source.
pub(crate) fn positions(pending: &Pending) -> Vec<(String, Vec<Split>)> {
    let mut sources: BTreeMap<&str, Vec<Split>> = BTreeMap::new();
    for (part, ack) in &pending.acks {
        if let Some(positions) = &ack.positions {
            sources
                .entry(&part.uid)
                .or_default()
                .extend(positions.iter().cloned());
        }
    }
    sources
        .into_iter()
        .map(|(uid, splits)| (uid.to_owned(), splits))
        .collect()
}

/// Reads the manifest a user names: a checkpoint's number, or the directory of a savepoint.
pub(crate) fn load(store: &CheckpointStore, location: &str) -> Result<Manifest> {
    let number = location.trim_start_matches("checkpoint ").parse();
    let location = match number {
        Ok(id) => Location::Checkpoint(CheckpointId::new(id)),
        Err(_) => Location::Savepoint(checkpoint_store::BlobPath::new(location)?),
    };
    Ok(store.load(&location)?)
}

/// Begins a savepoint in a directory of the checkpoint storage.
pub(crate) fn create_savepoint(
    store: &CheckpointStore,
    directory: &str,
) -> Result<SavepointWriter> {
    let dir = checkpoint_store::BlobPath::new(directory)?;
    let options = checkpoint_store::StoreOptions::default();
    Ok(SavepointWriter::create(
        Arc::clone(store.blobs()),
        dir,
        options,
    )?)
}

/// Refuses what cannot be restored into this job.
pub(crate) fn check_compatible(
    manifest: &Manifest,
    graph: &Graph,
    config: &JobConfig,
) -> Result<()> {
    let max = config.max_parallelism.get();
    for snapshot in &manifest.operators {
        let uid = snapshot.uid.as_str();
        let is_inputs = |inputs: &Option<Arc<str>>| inputs.as_deref() == Some(uid);
        let known = graph.operators.iter().any(|operator| &*operator.uid == uid)
            || graph.tasks.iter().any(|task| is_inputs(&task.inputs));
        if known && snapshot.max_parallelism != max {
            return Err(Error::Incompatible {
                what: format!(
                    "operator {uid:?} was saved with {} key groups, the job has {max}",
                    snapshot.max_parallelism
                ),
            });
        }
        if !known {
            return Err(Error::Incompatible {
                what: format!("the job has no operator {uid:?}, whose state would be lost"),
            });
        }
    }
    Ok(())
}

/// Deletes what newer checkpoints make superfluous. What cannot be deleted now is tried again.
pub(crate) fn collect_garbage(checkpoint: &CheckpointConfig) {
    let retention = checkpoint_store::Retention::newest(checkpoint.retained);
    let mode = checkpoint_store::GcMode::Delete;
    if let Err(error) = checkpoint.store.collect_garbage(&retention, mode) {
        tracing::warn!(%error, "old checkpoints could not be deleted");
    }
}

/// Deletes every checkpoint of a cancelled job.
pub(crate) fn delete_all(store: &CheckpointStore) {
    if let Err(error) = store.delete_checkpoints() {
        tracing::warn!(%error, "the checkpoints could not all be deleted");
    }
}
