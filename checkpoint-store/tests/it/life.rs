//! The life of a directory of checkpoints: publishing, fencing, retention, garbage, compaction,
//! savepoints.

use crate::job::{GROUPS, Job, all_groups, key, read, uid};
use checkpoint_store::*;
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism, StateKind, StateStore, ValueDef};
use std::sync::Arc;
use std::time::Duration;

fn memory() -> Arc<dyn BlobStore> {
    Arc::new(MemoryBlobs::new())
}

fn job_with_history(blobs: &Arc<dyn BlobStore>, checkpoints: u16) -> Job {
    let mut job = Job::start(Arc::clone(blobs), 2).unwrap();
    for round in 0..checkpoints {
        for number in 0..40 {
            job.set(key("count", number), vec![round as u8, number as u8]);
        }
        job.delete(key("count", round % 40));
        job.set(key("last", round), vec![1]);
        job.checkpoint().unwrap();
    }
    job
}

fn paths(blobs: &Arc<dyn BlobStore>) -> Vec<String> {
    let listing = blobs.list(&BlobPath::root()).unwrap();
    listing
        .into_iter()
        .map(|blob| blob.path.to_string())
        .collect()
}

#[test]
fn an_empty_directory_has_no_latest() {
    let store = CheckpointStore::open(memory(), StoreOptions::default()).unwrap();
    let latest = store.latest().unwrap();
    assert!(latest.manifest.is_none() && latest.passed_over.is_empty());
    assert_eq!(latest.next_id, CheckpointId::new(1));
}

#[test]
fn restores_at_any_parallelism_what_was_checkpointed_at_another() {
    let blobs = memory();
    let job = job_with_history(&blobs, 5);
    for parallelism in [1, 2, 3, 7, 16] {
        let again = read(&job.store, job.previous.as_ref().unwrap(), parallelism).unwrap();
        assert_eq!(again, job.model, "parallelism {parallelism}");
    }
}

#[test]
fn a_restart_goes_on_from_the_newest_and_never_reuses_a_number() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 3);
    job.set(key("count", 5), vec![9]);
    // Written, never committed.
    let (abandoned, _) = job.write(WriteKind::Delta).unwrap();
    let mut next = Job::start(Arc::clone(&blobs), 3).unwrap();
    assert_eq!(next.previous.as_ref().unwrap().id, CheckpointId::new(3));
    assert!(next.next_id > abandoned);
    assert_ne!(next.model, job.model);
    next.set(key("count", 5), vec![9]);
    next.checkpoint().unwrap();
    assert_eq!(Job::start(blobs, 1).unwrap().model, job.model);
}

#[test]
fn a_newer_writer_fences_off_the_older_one() {
    let blobs = memory();
    let mut old = job_with_history(&blobs, 2);
    let mut new = Job::start(Arc::clone(&blobs), 2).unwrap();
    old.set(key("count", 1), b"old".to_vec());
    let refused = old.checkpoint();
    assert!(matches!(refused, Err(Error::Fenced { .. })), "{refused:?}");
    new.set(key("count", 1), b"new".to_vec());
    new.checkpoint().unwrap();
    assert_eq!(Job::start(blobs, 1).unwrap().model, new.model);
}

#[test]
fn a_fenced_writers_late_manifest_loses_to_the_newer_writer() {
    let blobs = memory();
    let mut old = job_with_history(&blobs, 2);
    // The old writer has passed its first look at the claims when the new one takes over: what it
    // publishes then has the higher number, and must not win.
    let (id, shards) = old.write(WriteKind::Delta).unwrap();
    let manifest = old.manifest(CheckpointId::new(id.get() + 100), shards);
    let mut new = Job::start(Arc::clone(&blobs), 2).unwrap();
    new.set(key("count", 1), b"new".to_vec());
    new.checkpoint().unwrap();
    let at = CheckpointRef {
        writer: old.store.epoch().unwrap(),
        id: manifest.id,
    };
    let mut late = manifest;
    late.writer = at.writer;
    let path = protocol::manifest_path(at);
    let put = blobs
        .put(&path, late.encode().unwrap(), PutMode::Create)
        .unwrap();
    assert_eq!(put, PutOutcome::Written);
    let after = Job::start(blobs, 1).unwrap();
    assert_eq!(after.model, new.model);
    assert!(after.next_id > at.id);
}

#[test]
fn commit_is_idempotent_and_refuses_what_is_subsumed() {
    let blobs = memory();
    let mut job = Job::start(Arc::clone(&blobs), 1).unwrap();
    let (first, first_shards) = job.write(WriteKind::Full).unwrap();
    let first = job.manifest(first, first_shards);
    let (second, second_shards) = job.write(WriteKind::Full).unwrap();
    let second = job.manifest(second, second_shards);
    assert_eq!(
        job.store.commit(second.clone()).unwrap().published,
        Published::Now
    );
    assert_eq!(
        job.store.commit(second.clone()).unwrap().published,
        Published::Before
    );
    let subsumed = job.store.commit(first);
    assert!(
        matches!(subsumed, Err(Error::Subsumed { .. })),
        "{subsumed:?}"
    );
    let mut other = second;
    other.properties.insert("other".into(), "yes".into());
    let conflict = job.store.commit(other);
    assert!(
        matches!(conflict, Err(Error::Conflict { .. })),
        "{conflict:?}"
    );
}

#[test]
fn abandon_leaves_nothing_and_spares_what_is_committed() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 1);
    let before = paths(&blobs);
    job.set(key("count", 3), vec![1]);
    let (id, _) = job.write(WriteKind::Delta).unwrap();
    assert_ne!(paths(&blobs), before);
    job.store.abandon(id).unwrap();
    assert_eq!(paths(&blobs), before);
    assert!(job.store.abandon(CheckpointId::new(1)).is_err());
    assert_eq!(paths(&blobs), before);
}

#[test]
fn garbage_collection_keeps_what_retained_checkpoints_need() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 6);
    job.set(key("count", 3), vec![7; 7]);
    let (in_progress, _) = job.write(WriteKind::Delta).unwrap();
    let before = paths(&blobs);
    let dry = job
        .store
        .collect_garbage(&Retention::newest(2), GcMode::DryRun)
        .unwrap();
    assert_eq!(paths(&blobs), before, "a dry run changes nothing");
    // From a process that only looks on, beside the writer.
    let bystander = CheckpointStore::open_read_only(Arc::clone(&blobs), StoreOptions::default());
    let report = bystander
        .collect_garbage(&Retention::newest(2), GcMode::Delete)
        .unwrap();
    assert_eq!(report.plan, dry.plan);
    assert_eq!(report.removed, dry.removed);
    let kept: Vec<u64> = report.plan.kept.iter().map(|kept| kept.id.get()).collect();
    assert_eq!(kept, [6, 5]);
    assert_eq!(report.plan.expired.len(), 4);
    assert!(!report.plan.in_progress.is_empty());
    // The whole chain is still needed; only four manifests went.
    assert_eq!(report.removed, 4);
    for id in kept {
        let manifest = job
            .store
            .load(&Location::Checkpoint(CheckpointId::new(id)))
            .unwrap();
        assert_eq!(job.store.verify(&manifest).unwrap(), []);
    }
    // The one in progress can still be committed.
    let (_, shards) = (in_progress, job.write(WriteKind::Full).unwrap());
    let full = job.manifest(shards.0, shards.1);
    job.store.commit(full).unwrap();
    let report = job
        .store
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .unwrap();
    assert_eq!(report.plan.kept.len(), 1);
    assert_eq!(report.plan.in_progress, []);
    // What is left: the claim, the manifest, and its own files.
    let left = paths(&blobs);
    let own = format!("checkpoints/{:010}-", shards.0.get());
    assert!(
        left.iter()
            .all(|path| path.starts_with(&own) || path.starts_with("writers/")),
        "{left:?}"
    );
    assert_eq!(Job::start(blobs, 1).unwrap().model, job.model);
}

#[test]
fn retention_by_age_keeps_the_young_ones() {
    let blobs = memory();
    let job = job_with_history(&blobs, 6);
    // Checkpoint n is of 1000 n ms.
    let retention = Retention::newest(1).and_younger_than(Duration::from_millis(2500), 6000);
    let report = job
        .store
        .collect_garbage(&retention, GcMode::DryRun)
        .unwrap();
    let kept: Vec<u64> = report.plan.kept.iter().map(|kept| kept.id.get()).collect();
    assert_eq!(kept, [6, 5, 4]);
}

#[test]
fn compaction_shortens_the_chain_and_changes_nothing_else() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 12);
    let files = |job: &Job| job.previous.as_ref().unwrap().files().count();
    let before = files(&job);
    job.compact(&CompactionPolicy::EVERYTHING).unwrap();
    let compaction = job.compaction.clone().unwrap();
    assert_eq!(compaction.files(), (before, 2));
    // Checkpoints go on while it runs.
    job.set(key("count", 1), b"meanwhile".to_vec());
    job.delete(key("count", 2));
    job.checkpoint().unwrap();
    assert!(files(&job) <= 4, "{}", files(&job));
    let manifest = job.previous.clone().unwrap();
    assert_eq!(read(&job.store, &manifest, 3).unwrap(), job.model);
    let base: Vec<_> = manifest
        .files()
        .filter(|(_, file)| file.checkpoint.get() == 12)
        .collect();
    assert!(base.iter().all(|(_, file)| file.tombstones == 0));
    job.store
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .unwrap();
    assert_eq!(Job::start(Arc::clone(&blobs), 5).unwrap().model, job.model);
    let left = paths(&blobs);
    assert!(
        left.iter()
            .all(|path| !path.starts_with("checkpoints/0000000012")),
        "{left:?}"
    );
}

#[test]
fn an_outdated_compaction_is_not_applied() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 4);
    job.compact(&CompactionPolicy::EVERYTHING).unwrap();
    job.set(key("count", 1), b"full".to_vec());
    // All is written anew in the meantime: what was compacted is obsolete.
    job.checkpoint_of(WriteKind::Full).unwrap();
    let manifest = job.previous.as_ref().unwrap();
    assert!(
        manifest
            .files()
            .all(|(_, file)| file.checkpoint == manifest.id)
    );
    assert_eq!(read(&job.store, manifest, 2).unwrap(), job.model);
}

#[test]
fn a_savepoint_is_complete_and_can_be_moved() {
    let blobs = memory();
    let job = job_with_history(&blobs, 5);
    let elsewhere = memory();
    let dir = BlobPath::new("kept/before-upgrade").unwrap();
    let options = StoreOptions::default;
    let writer = SavepointWriter::create(Arc::clone(&elsewhere), dir.clone(), options()).unwrap();
    job.store
        .save_as(job.previous.as_ref().unwrap(), &writer)
        .unwrap();
    // A second savepoint does not go into the same place.
    assert!(SavepointWriter::create(Arc::clone(&elsewhere), dir.clone(), options()).is_err());
    // Moved to the root of yet another store.
    let moved = memory();
    for blob in elsewhere.list(&dir).unwrap() {
        let to = blob.path.relative_to(&dir).unwrap();
        let bytes = elsewhere.get(&blob.path).unwrap().unwrap();
        let _ = moved.put(&to, bytes, PutMode::Create).unwrap();
    }
    for (blobs, dir) in [(&elsewhere, dir), (&moved, BlobPath::root())] {
        let store = CheckpointStore::open_read_only(Arc::clone(blobs), options());
        let manifest = store.load(&Location::Savepoint(dir.clone())).unwrap();
        assert_eq!(manifest.kind, ManifestKind::Savepoint);
        assert_eq!(manifest.sources, job.previous.as_ref().unwrap().sources);
        assert_eq!(store.verify(&manifest).unwrap(), []);
        assert_eq!(read(&store, &manifest, 3).unwrap(), job.model);
        assert!(manifest.files().all(|(_, file)| file.tombstones == 0));
        let listed = store.savepoints(&BlobPath::root()).unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].0, dir);
        store.dispose_savepoint(&dir).unwrap();
        assert_eq!(paths(blobs), [""; 0]);
    }
}

#[test]
fn a_savepoint_is_written_by_shards_and_garbage_collection_leaves_it_alone() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 2);
    let dir = BlobPath::new("savepoints/1").unwrap();
    let options = StoreOptions::default();
    let savepoint = SavepointWriter::create(Arc::clone(&blobs), dir.clone(), options).unwrap();
    let id = CheckpointId::new(50);
    let mut shards = Vec::new();
    for subtask in 0..2 {
        let max = MaxParallelism::new(GROUPS).unwrap();
        let groups = KeyGroupRange::for_subtask(max, 2, subtask).unwrap();
        let mut writer = savepoint.shard_writer(id, &uid(), subtask, groups);
        for ((state, group, key), value) in &job.model {
            if groups.contains(KeyGroup::new(*group)) {
                writer
                    .put(state, KeyGroup::new(*group), key, Some(value))
                    .unwrap();
            }
        }
        shards.push(writer.finish().unwrap());
    }
    // Even drafted on a checkpoint, it must not refer to that checkpoint's files.
    let previous = job.previous.take();
    let alien = ManifestDraft::new(id, 0, previous.as_ref()).with_operator(OperatorUpdate {
        uid: uid(),
        parallelism: 2,
        max_parallelism: GROUPS,
        catalog: Default::default(),
        shards: Vec::new(),
        subtasks: Vec::new(),
    });
    assert!(matches!(
        savepoint.commit(alien.build()),
        Err(Error::Invalid { .. })
    ));
    savepoint.commit(job.manifest(id, shards)).unwrap();
    job.previous = previous;
    job.checkpoint().unwrap();
    job.store
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .unwrap();
    let manifest = job.store.load(&Location::Savepoint(dir)).unwrap();
    assert_eq!(read(&job.store, &manifest, 3).unwrap(), job.model);
}

#[test]
fn restoring_one_key_group_reads_only_its_part() {
    let blobs = memory();
    let mut job = Job::start(Arc::clone(&blobs), 1).unwrap();
    for number in 0..4096_u16 {
        for copy in 0..20_u8 {
            let mut key = key("wide", number);
            key.2.push(copy);
            // Bytes that do not compress, so that sizes say something.
            let value = (0..24_u32).map(|n| {
                let seed = u32::from(number) * 8191 + u32::from(copy) * 131 + n;
                (seed.wrapping_mul(2_654_435_761) >> 13) as u8
            });
            job.set(key, value.collect());
        }
    }
    job.checkpoint().unwrap();
    let manifest = job.previous.as_ref().unwrap();
    let fetched = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counting: Arc<dyn BlobStore> = Arc::new(Counting(blobs, Arc::clone(&fetched)));
    let store = CheckpointStore::open_read_only(counting, StoreOptions::default());
    let read_bytes = |groups| {
        fetched.store(0, std::sync::atomic::Ordering::Relaxed);
        let rows = store
            .for_each_row(manifest, &uid(), "wide", groups, |_, _, _| {
                Ok::<_, Error>(())
            })
            .unwrap();
        (rows, fetched.load(std::sync::atomic::Ordering::Relaxed))
    };
    let one = KeyGroupRange::new(KeyGroup::new(5), KeyGroup::new(5)).unwrap();
    let (all_rows, all_bytes) = read_bytes(all_groups());
    let (rows, bytes) = read_bytes(one);
    assert_eq!(rows * 16, all_rows);
    // A sixteenth of the rows, and little more than a sixteenth of the bytes.
    assert!(bytes * 10 < all_bytes, "{bytes} of {all_bytes}");
}

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting(Arc<dyn BlobStore>, Arc<std::sync::atomic::AtomicU64>);

impl BlobStore for Counting {
    fn get(&self, path: &BlobPath) -> Result<Option<bytes::Bytes>> {
        self.get_range(path, 0..u64::MAX)
    }

    fn get_range(
        &self,
        path: &BlobPath,
        range: std::ops::Range<u64>,
    ) -> Result<Option<bytes::Bytes>> {
        let bytes = self.0.get_range(path, range)?;
        let len = bytes.as_ref().map_or(0, bytes::Bytes::len) as u64;
        self.1.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
        Ok(bytes)
    }

    fn put(&self, path: &BlobPath, bytes: bytes::Bytes, mode: PutMode) -> Result<PutOutcome> {
        self.0.put(path, bytes, mode)
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        self.0.list(prefix)
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        self.0.delete(path)
    }
}

#[test]
fn record_batches_go_in_and_come_out() {
    let blobs = memory();
    let store = CheckpointStore::open(Arc::clone(&blobs), StoreOptions::default()).unwrap();
    let job = job_with_history(&blobs, 1);
    drop(store);
    let manifest = job.previous.as_ref().unwrap();
    let id = CheckpointId::new(9);
    let mut writer = job
        .store
        .shard_writer(id, &uid(), 0, all_groups(), WriteKind::Full)
        .unwrap();
    let mut rows = 0;
    for batch in job
        .store
        .read_state(manifest, &uid(), "count", all_groups())
        .unwrap()
    {
        let batch = batch.unwrap();
        assert_eq!(batch.schema(), schema());
        rows += batch.num_rows();
        writer.write_batch("count", &batch).unwrap();
    }
    assert_eq!(rows, 39);
    let files = writer.finish().unwrap();
    assert_eq!(files.rows(), 39);
}

#[test]
fn two_checkpoints_are_compared_entry_by_entry() {
    let blobs = memory();
    let mut job = job_with_history(&blobs, 3);
    let before = job.previous.clone().unwrap();
    job.set(key("count", 10), b"other".to_vec());
    // Written again with the same value, and deleted although it was not there.
    job.set(key("count", 11), job.model[&key("count", 11)].clone());
    job.delete(key("count", 30_000));
    job.delete(key("count", 12));
    job.set(key("new", 1), b"new".to_vec());
    job.checkpoint().unwrap();
    let after = job.previous.as_ref().unwrap();
    let found = diff((&job.store, &before), (&job.store, after)).unwrap();
    let of = |state: &str| {
        let diff = found.iter().find(|diff| diff.state == state).unwrap();
        (diff.added, diff.changed, diff.removed, diff.unchanged)
    };
    assert_eq!(of("count"), (0, 1, 1, 37));
    assert_eq!(of("last"), (0, 0, 0, 3));
    assert_eq!(of("new"), (1, 0, 0, 0));
    let same = diff((&job.store, after), (&job.store, after)).unwrap();
    assert!(
        same.iter()
            .all(|diff| diff.added + diff.changed + diff.removed == 0)
    );
    let summary = after.summary();
    let count = summary
        .iter()
        .find(|summary| summary.state == "count")
        .unwrap();
    assert_eq!((count.layers, count.deletions > 0), (4, true));
}

#[test]
fn a_restore_is_checked_before_anything_is_stopped() {
    let blobs = memory();
    let job = job_with_history(&blobs, 1);
    let manifest = job.previous.as_ref().unwrap();
    let expected = |uid: &str, parallelism, max_parallelism| ExpectedOperator {
        uid: OperatorUid::new(uid).unwrap(),
        parallelism,
        max_parallelism,
        catalog: None,
    };
    let worst = |job: &[ExpectedOperator]| {
        check_restore(manifest, job)
            .into_iter()
            .map(|finding| finding.severity)
            .max()
    };
    assert_eq!(worst(&[expected("profiles", 2, GROUPS)]), None);
    assert_eq!(
        worst(&[expected("profiles", 3, GROUPS)]),
        Some(Severity::Info)
    );
    assert_eq!(
        worst(&[expected("other", 2, GROUPS)]),
        Some(Severity::Warning)
    );
    assert_eq!(
        worst(&[expected("profiles", 2, 128)]),
        Some(Severity::Error)
    );
    assert_eq!(
        worst(&[expected("profiles", 99, GROUPS)]),
        Some(Severity::Error)
    );
}

#[test]
fn a_state_of_another_kind_type_or_newer_version_is_found_before_a_restore() {
    let blobs = memory();
    let mut manifest = job_with_history(&blobs, 1).previous.unwrap();
    let mut known = StateStore::open(state_backend::StoreOptions::new()).unwrap();
    known.value(&ValueDef::<u64>::new("count")).unwrap();
    let catalog = known.catalog();
    manifest.operators[0].catalog = catalog.clone();
    let with = |change: fn(&mut state_backend::StateEntry)| {
        let mut wanted = catalog.clone();
        wanted.states.iter_mut().for_each(change);
        let findings = check_restore(
            &manifest,
            &[ExpectedOperator {
                uid: OperatorUid::new("profiles").unwrap(),
                parallelism: 2,
                max_parallelism: GROUPS,
                catalog: Some(wanted),
            }],
        );
        let worst = findings.into_iter().max_by_key(|finding| finding.severity);
        worst.map(|finding| (finding.severity, finding.what))
    };
    let says = |found: Option<(Severity, String)>, severity, words: &str| {
        let (worst, what) = found.unwrap();
        assert!(worst == severity && what.contains(words), "{what}");
    };
    assert_eq!(with(|_| ()), None);
    let kind = with(|state| state.kind = StateKind::Map);
    says(kind, Severity::Error, "is a");
    let other = with(|state| state.type_name = "String".to_owned());
    says(other, Severity::Error, "holds u64, the job wants String");
    let newer = with(|state| state.version += 1);
    says(newer, Severity::Warning, "migrates");
    let unused = with(|state| state.name = "another".to_owned());
    says(unused, Severity::Warning, "not used by the job any more");
    for state in &mut manifest.operators[0].catalog.states {
        state.version += 2;
    }
    let older = check_restore(
        &manifest,
        &[ExpectedOperator {
            uid: OperatorUid::new("profiles").unwrap(),
            parallelism: 2,
            max_parallelism: GROUPS,
            catalog: Some(catalog.clone()),
        }],
    );
    assert_eq!(older[0].severity, Severity::Error, "{older:?}");
}

#[test]
fn a_compactor_keeps_the_chain_short_beside_the_job() {
    let blobs = memory();
    let mut job = Job::start(Arc::clone(&blobs), 2).unwrap();
    let policy = CompactionPolicy::default().with_max_layers(4);
    let mut compactor = Compactor::new(job.store.clone(), policy);
    let mut longest = 0;
    for round in 0..60_u16 {
        job.set(key("count", round), vec![1; 100]);
        job.delete(key("count", round / 2));
        // A result may be ready at any time after it was begun.
        job.compaction = match round % 10 {
            9 => compactor.wait().cloned(),
            _ => compactor.result().cloned(),
        };
        if round % 7 == 3 {
            // A checkpoint that fails does not lose the result.
            let (id, _) = job.write(WriteKind::Delta).unwrap();
            job.store.abandon(id).unwrap();
        }
        job.checkpoint().unwrap();
        let manifest = job.previous.clone().unwrap();
        longest = longest.max(
            manifest
                .summary()
                .iter()
                .map(|state| state.layers)
                .max()
                .unwrap_or(0),
        );
        compactor.committed(&Arc::new(manifest));
        job.store
            .collect_garbage(&Retention::newest(2), GcMode::Delete)
            .unwrap();
    }
    // The limit, and what was committed while a compaction ran.
    assert!(longest < 25, "{longest} layers");
    drop(compactor);
    assert_eq!(Job::start(Arc::clone(&blobs), 1).unwrap().model, job.model);
    job.store.delete_checkpoints().unwrap();
    assert!(
        paths(&blobs)
            .iter()
            .all(|path| path.starts_with("writers/"))
    );
}
