//! Runs one workload on Weir's public API and prints one line of JSON.

use benches::events::{Event, value_key};
use benches::jobs::{
    CoCounts, CoMessage, Counter, CountingSink, Histories, Profiler, TimedProfiler, Totals,
};
use benches::pace::PacedEvents;
use checkpoint_store::{CheckpointStore, LocalBlobs, StoreOptions};
use clap::{Parser, ValueEnum};
use operators::checkpoint::CheckpointState;
use operators::{
    BufferTimeout, CheckpointConfig, Element, ExchangeOptions, Generator, JobConfig, JobState,
    JobStatus, RestartStrategy, RestoreFrom, RestoreSource, Result, RunningJob, StopMode,
    StreamEnvironment,
};
use serde::Serialize;
use state_backend::BackendConfig;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use time_engine::watermark::BoundedOutOfOrderness;
use time_engine::window::{Firing, SharedWindows, Stats, WindowSpec};
use time_engine::{Clock, SystemClock, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[value(rename_all = "snake_case")]
#[serde(rename_all = "snake_case")]
enum Workload {
    Profiler,
    Multiwindow,
    SlidingHeavy,
    Session,
    Itemcf,
    Valuestate,
    Latency,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Backend {
    Memory,
    Fs,
    Redb,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Run,
    Restore,
}

/// Runs one workload on Weir and prints its figures as one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "workload")]
struct Options {
    /// Which work.
    name: Workload,
    /// Where state lives.
    #[arg(long, default_value = "memory")]
    backend: Backend,
    /// Subtasks of the source and of each operator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    parallelism: u64,
    /// Exactly-once checkpoints, this often.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_ms: Option<u64>,
    /// Ends after so many events.
    #[arg(long, conflicts_with = "seconds")]
    events: Option<u64>,
    /// Ends after so many seconds, not counting the warm-up.
    #[arg(long)]
    seconds: Option<f64>,
    /// Seconds before counting begins.
    #[arg(long, default_value_t = 0.0)]
    warmup_seconds: f64,
    /// Keys of valuestate.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// Events a second of latency.
    #[arg(long, default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Adds up the checksum of all results.
    #[arg(long)]
    checksum: bool,
    /// Runs the work, or measures how long a restart from its state takes (valuestate).
    #[arg(long, default_value = "run")]
    mode: Mode,
    /// Memory for state, in MiB for each subtask.
    #[arg(long)]
    memory_mb: Option<u64>,
    /// Milliseconds before a batch that is not full is sent; 0 for at once.
    #[arg(long)]
    buffer_timeout_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
struct Report {
    workload: Workload,
    backend: Backend,
    parallelism: u64,
    checkpoint_ms: Option<u64>,
    events: u64,
    seconds: f64,
    events_per_s: f64,
    outputs: u64,
    checksum: Option<u64>,
    pair_updates: Option<u64>,
    peak_rss_mb: Option<f64>,
    cpu_cores: Option<f64>,
    ckpt_count: Option<u64>,
    ckpt_avg_ms: Option<f64>,
    ckpt_max_ms: Option<f64>,
    ckpt_max_stall_ms: Option<f64>,
    ckpt_full_mb: Option<f64>,
    ckpt_new_mb: Option<f64>,
    latency_p50_us: Option<u64>,
    latency_p99_us: Option<u64>,
    latency_p999_us: Option<u64>,
    savepoint_s: Option<f64>,
    restore_s: Option<f64>,
    restore_local_s: Option<f64>,
}

/// What a job counts for itself.
#[derive(Debug, Clone, Default)]
struct Counts {
    totals: Arc<Totals>,
    pairs: Arc<AtomicU64>,
    messages: Arc<AtomicU64>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options) {
        Ok(report) => match serde_json::to_string(&report) {
            Ok(line) => {
                println!("{line}");
                ExitCode::SUCCESS
            }
            Err(error) => fail(&error.to_string()),
        },
        Err(error) => fail(&error.chain()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("workload: {message}");
    ExitCode::FAILURE
}

fn run(options: &Options) -> Result<Report> {
    let place = tempfile::tempdir().map_err(operators::Error::user)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    if options.mode == Mode::Restore {
        return restore(options, place.path(), &clock);
    }
    let counts = Counts::default();
    let env = StreamEnvironment::new();
    describe(&env, options, &counts, &clock, limit(options));
    let store = match options.checkpoint_ms {
        Some(_) => Some(open_store(place.path())?),
        None => None,
    };
    let started = clock.elapsed();
    let cpu = cpu_seconds();
    let job = env.execute(config(options, place.path(), store.as_ref()))?;
    let (events, seconds) = match options.events {
        Some(_) => {
            job.wait()?;
            (
                events_in(&job.status()),
                (clock.elapsed() - started).as_secs_f64(),
            )
        }
        None => measure(&job, options, &clock)?,
    };
    let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    let status = job.status();
    if options.events.is_none() {
        job.cancel();
        job.wait()?;
    }
    let whole = (clock.elapsed() - started).as_secs_f64();
    let mut report = report(options, &status, &counts, events, seconds);
    report.cpu_cores = cpu.map(|cpu| cpu / whole);
    Ok(report)
}

/// Events until the end, when there is one.
fn limit(options: &Options) -> u64 {
    options.events.unwrap_or(u64::MAX)
}

fn seconds(options: &Options) -> Duration {
    Duration::from_secs_f64(options.seconds.unwrap_or(10.0).clamp(0.0, 1e6))
}

/// Lets the job run for the warm-up and the measured time.
fn measure(job: &RunningJob, options: &Options, clock: &Arc<dyn Clock>) -> Result<(u64, f64)> {
    sleep(
        job,
        Duration::from_secs_f64(options.warmup_seconds.clamp(0.0, 1e6)),
        clock,
    )?;
    let (from, events) = (clock.elapsed(), events_in(&job.status()));
    sleep(job, seconds(options), clock)?;
    let (to, all) = (clock.elapsed(), events_in(&job.status()));
    Ok((all - events, (to - from).as_secs_f64()))
}

/// Waits, but not for a job that has failed.
fn sleep(job: &RunningJob, time: Duration, clock: &Arc<dyn Clock>) -> Result<()> {
    let end = clock.elapsed() + time;
    loop {
        let now = clock.elapsed();
        if now >= end {
            return Ok(());
        }
        if job.status().state.is_terminal() {
            job.wait()?;
            return Ok(());
        }
        std::thread::park_timeout((end - now).min(Duration::from_millis(100)));
    }
}

/// Events that the keyed operator has taken in.
fn events_in(status: &JobStatus) -> u64 {
    const FIRST_KEYED: [&str; 4] = ["profiler", "windows", "histories", "counter"];
    let keyed = status
        .subtasks
        .iter()
        .filter(|s| FIRST_KEYED.contains(&s.task.as_str()));
    keyed.map(|subtask| subtask.records_in).sum()
}

fn open_store(place: &Path) -> Result<CheckpointStore> {
    let blobs = LocalBlobs::open(place.join("checkpoints"))?;
    Ok(CheckpointStore::open(
        Arc::new(blobs),
        StoreOptions::default(),
    )?)
}

fn config(options: &Options, place: &Path, store: Option<&CheckpointStore>) -> JobConfig {
    let backend = match options.backend {
        Backend::Memory => BackendConfig::Memory,
        Backend::Fs => BackendConfig::fs(place.join("state")),
        Backend::Redb => BackendConfig::redb(place.join("state")),
    };
    let parallelism = usize::try_from(options.parallelism).unwrap_or(1);
    let mut config = JobConfig::default()
        .with_name("workload")
        .with_parallelism(parallelism)
        .with_backend(backend)
        .with_restart(RestartStrategy::None);
    if options.name == Workload::Latency {
        config = config.low_latency();
    }
    if let Some(ms) = options.buffer_timeout_ms {
        let timeout = match ms {
            0 => BufferTimeout::AtOnce,
            ms => BufferTimeout::After(Duration::from_millis(ms)),
        };
        config = config.with_exchange(ExchangeOptions::default().with_buffer_timeout(timeout));
    }
    if let Some(mb) = options.memory_mb {
        config = config.with_memory_budget_bytes(mb << 20);
    }
    if let Some(store) = store {
        let checkpoints = CheckpointConfig::new(store.clone());
        config = config.with_checkpoints(match options.checkpoint_ms {
            Some(ms) => checkpoints.with_interval(Duration::from_millis(ms)),
            None => checkpoints.without_interval(),
        });
    }
    config
}

/// Writes the job of a workload down.
fn describe(
    env: &StreamEnvironment,
    options: &Options,
    counts: &Counts,
    clock: &Arc<dyn Clock>,
    events: u64,
) {
    let (totals, with_checksum) = (Arc::clone(&counts.totals), options.checksum);
    let sink = move || CountingSink::new(&totals, with_checksum);
    match options.name {
        Workload::Profiler => env
            .source("events", Generator::new(events, Event::nth))
            .key_by_ref(|event| &event.user)
            .process("profiler", Profiler::default)
            .sink("sink", sink),
        Workload::Multiwindow | Workload::SlidingHeavy => {
            let heavy = options.name == Workload::SlidingHeavy;
            let stream = env
                .source("events", Generator::new(events, Event::nth))
                .assign_timestamps(|event| Timestamp::from_millis(event.timestamp), bounded)
                .map(|event| (event.item, event.kind.value()))
                .key_by_ref(|(item, _)| item);
            let windows = move || {
                SharedWindows::new(Stats, specs(heavy))
                    .map(|windows| windows.with_firing(Firing::KeyByKey))
            };
            stream
                .window_of("windows", |(_, value)| *value, windows)
                .sink("sink", sink);
        }
        Workload::Session => env
            .source("events", Generator::new(events, Event::nth))
            .assign_timestamps(|event| Timestamp::from_millis(event.timestamp), bounded)
            .map(|event| (event.user, event.kind.value()))
            .key_by_ref(|(user, _)| user)
            .window_of(
                "windows",
                |(_, value)| *value,
                || {
                    let gap = Duration::from_secs(30 * 60);
                    SharedWindows::new(Stats, vec![WindowSpec::session(gap)])
                },
            )
            .sink("sink", sink),
        Workload::Itemcf => {
            let (messages, pairs) = (Arc::clone(&counts.messages), Arc::clone(&counts.pairs));
            env.source("events", Generator::new(events, Event::nth))
                .key_by_ref(|event| &event.user)
                .process("histories", move || Histories::new(Arc::clone(&messages)))
                .key_by_ref(CoMessage::item)
                .process("co-counts", move || CoCounts::new(Arc::clone(&pairs)))
                .sink("sink", sink);
        }
        Workload::Valuestate => {
            let keys = options.keys;
            env.source(
                "events",
                Generator::new(events, move |n| value_key(n, keys)),
            )
            .key_by(|key| *key)
            .process("counter", Counter::default)
            .sink("sink", sink);
        }
        Workload::Latency => latency(env, options, counts, clock, events),
    }
}

fn bounded() -> BoundedOutOfOrderness {
    BoundedOutOfOrderness::new(Duration::from_secs(10))
}

fn specs(heavy: bool) -> Vec<WindowSpec<Stats>> {
    let second = Duration::from_secs(1);
    if heavy {
        vec![WindowSpec::sliding(600 * second, second)]
    } else {
        vec![
            WindowSpec::tumbling(60 * second),
            WindowSpec::tumbling(300 * second),
            WindowSpec::sliding(60 * second, 30 * second),
        ]
    }
}

/// Latencies above this many microseconds count as this many.
const MAX_LATENCY_US: usize = 1_000_000;

fn latency(
    env: &StreamEnvironment,
    options: &Options,
    counts: &Counts,
    clock: &Arc<dyn Clock>,
    count: u64,
) {
    let rate = options.rate;
    let source = PacedEvents {
        rate,
        count,
        clock: Arc::clone(clock),
    };
    let warm_up = Duration::from_secs_f64(options.warmup_seconds.clamp(0.0, 1e6));
    let (totals, now) = (Arc::clone(&counts.totals), Arc::clone(clock));
    let from = clock.elapsed() + warm_up;
    env.source("events", source)
        .key_by_ref(|(event, _)| &event.user)
        .process("profiler", TimedProfiler::default)
        .sink("sink", move || {
            let (totals, now) = (Arc::clone(&totals), Arc::clone(&now));
            move |element: Element<(_, _, u64)>| {
                let arrived = now.elapsed();
                let scheduled = Duration::from_nanos(element.value.2);
                totals.outputs.fetch_add(1, Ordering::Relaxed);
                if scheduled >= from {
                    let us = arrived.saturating_sub(scheduled).as_micros();
                    let us = usize::try_from(us)
                        .unwrap_or(MAX_LATENCY_US)
                        .min(MAX_LATENCY_US);
                    let lock = totals.latencies.lock();
                    let mut latencies = lock.unwrap_or_else(PoisonError::into_inner);
                    if latencies.is_empty() {
                        latencies.resize(MAX_LATENCY_US + 1, 0);
                    }
                    latencies[us] += 1;
                }
                Ok(())
            }
        });
}

fn percentile(latencies: &[u64], share: f64) -> Option<u64> {
    let all: u64 = latencies.iter().sum();
    let wanted = (all as f64 * share).ceil() as u64;
    let mut seen = 0;
    latencies
        .iter()
        .position(|count| {
            seen += count;
            seen >= wanted
        })
        .filter(|_| all > 0)
        .map(|us| us as u64)
}

fn report(
    options: &Options,
    status: &JobStatus,
    counts: &Counts,
    events: u64,
    seconds: f64,
) -> Report {
    let checkpoints: Vec<_> = status
        .checkpoints
        .recent
        .iter()
        .filter(|record| matches!(record.state, CheckpointState::Completed { .. }))
        .collect();
    let n = checkpoints.len() as f64;
    let mean = |total: f64| (n > 0.0).then_some(total / n);
    let max_ms = checkpoints.iter().map(|record| record.duration_ms).max();
    let sync_us = checkpoints
        .iter()
        .flat_map(|r| &r.shards)
        .map(|s| s.times.sync_us)
        .max();
    let slice_us = status
        .subtasks
        .iter()
        .map(|subtask| subtask.max_slice_us)
        .max();
    let stall = sync_us.map(|sync| sync.max(slice_us.unwrap_or(0)) as f64 / 1e3);
    let mb = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let latencies = counts
        .totals
        .latencies
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let checkpointed = options.checkpoint_ms.is_some();
    Report {
        workload: options.name,
        backend: options.backend,
        parallelism: options.parallelism,
        checkpoint_ms: options.checkpoint_ms,
        events,
        seconds,
        events_per_s: events as f64 / seconds.max(1e-9),
        outputs: counts.totals.outputs.load(Ordering::Relaxed),
        checksum: options
            .checksum
            .then(|| counts.totals.checksum.load(Ordering::Relaxed)),
        pair_updates: (options.name == Workload::Itemcf)
            .then(|| counts.pairs.load(Ordering::Relaxed)),
        peak_rss_mb: peak_rss_mb(),
        cpu_cores: None,
        ckpt_count: checkpointed.then_some(status.checkpoints.completed),
        ckpt_avg_ms: mean(checkpoints.iter().map(|r| r.duration_ms as f64).sum()),
        ckpt_max_ms: max_ms.map(|ms| ms as f64),
        ckpt_max_stall_ms: stall,
        ckpt_full_mb: checkpoints.last().map(|record| mb(record.bytes_total)),
        ckpt_new_mb: mean(checkpoints.iter().map(|r| mb(r.bytes_written)).sum()),
        latency_p50_us: percentile(&latencies, 0.5),
        latency_p99_us: percentile(&latencies, 0.99),
        latency_p999_us: percentile(&latencies, 0.999),
        savepoint_s: None,
        restore_s: None,
        restore_local_s: None,
    }
}

/// Fills the state and saves it, then starts again: from the files that the stop left, and from the savepoint.
fn restore(options: &Options, place: &Path, clock: &Arc<dyn Clock>) -> Result<Report> {
    let store = open_store(place)?;
    let counts = Counts::default();
    let env = StreamEnvironment::new();
    describe(&env, options, &counts, clock, u64::MAX);
    let started = clock.elapsed();
    let job = env.execute(config(options, place, Some(&store)))?;
    while events_in(&job.status()) < options.keys {
        sleep(&job, Duration::from_millis(20), clock)?;
        if job.status().state.is_terminal() {
            break;
        }
    }
    let filled = (clock.elapsed() - started).as_secs_f64();
    let before = clock.elapsed();
    let savepoint = job.trigger_savepoint("savepoint").wait()?;
    let savepoint_s = (clock.elapsed() - before).as_secs_f64();
    let status = job.status();
    let stopped = job.stop_with_savepoint(StopMode::Suspend, "last").wait()?;
    job.wait()?;

    let again = |location: &str| restart(options, place, clock, &store, location);
    let (local_s, source) = again(&stopped.location)?;
    let (restore_s, _) = again(&savepoint.location)?;
    let mut report = report(options, &status, &counts, events_in(&status), filled);
    report.savepoint_s = Some(savepoint_s);
    report.restore_s = Some(restore_s);
    report.restore_local_s = (source == Some(RestoreSource::Local)).then_some(local_s);
    Ok(report)
}

/// Starts the job from a savepoint: the time until all tasks run, and where their state came from.
fn restart(
    options: &Options,
    place: &Path,
    clock: &Arc<dyn Clock>,
    store: &CheckpointStore,
    location: &str,
) -> Result<(f64, Option<RestoreSource>)> {
    let env = StreamEnvironment::new();
    describe(&env, options, &Counts::default(), clock, u64::MAX);
    let checkpoints = CheckpointConfig::new(store.clone())
        .without_interval()
        .with_restore(RestoreFrom::Location(location.to_owned()));
    let before = clock.elapsed();
    let job = env.execute(config(options, place, None).with_checkpoints(checkpoints))?;
    while job.status().state == JobState::Initializing {
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let seconds = (clock.elapsed() - before).as_secs_f64();
    let status = job.status();
    if status.state.is_terminal() {
        job.wait()?;
    }
    for restore in &status.restored {
        eprintln!("{restore}");
    }
    job.cancel();
    job.wait()?;
    let source = status.restored.first().map(|restore| restore.source);
    Ok((seconds, source))
}

/// Most memory this process has had, by Linux's account.
fn peak_rss_mb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kb: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kb / 1024.0)
}

/// Processor time this process has used, by Linux's account (ticks of 10 ms).
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |n: usize| fields.get(n)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / 100.0)
}
