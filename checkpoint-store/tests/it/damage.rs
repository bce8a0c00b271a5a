//! Wrong bytes are harmless or reported, never a wrong state.

use crate::job::{Job, key, read};
use checkpoint_store::*;
use std::sync::Arc;

fn history() -> (Arc<dyn BlobStore>, Job, crate::job::Model) {
    history_on(Arc::new(MemoryBlobs::new()))
}

fn history_on(blobs: Arc<dyn BlobStore>) -> (Arc<dyn BlobStore>, Job, crate::job::Model) {
    let mut job = Job::start(Arc::clone(&blobs), 1).unwrap();
    for number in 0..10 {
        job.set(key("s", number), vec![number as u8; 3]);
    }
    job.checkpoint().unwrap();
    let before = job.model.clone();
    job.set(key("s", 3), b"changed".to_vec());
    job.delete(key("s", 4));
    job.checkpoint().unwrap();
    (blobs, job, before)
}

fn files(blobs: &Arc<dyn BlobStore>) -> Vec<BlobPath> {
    let listing = blobs.list(&BlobPath::root()).unwrap();
    let paths = listing.into_iter().map(|blob| blob.path);
    paths
        .filter(|path| !path.as_str().starts_with("writers/"))
        .collect()
}

/// Restores from scratch; what comes back must be one of the two committed states, and the newer
/// one unless something was reported.
fn check(
    blobs: &Arc<dyn BlobStore>,
    newest: &crate::job::Model,
    before: &crate::job::Model,
) -> bool {
    let store = CheckpointStore::open_read_only(Arc::clone(blobs), StoreOptions::default());
    let mut latest = store.latest().unwrap();
    let mut reported = !latest.passed_over.is_empty();
    loop {
        let Some(manifest) = latest.manifest else {
            assert!(reported, "nothing was found and nothing reported");
            return true;
        };
        match read(&store, &manifest, 2) {
            Ok(model) => {
                let expected = if manifest.id.get() == 2 {
                    newest
                } else {
                    before
                };
                assert_eq!(model, *expected, "a wrong state, silently");
                assert!(manifest.id.get() == 2 || reported);
                return reported;
            }
            Err(error) => {
                assert!(error.is_corruption(), "{error:?}");
                reported = true;
                latest = store.latest_before(&manifest, &error).unwrap();
            }
        }
    }
}

#[test]
fn every_flipped_byte_is_harmless_or_reported() {
    flip_bytes(Arc::new(MemoryBlobs::new()), 1, &[0x01, 0xff]);
}

#[test]
fn flipped_bytes_in_an_object_store_are_harmless_or_reported() {
    let store = Arc::new(object_store::memory::InMemory::new());
    let blobs = ObjectBlobs::new(store, &BlobPath::root()).unwrap();
    flip_bytes(Arc::new(blobs), 11, &[0x10]);
}

fn flip_bytes(blobs: Arc<dyn BlobStore>, step: usize, flips: &[u8]) {
    let (blobs, job, before) = history_on(blobs);
    assert!(!check(&blobs, &job.model, &before));
    let mut reported = 0_usize;
    let mut all = 0_usize;
    for path in files(&blobs) {
        let sound = blobs.get(&path).unwrap().unwrap();
        for at in (0..sound.len()).step_by(step) {
            for flip in flips {
                let mut bytes = sound.to_vec();
                bytes[at] ^= flip;
                let _ = blobs.put(&path, bytes.into(), PutMode::Overwrite).unwrap();
                all += 1;
                reported += usize::from(check(&blobs, &job.model, &before));
            }
        }
        let _ = blobs.put(&path, sound, PutMode::Overwrite).unwrap();
    }
    // Only flips in the older manifest, which is not read, can go unnoticed.
    assert!(reported * 2 > all, "{reported} of {all}");
}

#[test]
fn verify_finds_every_flipped_byte_of_every_file() {
    let (blobs, job, _) = history();
    let manifest = job.previous.unwrap();
    for (_, file) in manifest.files() {
        let path = manifest.locate(file);
        let sound = blobs.get(&path).unwrap().unwrap();
        for at in 0..sound.len() {
            let mut bytes = sound.to_vec();
            bytes[at] ^= 0x10;
            let _ = blobs.put(&path, bytes.into(), PutMode::Overwrite).unwrap();
            let damage = job.store.verify(&manifest).unwrap();
            assert!(matches!(damage[..], [Damage::Contents(_)]), "{damage:?}");
        }
        let _ = blobs.put(&path, sound, PutMode::Overwrite).unwrap();
    }
    assert_eq!(job.store.verify(&manifest).unwrap(), []);
}

#[test]
fn missing_and_short_files_are_named_and_the_checkpoint_before_is_used() {
    let (blobs, job, before) = history();
    let manifest = job.previous.as_ref().unwrap();
    let newest = manifest
        .files()
        .find(|(_, file)| file.checkpoint.get() == 2)
        .unwrap()
        .1;
    let path = manifest.locate(newest);
    let sound = blobs.get(&path).unwrap().unwrap();
    for damaged in [None, Some(sound.slice(..sound.len() - 1))] {
        match damaged {
            None => blobs.delete(&path).unwrap(),
            Some(bytes) => {
                let _ = blobs.put(&path, bytes, PutMode::Overwrite).unwrap();
            }
        }
        let latest = job.store.latest().unwrap();
        let [passed] = &latest.passed_over[..] else {
            panic!("{:?}", latest.passed_over);
        };
        assert_eq!(passed.checkpoint.id.get(), 2);
        assert!(passed.to_string().contains(path.as_str()), "{passed}");
        assert_eq!(latest.manifest.unwrap().id.get(), 1);
        assert!(check(&blobs, &job.model, &before));
        // Garbage collection keeps the one that works, and the damaged one for inspection.
        let report = job
            .store
            .collect_garbage(&Retention::newest(1), GcMode::Delete)
            .unwrap();
        assert_eq!(report.plan.kept[0].id.get(), 1);
        assert_eq!(report.plan.damaged.len(), 1);
        assert_eq!(report.removed, 0);
    }
}

#[test]
fn a_condemned_checkpoint_is_not_believed_again_and_its_predecessor_is_kept() {
    let (blobs, job, before) = history();
    let manifest = job.previous.as_ref().unwrap();
    let newest = manifest
        .files()
        .find(|(_, file)| file.checkpoint.get() == 2)
        .unwrap()
        .1;
    let path = manifest.locate(newest);
    let mut bytes = blobs.get(&path).unwrap().unwrap().to_vec();
    bytes[10] ^= 1;
    let _ = blobs.put(&path, bytes.into(), PutMode::Overwrite).unwrap();
    // Its size is right, so only reading shows it.
    assert_eq!(job.store.latest().unwrap().manifest.unwrap().id.get(), 2);
    let restarted = Job::start(Arc::clone(&blobs), 1).unwrap();
    assert_eq!(restarted.model, before);
    let latest = restarted.store.latest().unwrap();
    assert_eq!(latest.manifest.unwrap().id.get(), 1);
    assert!(latest.passed_over[0].to_string().contains("condemned.txt"));
    let bystander = CheckpointStore::open_read_only(Arc::clone(&blobs), StoreOptions::default());
    let report = bystander
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .unwrap();
    assert_eq!(report.plan.kept[0].id.get(), 1);
    assert_eq!(Job::start(blobs, 1).unwrap().model, before);
}

#[test]
fn a_manifest_in_the_wrong_place_is_damaged() {
    let (blobs, job, _) = history();
    let first = job
        .store
        .load(&Location::Checkpoint(CheckpointId::new(1)))
        .unwrap();
    let at = CheckpointRef {
        id: CheckpointId::new(7),
        writer: first.writer,
    };
    let path = protocol::manifest_path(at);
    let _ = blobs
        .put(&path, first.encode().unwrap(), PutMode::Create)
        .unwrap();
    let latest = job.store.latest().unwrap();
    assert_eq!(latest.manifest.unwrap().id.get(), 2);
    assert_eq!(latest.passed_over[0].checkpoint, at);
}

#[test]
fn a_newer_format_stops_recovery_and_garbage_collection() {
    let (blobs, job, _) = history();
    let mut newer = job.previous.clone().unwrap();
    newer.id = CheckpointId::new(3);
    newer.format_version = FORMAT_VERSION + 1;
    let path = protocol::manifest_path(CheckpointRef::of(&newer));
    let _ = blobs
        .put(&path, newer.encode().unwrap(), PutMode::Create)
        .unwrap();
    let latest = job.store.latest();
    assert!(
        matches!(latest, Err(Error::UnsupportedVersion { .. })),
        "{latest:?}"
    );
    let collected = job
        .store
        .collect_garbage(&Retention::newest(1), GcMode::Delete);
    assert!(
        matches!(collected, Err(Error::UnsupportedVersion { .. })),
        "{collected:?}"
    );
}
