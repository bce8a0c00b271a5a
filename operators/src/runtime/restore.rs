//! Where the keyed state of a subtask comes from at a start: the files it left, or the checkpoint.

use crate::config::{CheckpointConfig, LocalRecovery};
use crate::error::Result;
use crate::operator::SubtaskInfo;
use crate::runtime::snapshot::micros;
use crate::status::{RestoreSource, StateRestore};
use checkpoint_store::{Manifest, OperatorUid};
use state_backend::{LocalState, Sealing, StateStore, StoreOptions};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use time_engine::Clock;

/// What tells the state of one operator in one checkpoint from every other: whose checkpoint it is, and
/// the files of the operator with their checksums.
fn label(manifest: &Manifest, uid: &OperatorUid) -> Option<Vec<u8>> {
    let operator = manifest.operator(uid)?;
    let (catalog, chain) = (&operator.catalog, &operator.chain);
    let checkpoint = (
        manifest.id,
        manifest.writer,
        manifest.kind,
        manifest.created_ms,
    );
    serde_json::to_vec(&(checkpoint, uid, operator.max_parallelism, catalog, chain)).ok()
}

/// Opens a store with what the checkpoint has of its key groups, and has `register` register the states of
/// its operator, into which a store in memory reads their rows. Nothing is told of an operator that the
/// checkpoint does not have.
///
/// Whatever `register` makes of it, a checkpoint that turns out to be damaged is an error of its own, so
/// that the job goes on from the one before.
pub(crate) fn open<R>(
    options: StoreOptions,
    local: LocalRecovery,
    checkpoint: &CheckpointConfig,
    manifest: &Manifest,
    (info, clock): (&SubtaskInfo, &dyn Clock),
    register: impl FnOnce(&mut StateStore) -> Result<R>,
) -> Result<(StateStore, R, Option<StateRestore>)> {
    let uid = OperatorUid::new(&*info.operator)?;
    let started = clock.elapsed();
    let operator = manifest.operator(&uid);
    let label = label(manifest, &uid).filter(|_| local == LocalRecovery::OnCleanStop);
    let (mut store, found) = match (&label, operator) {
        (Some(label), Some(operator)) => {
            StateStore::open_sealed(options, label, &operator.catalog)?
        }
        _ => (StateStore::open(options)?, LocalState::Absent),
    };
    store.set_time(clock.now().as_millis());
    let mut restore = StateRestore {
        operator: info.operator.clone(),
        subtask: info.subtask,
        source: RestoreSource::Local,
        rows: 0,
        bytes_read: 0,
        duration_us: 0,
        refused: None,
    };
    match found {
        LocalState::Adopted { rows } => restore.rows = rows,
        LocalState::Absent => restore.source = RestoreSource::Checkpoint,
        LocalState::Refused { reason } => {
            restore.source = RestoreSource::Checkpoint;
            restore.refused = Some(reason);
        }
    }
    let rows = match restore.source {
        RestoreSource::Checkpoint => checkpoint
            .store
            .restore_lazily(manifest, &uid, &mut store)?,
        RestoreSource::Local => None,
    };
    let registered = if let Some(rows) = rows {
        let outcome = catch_unwind(AssertUnwindSafe(|| register(&mut store)));
        let finished = match &outcome {
            Ok(Ok(_)) => store.finish_restore(),
            _ => Ok(()),
        };
        let restored = rows.outcome()?;
        let registered = outcome.unwrap_or_else(|panic| resume_unwind(panic))?;
        finished?;
        restore.rows = restored.rows;
        restore.bytes_read = restored.bytes_read;
        registered
    } else {
        register(&mut store)?
    };
    restore.duration_us = micros(clock.elapsed().saturating_sub(started));
    if operator.is_none() {
        return Ok((store, registered, None));
    }
    tracing::info!(checkpoint = %manifest.id, "{restore}");
    Ok((store, registered, Some(restore)))
}

/// Leaves a store's files for the next start. The state is safe in the checkpoint all the same.
pub(crate) fn seal(
    store: &mut StateStore,
    manifest: &Manifest,
    info: (&str, usize),
    clock: &dyn Clock,
) {
    let (operator, subtask) = info;
    let label = OperatorUid::new(operator)
        .ok()
        .and_then(|uid| label(manifest, &uid));
    let Some(label) = label else { return };
    let started = clock.elapsed();
    let sealed = store.seal(manifest.id.get(), &label);
    let ms = clock.elapsed().saturating_sub(started).as_millis();
    match sealed {
        Ok(Sealing::Sealed { rows, bytes }) => {
            tracing::info!(operator, subtask, checkpoint = %manifest.id, rows, bytes, ms, "local files are kept for the next start");
        }
        Ok(Sealing::Changed) => {
            tracing::info!(operator, subtask, checkpoint = %manifest.id, "state has changed since the last checkpoint: the next start reads that");
        }
        Ok(Sealing::NoFiles) => {}
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(operator, subtask, checkpoint = %manifest.id, error, "local files could not be kept: the next start reads the checkpoint");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checkpoint_store::{
        CheckpointId, CheckpointStore, ManifestDraft, MemoryBlobs, OperatorUpdate,
    };
    use std::sync::Arc;

    #[test]
    fn a_label_tells_checkpoints_and_operators_apart() {
        let uid = |name: &str| OperatorUid::new(name).unwrap();
        let update = |name: &str| OperatorUpdate {
            uid: uid(name),
            parallelism: 1,
            max_parallelism: 128,
            catalog: state_backend::StateCatalog::default(),
            shards: Vec::new(),
            subtasks: Vec::new(),
        };
        let manifest = |blobs: &Arc<MemoryBlobs>, id: u64, created_ms: i64| {
            let blobs: Arc<dyn checkpoint_store::BlobStore> = Arc::clone(blobs) as _;
            let options = checkpoint_store::StoreOptions::default();
            let store = CheckpointStore::open(blobs, options).unwrap();
            let draft = ManifestDraft::new(CheckpointId::new(id), created_ms, None)
                .with_operator(update("a"))
                .with_operator(update("b"));
            let committed = store.commit(draft.build()).unwrap().manifest;
            (store, committed)
        };
        let blobs = Arc::new(MemoryBlobs::new());
        let (store, first) = manifest(&blobs, 1, 5);
        let read = store.latest().unwrap().manifest.unwrap();
        assert_eq!(label(&read, &uid("a")), label(&first, &uid("a")));
        assert_ne!(label(&first, &uid("a")), label(&first, &uid("b")));
        assert_eq!(label(&first, &uid("c")), None);
        // Another writer in the same place, another time.
        let (_, second) = manifest(&blobs, 2, 5);
        assert_ne!(label(&second, &uid("a")), label(&first, &uid("a")));
        let (_, elsewhere) = manifest(&Arc::new(MemoryBlobs::new()), 1, 6);
        assert_ne!(label(&elsewhere, &uid("a")), label(&first, &uid("a")));
    }
}
