//! Promise: a checkpoint that turns out to be damaged while it is restored is named and passed over for the one
//! before it, whatever the operator makes of the failure; state is never wrong.

use crate::support::{Count, Trap, checkpointed};
use checkpoint_store::{BlobPath, BlobStore, CheckpointStore, MemoryBlobs, PutMode, StoreOptions};
use operators::{
    CheckpointedFunction, Collector, Element, Generator, JobState, Operator, OperatorContext,
    Result, StreamEnvironment,
};
use state_backend::{StateStore, ValueDef};
use std::collections::BTreeMap;
use std::sync::Arc;

const KEYS: u64 = 50;
const ROUND: u64 = 200;

/// What an operator does when its state cannot be registered.
#[derive(Clone, Copy, Debug)]
enum OnFailure {
    Returns,
    Panics,
    Ignores,
}

struct Careless {
    count: Count,
    on_failure: OnFailure,
}

impl Operator for Careless {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        let seen = store.value(&ValueDef::new("seen"));
        self.count.seen = match self.on_failure {
            OnFailure::Returns => seen?,
            OnFailure::Panics => seen.expect("state that can be read"),
            OnFailure::Ignores => seen.unwrap_or_default(),
        };
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<(u64, u64)>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        self.count.on_element(element, cx, out)
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        self.count.checkpointed()
    }
}

/// Counts up to element `end`, behind what earlier runs have counted, and checks each key's count. Returns how
/// many starts that took.
fn count(blobs: &Arc<dyn BlobStore>, end: u64, on_failure: OnFailure) -> u64 {
    let store = CheckpointStore::open(Arc::clone(blobs), StoreOptions::default())
        .expect("memory does not fail");
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let results = env
        .source("numbers", Generator::new(end, |n| (n % KEYS, n)))
        .parallelism(1)
        .key_by(|(key, _)| *key)
        .process("count", move || Careless {
            count: Count::new(&trap),
            on_failure,
        })
        .collect("out");
    let job = env
        .execute(checkpointed(&store, 2))
        .expect("a job that can run");
    assert_eq!(job.wait().expect("it goes on"), JobState::Finished);
    let mut totals = BTreeMap::new();
    for (key, n) in results.take() {
        let total = totals.entry(key).or_insert(0);
        *total = n.max(*total);
    }
    let expected: BTreeMap<u64, u64> = (0..KEYS).map(|key| (key, end / KEYS)).collect();
    assert_eq!(totals, expected);
    job.status().attempts
}

fn copy(blobs: &MemoryBlobs) -> MemoryBlobs {
    let copy = MemoryBlobs::new();
    for blob in blobs.list(&BlobPath::root()).expect("memory does not fail") {
        let bytes = blobs
            .get(&blob.path)
            .expect("memory does not fail")
            .expect("it is listed");
        let _ = copy
            .put(&blob.path, bytes, PutMode::Create)
            .expect("memory does not fail");
    }
    copy
}

#[test]
fn flipped_bytes_lead_to_the_checkpoint_before_and_never_to_a_wrong_state() {
    let sound = Arc::new(MemoryBlobs::new());
    let blobs: Arc<dyn BlobStore> = Arc::clone(&sound) as _;
    for round in 1..=2 {
        assert_eq!(count(&blobs, round * ROUND, OnFailure::Returns), 1);
    }
    let (mut flip, mut second_starts) = (0, 0);
    for blob in sound.list(&BlobPath::root()).unwrap() {
        if blob.path.as_str().starts_with("writers/") {
            continue;
        }
        let bytes = sound.get(&blob.path).unwrap().unwrap();
        for at in (0..bytes.len()).step_by(211) {
            let damaged = copy(&sound);
            let mut bytes = bytes.to_vec();
            bytes[at] ^= 1 << (flip % 8);
            let on_failure = [OnFailure::Returns, OnFailure::Panics, OnFailure::Ignores][flip % 3];
            let _ = damaged
                .put(&blob.path, bytes.into(), PutMode::Overwrite)
                .unwrap();
            let damaged: Arc<dyn BlobStore> = Arc::new(damaged);
            let starts = count(&damaged, 3 * ROUND, on_failure);
            second_starts += usize::from(starts > 1);
            flip += 1;
        }
    }
    // Each kind of operator has met damage that only the restore has found.
    assert!(second_starts > 6, "{second_starts} of {flip}");
}
