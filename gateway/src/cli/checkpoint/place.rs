//! Which store, and which checkpoint in it, a directory means.

use super::{CliError, One};
use checkpoint_store::{
    BlobPath, CheckpointId, CheckpointStore, LocalBlobs, Location, Manifest, StoreOptions,
};
use std::path::Path;
use std::sync::Arc;

/// Opens a directory for reading. A gateway's data directory means its checkpoints.
pub(super) fn open(dir: &Path) -> Result<CheckpointStore, CliError> {
    if !dir.is_dir() {
        let missing = format!("there is no directory {}", dir.display());
        return Err(CliError::NotFound(missing));
    }
    let inner = dir.join("checkpoints");
    let dir = match inner.join("checkpoints").is_dir() || inner.join("writers").is_dir() {
        true => inner,
        false => dir.to_path_buf(),
    };
    let blobs = Arc::new(LocalBlobs::open_existing(dir)?);
    Ok(CheckpointStore::open_read_only(
        blobs,
        StoreOptions::default(),
    ))
}

/// Opens a directory for writing, which fences off whoever writes there.
pub(super) fn take_over(dir: &Path) -> Result<CheckpointStore, CliError> {
    let blobs = Arc::clone(open(dir)?.blobs());
    Ok(CheckpointStore::open(blobs, StoreOptions::default())?)
}

/// The savepoint that the directory is, the checkpoint of the number, or the newest usable one.
pub(super) fn choose(store: &CheckpointStore, id: Option<u64>) -> Result<Manifest, CliError> {
    if let Some(id) = id {
        return Ok(store.load(&Location::Checkpoint(CheckpointId::new(id)))?);
    }
    match store.load(&Location::Savepoint(BlobPath::root())) {
        Err(checkpoint_store::Error::NotFound { .. }) => {}
        loaded => return Ok(loaded?),
    }
    let latest = store.latest()?;
    for damaged in &latest.passed_over {
        eprintln!("weir: {damaged}");
    }
    latest
        .manifest
        .ok_or_else(|| CliError::NotFound("there is no usable checkpoint".to_owned()))
}

pub(super) fn open_one(one: &One) -> Result<(CheckpointStore, Manifest), CliError> {
    let store = open(&one.at.dir)?;
    let manifest = choose(&store, one.id)?;
    Ok((store, manifest))
}
