//! Promise: a checkpoint with unaligned barriers does not wait for what is in the queues, and loses none of
//! it.

use crate::support::{Count, Gate, memory_store};
use checkpoint_store::CheckpointStore;
use operators::{
    Barriers, CheckpointConfig, CheckpointMode, Collected, ExchangeOptions, Generator, JobConfig,
    JobState, RestartStrategy, RunningJob, StopMode, StreamEnvironment,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use time_engine::window::{SharedWindows, Sum, WindowSpec};

const EVENTS: u64 = 5_000;
const KEYS: u64 = 11;
const BATCH: usize = 8;
const QUEUE: usize = 4;

/// Counts, and then comes to a gate in another task.
struct Running {
    job: RunningJob,
    results: Collected<(u64, u64)>,
    gate: Arc<Gate>,
    /// The counting operator has taken a snapshot.
    snapshot: Arc<AtomicBool>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // a job whose thread waits at the gate could not be cancelled
        self.gate.open();
    }
}

fn start(store: &CheckpointStore, barriers: Barriers, parallelism: usize) -> Running {
    let env = StreamEnvironment::new();
    let (gate, snapshot) = (Arc::<Gate>::default(), Arc::<AtomicBool>::default());
    let (entry, taken) = (Arc::clone(&gate), Arc::clone(&snapshot));
    let results = env
        .source("numbers", Generator::new(EVENTS, |n| (n % KEYS, n)))
        .with_codec()
        .key_by(|(key, _)| *key)
        .process("count", move || Count {
            snapshot: Arc::clone(&taken),
            ..Count::new(&Arc::default())
        })
        .parallelism(parallelism)
        .with_codec()
        .rebalance()
        .map(move |counted| {
            entry.pass();
            counted
        })
        .collect("out");
    let checkpoints = CheckpointConfig::new(store.clone())
        .without_interval()
        .with_barriers(barriers);
    let exchange = ExchangeOptions::default()
        .with_batch_size(BATCH)
        .with_queue_batches(QUEUE);
    let config = JobConfig::default()
        .with_checkpoints(checkpoints)
        .with_exchange(exchange)
        .with_restart(RestartStrategy::None);
    let job = env.execute(config).expect("the test goes on");
    Running {
        job,
        results,
        gate,
        snapshot,
    }
}

impl Running {
    /// Until the counting operator stands still because its output is full, with elements in its queue.
    fn wait_for_backpressure(&self) {
        loop {
            let status = self.job.status();
            assert!(!status.state.is_terminal(), "{:?}", status.failure);
            let of = |task: &str| status.subtasks.iter().find(|s| s.task == task);
            if let (JobState::Running, Some(source), Some(count)) =
                (status.state, of("numbers"), of("count"))
                // one batch at the gate, some in the queue, one refused
                && count.records_out >= ((QUEUE + 2) * BATCH) as u64
                // one batch at hand, others in the queue
                && source.records_out > count.records_in + 2 * BATCH as u64
            {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn totals(&self) -> BTreeMap<u64, u64> {
        let mut totals = BTreeMap::new();
        for (key, n) in self.results.take() {
            let total = totals.entry(key).or_insert(0);
            *total = n.max(*total);
        }
        totals
    }
}

fn under_way(store: &CheckpointStore, inputs: &str) -> usize {
    let manifest = store
        .latest()
        .expect("the test goes on")
        .manifest
        .expect("the test goes on");
    let of = manifest.operators.iter().find(|o| o.uid.as_str() == inputs);
    let subtasks = of.into_iter().flat_map(|operator| &operator.subtasks);
    let items = subtasks.flat_map(|subtask| &subtask.in_flight);
    items.map(|item| item.0.len()).sum()
}

#[test]
fn a_barrier_overtakes_what_waits_and_it_is_replayed() {
    for barriers in [
        Barriers::Unaligned,
        Barriers::UnalignedAfter(Duration::from_millis(5)),
    ] {
        let store = memory_store();
        let running = start(&store, barriers, 1);
        running.wait_for_backpressure();
        let ticket = running.job.trigger_checkpoint();
        // no element moves, and yet the operator takes its snapshot
        while !running.snapshot.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        running.gate.open();
        ticket.wait().unwrap();
        drop(running);
        assert!(under_way(&store, "count.inputs") > 0);

        for parallelism in [3, 2] {
            let running = start(&store, barriers, parallelism);
            running.gate.open();
            if parallelism == 3 {
                // goes on from it, and is broken off again
                continue;
            }
            assert_eq!(running.job.wait().unwrap(), JobState::Finished);
            let expected: BTreeMap<u64, u64> = (0..KEYS)
                .map(|key| (key, EVENTS / KEYS + u64::from(key < EVENTS % KEYS)))
                .collect();
            assert_eq!(running.totals(), expected);
        }
    }
}

#[test]
fn an_aligned_barrier_waits_for_what_is_before_it() {
    let store = memory_store();
    let running = start(&store, Barriers::Aligned, 1);
    running.wait_for_backpressure();
    let ticket = running.job.trigger_checkpoint();
    while running.job.status().checkpoints.triggered == 0 {
        std::thread::yield_now();
    }
    // however long this takes
    assert!(!running.snapshot.load(Ordering::Acquire));
    running.gate.open();
    ticket.wait().unwrap();
    assert_eq!(under_way(&store, "count.inputs"), 0);
}

#[test]
fn a_savepoint_holds_nothing_that_is_under_way() {
    let store = memory_store();
    let running = start(&store, Barriers::Unaligned, 1);
    running.wait_for_backpressure();
    let ticket = running
        .job
        .stop_with_savepoint(StopMode::Suspend, "savepoints/s");
    running.gate.open();
    let savepoint = ticket.wait().unwrap();
    let path = checkpoint_store::BlobPath::new(savepoint.location).unwrap();
    let manifest = store.load(&checkpoint_store::Location::Savepoint(path));
    let operators = manifest.unwrap().operators;
    let mut subtasks = operators.iter().flat_map(|operator| &operator.subtasks);
    assert!(subtasks.all(|subtask| subtask.in_flight.is_empty()));
}

#[test]
fn a_job_that_cannot_write_what_is_under_way_is_refused_by_name() {
    /// Not serde's.
    struct Opaque(u64);

    let execute = |checkpoints: CheckpointConfig| {
        let env = StreamEnvironment::new();
        env.source("numbers", Generator::new(10, Opaque))
            .key_by(|Opaque(n)| n % 3)
            .window_of(
                "sums",
                |Opaque(n)| *n as i64,
                || {
                    let spec = WindowSpec::tumbling(Duration::from_secs(1));
                    SharedWindows::new(Sum, vec![spec])
                },
            )
            .for_each("out", |_| Ok(()));
        let config = JobConfig::default().with_checkpoints(checkpoints);
        env.execute(config)
            .map(|_| ())
            .map_err(|error| error.to_string())
    };
    let checkpoints = || CheckpointConfig::new(memory_store());
    execute(checkpoints()).unwrap();
    let unaligned = || checkpoints().with_barriers(Barriers::Unaligned);
    let refused = execute(unaligned()).unwrap_err();
    assert!(
        refused.contains(r#"from "numbers" to "sums""#) && refused.contains("with_codec"),
        "{refused}"
    );
    let refused = execute(unaligned().with_mode(CheckpointMode::AtLeastOnce)).unwrap_err();
    assert!(refused.contains("exactly-once"), "{refused}");
    let refused = execute(unaligned().with_max_concurrent(2)).unwrap_err();
    assert!(refused.contains("one checkpoint at a time"), "{refused}");
}
