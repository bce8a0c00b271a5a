//! A merge of any number of files holds a bounded number of them, and comes out as a plain map would.

use crate::job::{Job, Key, Model, all_groups, key, options, read, uid};
use bytes::Bytes;
use checkpoint_store::*;
use proptest::prelude::*;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Counts the pieces of files that readers hold: one for each small file that is open.
#[derive(Debug, Default)]
struct Holding {
    inner: MemoryBlobs,
    held: Arc<AtomicUsize>,
    most: AtomicUsize,
    opened: AtomicUsize,
    deleted: Mutex<Vec<String>>,
}

struct Piece(Bytes, Arc<AtomicUsize>);

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        self.1.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Holding {
    /// What readers held at most since this was last called, and how many reads there were.
    fn take_most(&self) -> (usize, usize) {
        let opened = self.opened.swap(0, Ordering::Relaxed);
        (self.most.swap(0, Ordering::Relaxed), opened)
    }
}

impl BlobStore for Holding {
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>> {
        self.inner.get(path)
    }

    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>> {
        let found = self.inner.get_range(path, range)?;
        Ok(found.map(|bytes| {
            let held = self.held.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(held, Ordering::Relaxed);
            self.opened.fetch_add(1, Ordering::Relaxed);
            Bytes::from_owner(Piece(bytes, Arc::clone(&self.held)))
        }))
    }

    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome> {
        self.inner.put(path, bytes, mode)
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        self.inner.list(prefix)
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        self.deleted.lock().unwrap().push(path.to_string());
        self.inner.delete(path)
    }
}

/// A key of one key group, as all rows of one recommender are.
fn in_one_group(number: u16) -> Key {
    ("rows".to_owned(), 7, number.to_be_bytes().to_vec())
}

/// Bytes that compress by a quarter, so that a file is read whole.
fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let mut byte = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 58) as u8
    };
    (0..len).map(|_| byte()).collect()
}

/// Two checkpoints that between them have many more files than a merge opens.
fn job_with_many_files(blobs: &Arc<Holding>, fan_in: usize) -> Job {
    let blobs: Arc<dyn BlobStore> = Arc::<Holding>::clone(blobs);
    let mut job = Job::start_with(blobs, 1, options(fan_in)).unwrap();
    for round in 0..2_usize {
        for number in 0..700_u16 {
            let value = noise(round + usize::from(number), 1_500);
            job.set(in_one_group(number * 31 % 1_001), value);
        }
        for number in 0..20 {
            job.delete(in_one_group(number * 40 + round as u16));
        }
        job.checkpoint().unwrap();
    }
    job
}

fn files(job: &Job) -> usize {
    job.previous.as_ref().unwrap().files().count()
}

#[test]
fn a_restore_holds_a_bounded_number_of_files() {
    for fan_in in [2, 3, 5, 16] {
        let blobs = Arc::new(Holding::default());
        let job = job_with_many_files(&blobs, fan_in);
        assert!(files(&job) > 25, "{}", files(&job));
        blobs.take_most();
        let manifest = job.previous.as_ref().unwrap();
        assert_eq!(read(&job.store, manifest, 1).unwrap(), job.model);
        let (held, opened) = blobs.take_most();
        assert!(held > 0 && held <= fan_in, "{held} at once by {fan_in}");
        assert!(opened > files(&job), "each file is opened again");
        // So does everything else that reads a chain.
        let before = diff((&job.store, manifest), (&job.store, manifest)).unwrap();
        assert_eq!(before[0].unchanged, job.model.len() as u64);
        let (held, _) = blobs.take_most();
        assert!(
            held <= 2 * fan_in,
            "{held} at once by {fan_in} in two merges"
        );
    }
}

#[test]
fn a_restore_within_the_fan_in_opens_each_file_once() {
    let blobs = Arc::new(Holding::default());
    let job = job_with_many_files(&blobs, 64);
    assert!(files(&job) <= 64);
    blobs.take_most();
    let manifest = job.previous.as_ref().unwrap();
    assert_eq!(read(&job.store, manifest, 1).unwrap(), job.model);
    assert_eq!(blobs.take_most().1, files(&job));
}

#[test]
fn a_compaction_holds_a_bounded_number_of_files_and_leaves_none_of_its_passes() {
    for fan_in in [2, 3, 5, 16] {
        let blobs = Arc::new(Holding::default());
        let mut job = job_with_many_files(&blobs, fan_in);
        let before = files(&job);
        assert!(before > 25);
        blobs.take_most();
        job.compact(&CompactionPolicy::EVERYTHING).unwrap();
        let (held, _) = blobs.take_most();
        assert!(held > 0 && held <= fan_in, "{held} at once by {fan_in}");
        let left = blobs.list(&BlobPath::root()).unwrap();
        let passes = |path: &str| path.contains("/passes/");
        assert!(!left.iter().any(|blob| passes(blob.path.as_str())));
        let deleted = blobs.deleted.lock().unwrap().clone();
        assert!(!deleted.is_empty() && deleted.iter().all(|path| passes(path)));
        job.checkpoint().unwrap();
        // What it wrote is one sequence, of which a reader has one file open.
        let manifest = job.previous.as_ref().unwrap();
        assert!(files(&job) > 5, "{}", files(&job));
        let parts: Vec<_> = manifest.files().map(|(_, file)| file.part).collect();
        let expected: Vec<_> = (0..parts.len() as u32).map(Some).collect();
        assert_eq!(parts, expected);
        assert_eq!(read(&job.store, manifest, 1).unwrap(), job.model);
        let (held, _) = blobs.take_most();
        assert!(held <= 2, "{held} of {}", files(&job));
        assert!(manifest.files().all(|(_, file)| file.tombstones == 0));
        assert!(!manifest.needs_compaction(&CompactionPolicy::EVERYTHING));
    }
}

#[test]
fn the_same_chain_is_compacted_into_the_same_bytes() {
    let compacted = || {
        let blobs = Arc::new(Holding::default());
        let mut job = job_with_many_files(&blobs, 3);
        job.compact(&CompactionPolicy::EVERYTHING).unwrap();
        let dir = BlobPath::new("compacted").unwrap();
        let files = blobs.list(&dir).unwrap();
        let contents = files.into_iter().map(|file| blobs.get(&file.path).unwrap());
        contents.collect::<Vec<_>>()
    };
    assert_eq!(compacted(), compacted());
}

#[test]
fn a_compactor_merges_a_chain_of_many_files_although_it_has_few_layers() {
    let blobs = Arc::new(Holding::default());
    let mut job = job_with_many_files(&blobs, 4);
    let policy = CompactionPolicy::default().with_max_inputs(8);
    assert!(
        !job.previous
            .as_ref()
            .unwrap()
            .needs_compaction(&CompactionPolicy::default())
    );
    assert!(job.previous.as_ref().unwrap().needs_compaction(&policy));
    job.compact(&policy).unwrap();
    job.set(in_one_group(1), b"new".to_vec());
    job.checkpoint().unwrap();
    let manifest = job.previous.as_ref().unwrap();
    assert!(!manifest.needs_compaction(&policy));
    assert_eq!(read(&job.store, manifest, 1).unwrap(), job.model);
}

#[test]
fn files_that_are_no_sequence_although_the_manifest_says_so_are_reported() {
    let blobs = Arc::new(Holding::default());
    let job = job_with_many_files(&blobs, 4);
    let mut manifest = job.previous.clone().unwrap();
    for (file, part) in manifest.operators[0].chain.iter_mut().zip(0..) {
        file.part = Some(part);
    }
    let read = read(&job.store, &manifest, 1);
    assert!(matches!(read, Err(Error::Corrupted { .. })), "{read:?}");
}

#[test]
fn a_compaction_that_fails_in_a_pass_changes_nothing() {
    let beneath = Arc::new(Holding::default());
    let job = job_with_many_files(&beneath, 2);
    let manifest = job.previous.as_ref().unwrap();
    let calls = |fail_at: u64| {
        let plan = move |call, _, _: &BlobPath| match call >= fail_at {
            true => fault::Fault::Before,
            false => fault::Fault::None,
        };
        let inner: Arc<dyn BlobStore> = Arc::<Holding>::clone(&beneath);
        let blobs = Arc::new(fault::FaultyBlobs::new(inner, plan));
        let store = CheckpointStore::open(Arc::clone(&blobs) as Arc<dyn BlobStore>, options(2));
        let outcome =
            store.and_then(|store| store.compact(manifest, &CompactionPolicy::EVERYTHING));
        (outcome, blobs.calls())
    };
    let (outcome, all) = calls(u64::MAX);
    outcome.unwrap();
    for fail_at in (5..all - 50).step_by(37) {
        assert!(calls(fail_at).0.is_err(), "{fail_at} of {all}");
    }
    let again = Job::start(Arc::clone(&beneath) as Arc<dyn BlobStore>, 1).unwrap();
    assert_eq!(again.model, job.model);
    // What is left of them goes when the next checkpoint is there.
    let mut again = again;
    again.checkpoint().unwrap();
    again
        .store
        .collect_garbage(&Retention::newest(1), GcMode::Delete)
        .unwrap();
    let left = beneath.list(&BlobPath::new("compacted").unwrap()).unwrap();
    assert_eq!(left, []);
}

/// Rows of one layer: a key each, and a value unless it is deleted.
fn layers() -> impl Strategy<Value = Vec<Vec<(u16, Option<usize>)>>> {
    let row = (0..400_u16, prop::option::weighted(0.8, 0..4_000_usize));
    prop::collection::vec(prop::collection::vec(row, 0..120), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Written as they come, so that a layer is many files that overlap; read as they are, after a compaction of
    /// all or of the newer ones, and as a savepoint.
    #[test]
    fn any_chain_equals_a_map_by_any_fan_in(
        layers in layers(),
        fan_in in 2..9_usize,
        one_group in any::<bool>(),
        compacted in 0..12_usize,
    ) {
        let blobs = Arc::new(Holding::default());
        let store_blobs: Arc<dyn BlobStore> = Arc::<Holding>::clone(&blobs);
        let mut job = Job::start_with(store_blobs, 1, options(fan_in)).unwrap();
        for (at, rows) in layers.iter().enumerate() {
            for (number, value) in rows {
                let key = if one_group { in_one_group(*number) } else { key("rows", *number) };
                match value {
                    Some(len) => job.set(key, noise(at, *len)),
                    None => job.delete(key),
                }
            }
            job.checkpoint().unwrap();
            if at == compacted {
                let policy = CompactionPolicy::default().with_max_layers(3).with_max_inputs(fan_in);
                job.compact(&policy).unwrap();
            }
        }
        let check = |job: &Job, what: &str| {
            let manifest = job.previous.as_ref().unwrap();
            blobs.take_most();
            for parallelism in [1, 3] {
                let found: Model = read(&job.store, manifest, parallelism).unwrap();
                assert!(found == job.model, "{what}");
            }
            assert!(blobs.take_most().0 <= fan_in, "{what}");
        };
        check(&job, "as it is");
        let rows = job.store.read_state(
            job.previous.as_ref().unwrap(), &uid(), "rows", all_groups()).unwrap();
        let rows: usize = rows.map(|batch| batch.unwrap().num_rows()).sum();
        prop_assert_eq!(rows, job.model.len());
        let target: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
        let writer = SavepointWriter::create(Arc::clone(&target), BlobPath::root(), options(fan_in));
        let saved = job.store.save_as(job.previous.as_ref().unwrap(), &writer.unwrap()).unwrap();
        let store = CheckpointStore::open_read_only(target, options(fan_in));
        prop_assert!(read(&store, &saved, 2).unwrap() == job.model);
        job.compact(&CompactionPolicy::EVERYTHING).unwrap();
        prop_assert!(blobs.take_most().0 <= fan_in);
        job.checkpoint().unwrap();
        check(&job, "compacted");
    }
}
