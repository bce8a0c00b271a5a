//! Which store, and which checkpoint in it, a directory means.

use super::{CliError, One};
use checkpoint_store::{
    Access, BlobPath, CheckpointId, CheckpointStore, Location, Manifest, StoreOptions, open_place,
};
use std::path::Path;
use std::sync::Arc;

/// Opens a place for reading: a directory or a URL. A gateway's data directory means its checkpoints.
pub(super) fn open(place: &Path) -> Result<CheckpointStore, CliError> {
    let place = if is_url(place) {
        place.to_path_buf()
    } else if !place.is_dir() {
        let missing = format!("there is no directory {}", place.display());
        return Err(CliError::NotFound(missing));
    } else {
        let inner = place.join("checkpoints");
        match inner.join("checkpoints").is_dir() || inner.join("writers").is_dir() {
            true => inner,
            false => place.to_path_buf(),
        }
    };
    let blobs = open_place(&place, Access::Read)?;
    Ok(CheckpointStore::open_read_only(
        blobs,
        StoreOptions::default(),
    ))
}

fn is_url(place: &Path) -> bool {
    place.to_str().is_some_and(|text| text.contains("://"))
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
