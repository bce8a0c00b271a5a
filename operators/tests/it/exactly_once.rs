//! Promise: whatever fails, state is as if each element had come once.

use crate::support::{Count, Gate, HangingBlobs, Sessions, Trap, checkpointed, memory_store};
use checkpoint_store::{CheckpointStore, StoreOptions};
use operators::{
    CheckpointConfig, Generator, JobConfig, JobState, RestartStrategy, RunningJob, StopMode,
    StreamEnvironment,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use time_engine::Timestamp;
use time_engine::watermark::BoundedOutOfOrderness;

const EVENTS: u64 = 60_000;
const KEYS: u64 = 101;

/// The largest number each key got; with exactly-once state that is how often it came.
fn totals(results: Vec<(u64, u64)>) -> BTreeMap<u64, u64> {
    let mut totals = BTreeMap::new();
    for (key, n) in results {
        let total = totals.entry(key).or_insert(0);
        *total = n.max(*total);
    }
    totals
}

fn expected() -> BTreeMap<u64, u64> {
    (0..KEYS)
        .map(|k| (k, EVENTS / KEYS + u64::from(k < EVENTS % KEYS)))
        .collect()
}

/// Until a subtask has taken in so many elements, or the job has ended.
fn wait_for(job: &RunningJob, subtask: usize, elements: u64) {
    loop {
        let status = job.status();
        let taken = status
            .subtasks
            .get(subtask)
            .map_or(0, |subtask| subtask.records_in);
        if taken >= elements || status.state.is_terminal() {
            return;
        }
        std::thread::yield_now();
    }
}

#[test]
fn a_failing_operator_is_restarted_from_the_last_checkpoint() {
    for panics in [false, true] {
        let store = memory_store();
        let env = StreamEnvironment::new();
        let trap = Trap {
            left: 25_000.into(),
            panics,
        };
        let trap = Arc::new(trap);
        let sprung = Arc::clone(&trap);
        let results = env
            .source("numbers", Generator::new(EVENTS, |n| (n % KEYS, n)))
            .key_by(|(key, _)| *key)
            .process("count", move || Count::new(&trap))
            .collect("out");
        let job = env.execute(checkpointed(&store, 2)).unwrap();
        assert_eq!(job.wait().unwrap(), JobState::Finished);
        let status = job.status();
        assert_eq!(sprung.left.load(Ordering::Relaxed), 0);
        assert_eq!(status.attempts, 2, "{:?}", status.failure);
        let failure = status.failure.unwrap();
        assert!(failure.contains("the trap is sprung"), "{failure}");
        assert!(failure.contains("count"), "{failure}");
        assert_eq!(totals(results.take()), expected());
    }
}

#[test]
fn without_restarts_the_failure_is_the_outcome() {
    let env = StreamEnvironment::new();
    let trap = Trap::after(100);
    env.source("numbers", Generator::new(EVENTS, |n| (n % KEYS, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .for_each("out", |_| Ok(()));
    let job = env
        .execute(JobConfig::default().with_restart(RestartStrategy::None))
        .unwrap();
    let error = job.wait().unwrap_err();
    assert!(
        error.chain().contains("the trap is sprung"),
        "{}",
        error.chain()
    );
    assert_eq!(job.status().state, JobState::Failed);
}

#[test]
fn a_suspended_job_goes_on_at_another_parallelism() {
    let store = memory_store();
    let mut all = Vec::new();
    for (round, parallelism) in [1, 3, 2, 4].into_iter().enumerate() {
        let env = StreamEnvironment::new();
        let trap = Arc::<Trap>::default();
        let results = env
            .source(
                "numbers",
                Generator::new(EVENTS, |n| (n % KEYS, n)).with_splits(3),
            )
            .parallelism(2)
            .key_by(|(key, _)| *key)
            .process("count", move || Count::new(&trap))
            .parallelism(parallelism)
            .collect("out");
        let job = env.execute(checkpointed(&store, 1)).unwrap();
        if round < 3 {
            while results.len() < (EVENTS / 5) as usize && !job.status().state.is_terminal() {
                std::thread::yield_now();
            }
            // it may have come to its end by itself
            if job.stop(StopMode::Suspend).wait().is_ok() {
                assert_eq!(job.wait().unwrap(), JobState::Suspended);
            }
        }
        job.wait().unwrap();
        all.append(&mut results.take());
    }
    // suspended and restored without a failure: nothing comes twice, not even in the sink
    assert_eq!(all.len() as u64, EVENTS);
    assert_eq!(totals(all), expected());
}

#[test]
fn timers_survive_restarts_and_rescaling() {
    let store = memory_store();
    let mut sums = BTreeMap::new();
    for parallelism in [2, 3] {
        let env = StreamEnvironment::new();
        let results = env
            .source("events", Generator::new(20_000, |n| (n % 10, n)))
            .assign_timestamps(
                |(_, at)| Timestamp::from_millis(*at as i64),
                || BoundedOutOfOrderness::new(Duration::ZERO),
            )
            // key k is silent in the second half but for a few
            .filter(|(key, at)| *at < 10_000 || *key < 2)
            .key_by(|(key, _)| *key)
            .process("sessions", Sessions::default)
            .parallelism(parallelism)
            .collect("out");
        let config = checkpointed(&store, 1);
        let job = env.execute(config).unwrap();
        if parallelism == 2 {
            wait_for(&job, 0, 5_000);
            let _ = job.stop(StopMode::Suspend).wait();
        }
        job.wait().unwrap();
        assert_eq!(job.status().attempts, 1, "{:?}", job.status().failure);
        for (key, n) in results.take() {
            *sums.entry(key).or_insert(0) += n;
        }
    }
    let expected: BTreeMap<u64, u64> = (0..10)
        .map(|key| (key, if key < 2 { 2_000 } else { 1_000 }))
        .collect();
    assert_eq!(sums, expected);
}

#[test]
fn a_savepoint_is_another_jobs_beginning() {
    let store = memory_store();
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    env.source("numbers", Generator::new(EVENTS, |n| (n % KEYS, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .for_each("out", |_| Ok(()));
    let job = env.execute(checkpointed(&store, 1)).unwrap();
    wait_for(&job, 1, 1_000);
    let savepoint = job
        .stop_with_savepoint(StopMode::Drain, "savepoints/one")
        .wait()
        .unwrap();
    assert_eq!(savepoint.location, "savepoints/one");
    assert_eq!(job.wait().unwrap(), JobState::Finished);

    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let results = env
        .source("numbers", Generator::new(EVENTS, |n| (n % KEYS, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .parallelism(3)
        .collect("out");
    let checkpoints = CheckpointConfig::new(store)
        .with_interval(Duration::from_millis(5))
        .with_restore(operators::RestoreFrom::Location(savepoint.location));
    let job = env
        .execute(JobConfig::default().with_checkpoints(checkpoints))
        .unwrap();
    job.wait().unwrap();
    assert_eq!(totals(results.take()), expected());
    assert_eq!(job.status().checkpoints.restored, Some(savepoint.id));
}

#[test]
fn drained_state_is_checkpointed_and_told_of() {
    let store = memory_store();
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let results = env
        .source("numbers", Generator::unbounded(|n| (n % KEYS, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .collect("out");
    let job = env.execute(checkpointed(&store, 2)).unwrap();
    let first = loop {
        // until all tasks run it is refused
        if let Ok(done) = job.trigger_checkpoint().wait() {
            break done;
        }
        std::thread::yield_now();
    };
    let last = job.stop(StopMode::Drain).wait().unwrap();
    assert!(last.id > first.id);
    assert_eq!(job.wait().unwrap(), JobState::Finished);
    let history = job.status().checkpoints;
    assert_eq!(history.failed, 0, "{history:?}");
    let record = history.last_completed().unwrap();
    assert_eq!(record.id, last.id);
    let line = record.to_string();
    assert!(line.contains("slowest"), "{line}");
    let counted: u64 = totals(results.take()).values().sum();
    let read: u64 = store.latest().unwrap().manifest.unwrap().sources["numbers"]
        .iter()
        .map(|split| split.position.as_u64().unwrap() / 2)
        .sum();
    assert_eq!(counted, read);
}

#[test]
fn a_detached_job_does_not_wait_for_storage_that_hangs() {
    let gate = Arc::<Gate>::default();
    let blobs = Arc::new(HangingBlobs::new(&gate));
    let store = CheckpointStore::open(Arc::clone(&blobs) as _, StoreOptions::default()).unwrap();
    let env = StreamEnvironment::new();
    env.source("numbers", Generator::unbounded(|n| (n % KEYS, n)))
        .key_by(|(key, _)| *key)
        .process("count", || Count::new(&Arc::default()))
        .for_each("out", |_| Ok(()));
    let job = env.execute(checkpointed(&store, 1)).unwrap();
    while !blobs.waits.load(Ordering::Acquire) {
        std::thread::yield_now();
    }
    job.detach();
    // without the line above this would wait for a thread that waits at the gate
    drop(job);
    gate.open();
}
