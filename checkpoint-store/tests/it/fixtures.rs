//! Directories written by each version of the format are readable for ever.
//!
//! `WEIR_WRITE_FIXTURES=1 cargo test -p checkpoint-store fixtures` writes the one of the current
//! version anew: only before a version is released, or into a directory for a new one.

use crate::job::{Job, Model, key, read};
use checkpoint_store::*;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) fn fixture() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1")
}

/// What the fixture holds after each of its checkpoints.
fn history() -> Vec<Model> {
    let mut model = Model::new();
    (0..4_u16)
        .map(|round| {
            for number in 0..20 {
                model.insert(
                    key("count", number),
                    format!("{round}-{number}").into_bytes(),
                );
            }
            model.remove(&key("count", round));
            model.insert(key("wide state name/ü", round), vec![0; usize::from(round)]);
            model.clone()
        })
        .collect()
}

fn write() {
    let dir = fixture();
    std::fs::remove_dir_all(&dir).ok();
    let blobs: Arc<dyn BlobStore> = Arc::new(LocalBlobs::open(&dir).unwrap());
    let mut job = Job::start(Arc::clone(&blobs), 2).unwrap();
    for (round, model) in history().into_iter().enumerate() {
        for key in job.model.keys().cloned().collect::<Vec<_>>() {
            if !model.contains_key(&key) {
                job.delete(key);
            }
        }
        for (key, value) in model {
            if job.model.get(&key) != Some(&value) {
                job.set(key, value);
            }
        }
        if round == 3 {
            job.compact(&CompactionPolicy::EVERYTHING).unwrap();
        }
        job.checkpoint().unwrap();
    }
    let writer = SavepointWriter::create(
        Arc::clone(&blobs),
        BlobPath::new("savepoint").unwrap(),
        StoreOptions::default(),
    );
    job.store
        .save_as(job.previous.as_ref().unwrap(), &writer.unwrap())
        .unwrap();
    std::fs::remove_dir(dir.join(".tmp")).ok();
}

#[test]
fn version_1_is_readable() {
    if std::env::var_os("WEIR_WRITE_FIXTURES").is_some() {
        write();
    }
    let blobs = Arc::new(LocalBlobs::open_existing(fixture()).unwrap());
    let store = CheckpointStore::open_read_only(blobs, StoreOptions::default());
    let history = history();
    for (at, expected) in history.iter().enumerate() {
        let id = CheckpointId::new(at as u64 + 1);
        let manifest = store.load(&Location::Checkpoint(id)).unwrap();
        assert_eq!(manifest.format_version, 1);
        assert_eq!(store.verify(&manifest).unwrap(), []);
        assert_eq!(read(&store, &manifest, 3).unwrap(), *expected);
        assert_eq!(manifest.sources["ingest"][0].position["offset"], id.get());
    }
    let latest = store.latest().unwrap();
    assert_eq!(latest.passed_over, []);
    assert_eq!(latest.manifest.unwrap().id, CheckpointId::new(4));
    let savepoint = Location::Savepoint(BlobPath::new("savepoint").unwrap());
    let savepoint = store.load(&savepoint).unwrap();
    assert_eq!(read(&store, &savepoint, 1).unwrap(), history[3]);
}
