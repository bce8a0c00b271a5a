//! Promise: a start goes on from local files exactly when they are the checkpoint it begins from; whichever
//! it reads, state is as if each element had come once.

use crate::support::{Count, Sessions, Trap, checkpointed, memory_store};
use checkpoint_store::CheckpointStore;
use operators::{
    Generator, JobConfig, JobState, LocalRecovery, RestoreSource, RunningJob, StateRestore,
    StopMode, StreamEnvironment, SubtaskStatus,
};
use state_backend::BackendConfig;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use time_engine::Timestamp;
use time_engine::watermark::BoundedOutOfOrderness;

const KEYS: u64 = 500;
const ROUND: u64 = 2_000;

fn config(store: &CheckpointStore, backend: &str, dir: &Path, parallelism: usize) -> JobConfig {
    let backend = match backend {
        "fs" => BackendConfig::fs(dir),
        _ => BackendConfig::redb(dir),
    };
    checkpointed(store, parallelism).with_backend(backend)
}

/// Counts up to element `end`, behind what earlier rounds have counted, and checks each key's count.
fn count(config: JobConfig, end: u64) -> Vec<StateRestore> {
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let results = env
        .source("numbers", Generator::new(end, |n| (n % KEYS, n)))
        .parallelism(1)
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .collect("out");
    let job = env.execute(config).expect("a job that can run");
    assert_eq!(job.wait().expect("it does not fail"), JobState::Finished);
    let status = job.status();
    assert_eq!(status.attempts, 1, "{:?}", status.failure);
    let mut totals = BTreeMap::new();
    for (key, n) in results.take() {
        let total = totals.entry(key).or_insert(0);
        *total = n.max(*total);
    }
    let expected: BTreeMap<u64, u64> = (0..KEYS)
        .map(|key| (key, end / KEYS + u64::from(key < end % KEYS)))
        .collect();
    assert_eq!(totals, expected);
    status.restored
}

/// Until it runs and a subtask has taken in so many elements, or it has ended.
fn wait_for(job: &RunningJob, elements: u64) {
    loop {
        let status = job.status();
        let taken = |subtask: &SubtaskStatus| subtask.records_in >= elements;
        let runs = status.state == JobState::Running && status.subtasks.iter().any(taken);
        if runs || status.state.is_terminal() {
            return;
        }
        std::thread::yield_now();
    }
}

fn sources(restored: &[StateRestore]) -> Vec<RestoreSource> {
    restored.iter().map(|restore| restore.source).collect()
}

use RestoreSource::{Checkpoint, Local};

#[test]
fn a_start_after_an_orderly_end_reads_local_files() {
    for backend in ["fs", "redb"] {
        let (store, dir) = (memory_store(), tempfile::tempdir().unwrap());
        // Less than the keys take: some are in the tables at the end, some beneath.
        let config = || config(&store, backend, dir.path(), 2).with_memory_budget_bytes(16 << 10);
        assert_eq!(count(config(), ROUND), []);
        for round in 2..=4 {
            let restored = count(config(), round * ROUND);
            assert_eq!(sources(&restored), [Local, Local], "{restored:?}");
            assert!(restored.iter().all(|restore| restore.bytes_read == 0));
            let rows: u64 = restored.iter().map(|restore| restore.rows).sum();
            assert_eq!(rows, KEYS, "{backend}");
        }
    }
}

#[test]
fn timers_come_along() {
    for backend in ["fs", "redb"] {
        let (store, dir) = (memory_store(), tempfile::tempdir().unwrap());
        let mut sums = BTreeMap::new();
        for round in 0..2 {
            let env = StreamEnvironment::new();
            let results = env
                .source("events", Generator::new(20_000, |n| (n % 10, n)))
                .assign_timestamps(
                    |(_, at)| Timestamp::from_millis(*at as i64),
                    || BoundedOutOfOrderness::new(Duration::ZERO),
                )
                .filter(|(key, at)| *at < 10_000 || *key < 2)
                .key_by(|(key, _)| *key)
                .process("sessions", Sessions::default)
                .collect("out");
            let config = config(&store, backend, dir.path(), 2);
            let job = env.execute(config).unwrap();
            if round == 0 {
                wait_for(&job, 5_000);
                // it may have come to its end by itself
                let _ = job.stop(StopMode::Suspend).wait();
            }
            job.wait().unwrap();
            let status = job.status();
            assert_eq!(status.attempts, 1, "{:?}", status.failure);
            let local = if round == 0 { vec![] } else { vec![Local; 2] };
            assert_eq!(sources(&status.restored), local, "{:?}", status.restored);
            for (key, n) in results.take() {
                *sums.entry(key).or_insert(0) += n;
            }
        }
        let expected: BTreeMap<u64, u64> = (0..10)
            .map(|key| (key, if key < 2 { 2_000 } else { 1_000 }))
            .collect();
        assert_eq!(sums, expected);
    }
}

#[test]
fn a_killed_job_a_rescaled_one_and_one_that_forbids_it_read_the_checkpoint() {
    for backend in ["fs", "redb"] {
        let (store, dir) = (memory_store(), tempfile::tempdir().unwrap());
        let at = |parallelism| config(&store, backend, dir.path(), parallelism);
        count(at(2), ROUND);

        // It goes on from the files, changes them, and is broken off.
        let env = StreamEnvironment::new();
        let trap = Arc::<Trap>::default();
        env.source("numbers", Generator::unbounded(|n| (n % KEYS, n)))
            .parallelism(1)
            .key_by(|(key, _)| *key)
            .process("count", move || Count::new(&trap))
            .for_each("out", |_| Ok(()));
        let never = operators::CheckpointConfig::new(store.clone()).without_interval();
        let job = env.execute(at(2).with_checkpoints(never)).unwrap();
        wait_for(&job, 5_000);
        assert_eq!(sources(&job.status().restored), [Local, Local]);
        job.cancel();
        assert_eq!(job.wait().unwrap(), JobState::Canceled);
        let restored = count(at(2), 2 * ROUND);
        assert_eq!(sources(&restored), [Checkpoint, Checkpoint]);
        for restore in &restored {
            let refused = restore.refused.as_deref().unwrap();
            assert!(refused.contains("orderly"), "{restore}");
            assert!(restore.to_string().contains(refused), "{restore}");
        }

        let restored = count(at(3), 3 * ROUND);
        assert_eq!(sources(&restored), [Checkpoint; 3], "{restored:?}");
        // What the first two subtasks left is of checkpoints before that.
        let restored = count(at(2), 4 * ROUND);
        assert_eq!(sources(&restored), [Checkpoint; 2], "{restored:?}");
        let off = || at(2).with_local_recovery(LocalRecovery::Off);
        assert_eq!(sources(&count(off(), 5 * ROUND)), [Checkpoint; 2]);
        let restored = count(at(2), 6 * ROUND);
        assert_eq!(sources(&restored), [Checkpoint; 2], "{restored:?}");
        assert_eq!(sources(&count(at(2), 7 * ROUND)), [Local; 2]);
    }
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_flipped_bit_is_noticed_and_costs_nothing() {
    for backend in ["fs", "redb"] {
        let (store, dir) = (memory_store(), tempfile::tempdir().unwrap());
        let config = || config(&store, backend, dir.path(), 1);
        count(config(), ROUND);
        let (extension, mut round) = (if backend == "fs" { "log" } else { "redb" }, 1);
        for share in [3, 7] {
            let path = files(dir.path())
                .into_iter()
                .find(|path| path.extension().is_some_and(|e| e == extension))
                .unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let at = bytes.len() * share / 10;
            bytes[at] ^= 4;
            std::fs::write(&path, bytes).unwrap();
            round += 1;
            let restored = count(config(), round * ROUND);
            assert_eq!(sources(&restored), [Checkpoint], "{restored:?}");
            let refused = restored[0].refused.as_deref().unwrap();
            assert!(refused.contains("damaged"), "{refused}");
        }
        round += 1;
        assert_eq!(sources(&count(config(), round * ROUND)), [Local]);
    }
}

#[test]
fn a_savepoint_that_a_job_stopped_with_is_in_the_files_too() {
    let (store, dir) = (memory_store(), tempfile::tempdir().unwrap());
    let config = || config(&store, "redb", dir.path(), 1);
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    env.source("numbers", Generator::unbounded(|n| (n % KEYS, n)))
        .parallelism(1)
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .for_each("out", |_| Ok(()));
    let job = env.execute(config()).unwrap();
    wait_for(&job, 1_000);
    let stop = job.stop_with_savepoint(StopMode::Suspend, "savepoints/one");
    let savepoint = stop.wait().unwrap();
    job.wait().unwrap();
    let manifest = store
        .load(&checkpoint_store::Location::Savepoint(
            checkpoint_store::BlobPath::new("savepoints/one").unwrap(),
        ))
        .unwrap();
    let read = manifest.sources["numbers"][0].position.as_u64().unwrap();
    let from = operators::RestoreFrom::Location(savepoint.location);
    let checkpoints = operators::CheckpointConfig::new(store.clone()).with_restore(from);
    let end = read + ROUND;
    let restored = count(config().with_checkpoints(checkpoints), end);
    assert_eq!(sources(&restored), [Local], "{restored:?}");
    assert_eq!(sources(&count(config(), end + ROUND)), [Local]);
}
