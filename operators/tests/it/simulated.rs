//! Promise: whatever order tasks run in, and whatever fails when, state is that of a sequential run.
//!
//! `SEEDS=10000 cargo test -p operators simulated` runs more of them.

use crate::support::{Count, FlakyBlobs, Sessions, Trap, memory_store};
use checkpoint_store::{BlobStore, CheckpointStore, StoreOptions};
use operators::{
    Barriers, CheckpointConfig, CheckpointMode, ExchangeOptions, Generator, JobConfig, JobState,
    RestartStrategy, SimulationOptions, SimulationReport, StreamEnvironment, simulate,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use time_engine::Timestamp;
use time_engine::watermark::BoundedOutOfOrderness;

const EVENTS: u64 = 400;
const KEYS: u64 = 7;

fn seeds() -> u64 {
    std::env::var("SEEDS")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(12)
}

const BARRIERS: [Barriers; 3] = [
    Barriers::Aligned,
    Barriers::Unaligned,
    Barriers::UnalignedAfter(Duration::from_millis(2)),
];

fn config(store: &CheckpointStore) -> JobConfig {
    config_with(store, Barriers::Aligned)
}

fn config_with(store: &CheckpointStore, barriers: Barriers) -> JobConfig {
    let checkpoints = CheckpointConfig::new(store.clone())
        .with_interval(Duration::from_millis(3))
        .with_barriers(barriers)
        .with_tolerable_failures(None);
    JobConfig::default()
        .with_checkpoints(checkpoints)
        .with_source_batch(7)
        .with_exchange(
            ExchangeOptions::default()
                .with_batch_size(3)
                .with_queue_batches(2),
        )
        .with_restart(RestartStrategy::fixed_delay(
            1_000_000,
            Duration::from_millis(2),
        ))
}

/// One run of the job; the totals by key so far, and how it went.
fn run(
    config: JobConfig,
    parallelism: usize,
    options: &SimulationOptions,
) -> (BTreeMap<u64, u64>, SimulationReport) {
    run_events(EVENTS, config, parallelism, options)
}

fn run_events(
    events: u64,
    config: JobConfig,
    parallelism: usize,
    options: &SimulationOptions,
) -> (BTreeMap<u64, u64>, SimulationReport) {
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let second = Arc::clone(&trap);
    let results = env
        .source(
            "numbers",
            Generator::new(events, |n| (n % KEYS, n)).with_splits(3),
        )
        .parallelism(2)
        .with_codec()
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .parallelism(parallelism)
        .map(|(key, n)| (n, key))
        .with_codec()
        // every number from 1 on comes once for each key that has so many
        .key_by(|(n, _)| *n)
        .process("regroup", move || Count::new(&second))
        .parallelism(3)
        .collect("out");
    let report = simulate(&env, config, options).expect("the run ends");
    let mut totals = BTreeMap::new();
    for (n, seen) in results.take() {
        let total = totals.entry(n).or_insert(0);
        *total = seen.max(*total);
    }
    (totals, report)
}

fn expected() -> BTreeMap<u64, u64> {
    expected_of(EVENTS)
}

fn expected_of(events: u64) -> BTreeMap<u64, u64> {
    let of_key = |key| events / KEYS + u64::from(key < events % KEYS);
    (1..=of_key(0))
        .map(|n| (n, (0..KEYS).filter(|key| of_key(*key) >= n).count() as u64))
        .collect()
}

#[test]
fn every_order_of_steps_gives_the_same_state() {
    for seed in 0..seeds() {
        let options = SimulationOptions::new(seed);
        let (totals, report) = run(config(&memory_store()), 2, &options);
        assert_eq!(report.status.state, JobState::Finished, "seed {seed}");
        assert_eq!(
            report.status.attempts, 1,
            "seed {seed}: {:?}",
            report.status.failure
        );
        assert_eq!(totals, expected(), "seed {seed}");
    }
}

#[test]
fn crashes_change_nothing() {
    let mut crashes = 0;
    for seed in 0..seeds() {
        let options = SimulationOptions::new(seed).with_crash_every(400);
        let (totals, report) = run(config(&memory_store()), 2, &options);
        crashes += report.crashes;
        assert_eq!(
            totals,
            expected(),
            "seed {seed}, {} crashes",
            report.crashes
        );
    }
    assert!(crashes > seeds());
}

#[test]
fn a_run_broken_off_goes_on_at_another_parallelism() {
    for seed in 0..seeds() {
        let store = memory_store();
        let mut totals = BTreeMap::new();
        for (round, parallelism) in [2, 3, 1, 4].into_iter().enumerate() {
            let mut options =
                SimulationOptions::new(seed * 10 + round as u64).with_crash_every(900);
            if round < 3 {
                options = options.with_stop_after(700);
            }
            let (part, _) = run(config(&store), parallelism, &options);
            for (n, seen) in part {
                let total = totals.entry(n).or_insert(0);
                *total = seen.max(*total);
            }
        }
        assert_eq!(totals, expected(), "seed {seed}");
    }
}

/// Elements that the newest checkpoint of a store holds as under way, in bytes.
fn under_way(store: &CheckpointStore) -> usize {
    let manifest = store.latest().expect("memory does not fail").manifest;
    let operators = manifest.map(|manifest| manifest.operators);
    let subtasks = operators.into_iter().flatten().flat_map(|o| o.subtasks);
    subtasks.flat_map(|s| s.in_flight).map(|i| i.0.len()).sum()
}

#[test]
fn what_barriers_overtake_is_replayed_at_any_parallelism() {
    let mut bytes = [0; 3];
    for (barriers, bytes) in BARRIERS.into_iter().zip(&mut bytes) {
        for seed in 0..seeds() {
            let store = memory_store();
            let mut totals = BTreeMap::new();
            for (round, parallelism) in [2, 2, 3, 1, 4].into_iter().enumerate() {
                let mut options =
                    SimulationOptions::new(seed * 10 + round as u64).with_crash_every(700);
                if round < 4 {
                    options = options.with_stop_after(600);
                }
                let (part, _) = run(config_with(&store, barriers), parallelism, &options);
                *bytes += under_way(&store);
                for (n, seen) in part {
                    let total = totals.entry(n).or_insert(0);
                    *total = seen.max(*total);
                }
            }
            assert_eq!(totals, expected(), "seed {seed}, {barriers:?}");
        }
    }
    let [aligned, unaligned, after] = bytes;
    assert!(
        aligned == 0 && unaligned > 0 && after > 0,
        "{aligned} {unaligned} {after}"
    );
}

#[test]
fn at_least_once_loses_nothing() {
    for seed in 0..seeds() {
        let store = memory_store();
        let checkpoints = CheckpointConfig::new(store.clone())
            .with_interval(Duration::from_millis(3))
            .with_tolerable_failures(None)
            .with_mode(CheckpointMode::AtLeastOnce);
        let config = config(&store).with_checkpoints(checkpoints);
        let (totals, _) = run(
            config,
            2,
            &SimulationOptions::new(seed).with_crash_every(500),
        );
        for (n, seen) in expected() {
            assert!(
                totals.get(&n).is_some_and(|total| *total >= seen),
                "seed {seed}, {n}"
            );
        }
    }
}

#[test]
fn timers_fire_once_whatever_crashes() {
    for seed in 0..seeds() {
        let env = StreamEnvironment::new();
        let results = env
            .source("events", Generator::new(300, |n| ((n / 50) % 3, n * 10)))
            .assign_timestamps(
                |(_, at)| Timestamp::from_millis(*at as i64),
                || BoundedOutOfOrderness::new(Duration::from_millis(20)),
            )
            .key_by(|(key, _)| *key)
            .process("sessions", Sessions::default)
            .parallelism(2)
            .collect("out");
        let options = SimulationOptions::new(seed).with_crash_every(300);
        simulate(&env, config(&memory_store()), &options).unwrap();
        // a result may come again after a crash, but it is the same result
        let mut sessions: Vec<_> = results
            .take_elements()
            .into_iter()
            .map(|element| (element.timestamp, element.value))
            .collect();
        sessions.sort_unstable();
        sessions.dedup();
        // bursts of one key each, so that the others move time past its session
        assert_eq!(sessions.len(), 6, "seed {seed}: {sessions:?}");
        let total: u64 = sessions.iter().map(|(_, (_, n))| n).sum();
        assert_eq!(total, 300, "seed {seed}: {sessions:?}");
    }
}

/// Crashes, slow tasks, storage that fails, other parallelism after each power failure: all in one run,
/// as the seed has it. `SEEDS=10000` runs that many.
#[test]
fn nothing_that_goes_wrong_changes_the_state() {
    let seeds = std::env::var("SEEDS").map_or(60, |n| n.parse().unwrap_or(60));
    let (mut crashes, mut refused, mut rounds) = (0, 0, 0);
    for seed in 0..seeds {
        let blobs = Arc::new(FlakyBlobs::new(seed, 4 + seed % 37));
        let store: Arc<dyn BlobStore> = Arc::clone(&blobs) as _;
        let mut totals = BTreeMap::new();
        for round in 0.. {
            let last = round >= seed % 4;
            // a store that cannot be opened is tried again, as an operator would
            let store = loop {
                if let Ok(store) =
                    CheckpointStore::open(Arc::clone(&store), StoreOptions::default())
                {
                    break store;
                }
            };
            let mut options = SimulationOptions::new(seed * 10 + round);
            if seed % 3 != 0 {
                options = options.with_crash_every(300 + seed % 1_000);
            }
            if !last {
                options = options.with_stop_after(200 + (seed * 31) % 900);
            }
            let parallelism = 1 + ((seed + round) % 4) as usize;
            let config = config_with(&store, BARRIERS[(seed / 4 % 3) as usize]);
            let (part, report) = run_events(150, config, parallelism, &options);
            crashes += report.crashes;
            rounds += 1;
            for (n, seen) in part {
                let total = totals.entry(n).or_insert(0);
                *total = seen.max(*total);
            }
            if last {
                assert_eq!(report.status.state, JobState::Finished, "seed {seed}");
                break;
            }
        }
        refused += blobs.refused();
        assert_eq!(totals, expected_of(150), "seed {seed}");
    }
    assert!(crashes > seeds / 4 && refused > seeds / 4 && rounds > seeds);
}

#[test]
fn one_seed_is_one_run() {
    let options = SimulationOptions::new(42).with_crash_every(300);
    let steps = |_| run(config(&memory_store()), 3, &options).1.steps;
    assert_eq!(steps(0), steps(1));
}
