//! Windows and timers: elements and operations per second, and bytes.
//!
//! `cargo bench -p benches --bench time [-- FILTER]`. Shared slices run beside window-by-window
//! evaluation (Flink's own way) over the same stream in the same run. The bytes come first, from the
//! growth of the resident set, so they hold for Linux and are rounded by the allocator.

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use std::{fs, hint::black_box, time::Duration};
use time_engine::{
    Clock, SystemClock, TimeDomain, Timer, TimerService, Timestamp, Watermark,
    window::{Firing, KeyedWindows, PlainWindows, SharedWindows, Stats, WindowEngine, WindowSpec},
};

const START_MS: i64 = 1_700_000_000_000;
const KEYS: u64 = 100;

/// The output function of splitmix64.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[derive(Clone, Copy)]
enum Arrival {
    InOrder,
    /// One event in five is up to five seconds late, still ahead of the watermark.
    OutOfOrder,
}

impl Arrival {
    const ALL: [(Self, &'static str); 2] = [
        (Self::InOrder, "in order"),
        (Self::OutOfOrder, "20 % out of order"),
    ];
}

/// One event a millisecond; a watermark every 200 events, 10 s behind.
fn drive<W: KeyedWindows<Aggregate = Stats>>(
    mut engine: WindowEngine<u64, W>,
    events: u64,
    arrival: Arrival,
) -> u64 {
    let mut results = 0;
    for n in 0..events {
        let draw = mix(n);
        let late = match arrival {
            Arrival::OutOfOrder if (draw >> 8).is_multiple_of(5) => (draw >> 16) % 5_000,
            _ => 0,
        };
        let now = START_MS + n.cast_signed();
        let at = Timestamp::from_millis(now - late.cast_signed());
        engine
            .on_element(&(draw % KEYS), at, &3, |_| results += 1)
            .expect("every event has a timestamp");
        if n % 200 == 199 {
            engine.on_watermark(Watermark::from_millis(now - 10_001), |_| results += 1);
        }
    }
    engine.on_watermark(Watermark::MAX, |_| results += 1);
    results
}

fn plain(spec: WindowSpec<Stats>) -> WindowEngine<u64, PlainWindows<Stats>> {
    WindowEngine::new(PlainWindows::new(Stats, spec).expect("a specification that can be"))
}

fn shared(specs: Vec<WindowSpec<Stats>>) -> WindowEngine<u64, SharedWindows<Stats>> {
    let windows = SharedWindows::new(Stats, specs).expect("specifications that can be");
    WindowEngine::new(windows)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn compare(
    criterion: &mut Criterion,
    name: &str,
    events: u64,
    specs: impl Fn() -> Vec<WindowSpec<Stats>>,
) {
    for (arrival, how) in Arrival::ALL {
        let mut group = criterion.benchmark_group(format!("{name}, {how}"));
        group.throughput(Throughput::Elements(events));
        group.bench_function("shared", |bench| {
            bench.iter_batched(
                || shared(specs()),
                |engine| drive(engine, black_box(events), arrival),
                BatchSize::PerIteration,
            );
        });
        group.bench_function("shared, key by key", |bench| {
            let engine = || {
                let windows =
                    SharedWindows::new(Stats, specs()).expect("specifications that can be");
                WindowEngine::new(windows.with_firing(Firing::KeyByKey))
            };
            bench.iter_batched(
                engine,
                |engine| drive(engine, black_box(events), arrival),
                BatchSize::PerIteration,
            );
        });
        // Flink runs one operator for each window.
        group.bench_function("window by window", |bench| {
            bench.iter_batched(
                || specs().into_iter().map(plain).collect::<Vec<_>>(),
                |engines| {
                    let run = |engine| drive(engine, black_box(events), arrival);
                    engines.into_iter().map(run).sum::<u64>()
                },
                BatchSize::PerIteration,
            );
        });
        group.finish();
    }
}

fn windows(criterion: &mut Criterion) {
    for (overlap, events) in [(1, 100_000), (10, 100_000), (100, 20_000), (1_000, 5_000)] {
        compare(
            criterion,
            &format!("sliding, {overlap} windows an element"),
            events,
            || vec![WindowSpec::sliding(seconds(overlap), seconds(1))],
        );
    }
    compare(criterion, "session, gap 1 s", 100_000, || {
        vec![WindowSpec::session(seconds(1))]
    });
    compare(
        criterion,
        "1 min + 5 min + 1 min every 30 s",
        200_000,
        || {
            vec![
                WindowSpec::tumbling(seconds(60)),
                WindowSpec::tumbling(seconds(300)),
                WindowSpec::sliding(seconds(60), seconds(30)),
            ]
        },
    );
}

/// Instants around which timers are spread.
const SPAN_MS: u64 = 1_800_000;

fn timer(n: u64) -> Timer<u64> {
    let at = START_MS + (mix(n) % SPAN_MS).cast_signed();
    Timer::new(Timestamp::from_millis(at), n)
}

/// `n` pending timers, spread at random over half an hour.
fn pending(n: u64) -> TimerService<u64> {
    let mut timers = TimerService::new();
    timers.extend((0..n).map(|i| (TimeDomain::Event, timer(i))));
    timers
}

fn timers(criterion: &mut Criterion) {
    const BATCH: u64 = 1_000;
    let clock = SystemClock::new();
    let event = TimeDomain::Event;
    for n in [1_000_u64, 1_000_000, 10_000_000] {
        let mut group = criterion.benchmark_group(format!("timers, {n} pending"));
        group.throughput(Throughput::Elements(BATCH));
        let mut service = pending(n);
        let mut next = n;
        // Each leaves as many timers as it found; only its own operation is timed.
        group.bench_function(BenchmarkId::from_parameter("register"), |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let batch: Vec<_> = (next..next + BATCH).map(timer).collect();
                    next += BATCH;
                    let begin = clock.elapsed();
                    for timer in &batch {
                        black_box(service.register(event, timer.clone()));
                    }
                    spent += clock.elapsed() - begin;
                    for timer in &batch {
                        service.delete(event, timer);
                    }
                }
                spent
            });
        });
        group.bench_function(BenchmarkId::from_parameter("delete"), |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let batch: Vec<_> = (next..next + BATCH).map(timer).collect();
                    next += BATCH;
                    for timer in &batch {
                        service.register(event, timer.clone());
                    }
                    let begin = clock.elapsed();
                    for timer in &batch {
                        black_box(service.delete(event, timer));
                    }
                    spent += clock.elapsed() - begin;
                }
                spent
            });
        });
        group.bench_function(BenchmarkId::from_parameter("fire"), |bench| {
            bench.iter_custom(|rounds| {
                let mut spent = Duration::ZERO;
                for _ in 0..rounds {
                    let mut fired = Vec::with_capacity(BATCH as usize);
                    let begin = clock.elapsed();
                    for _ in 0..BATCH {
                        fired.extend(service.pop_due(event, Timestamp::MAX));
                    }
                    spent += clock.elapsed() - begin;
                    for timer in fired {
                        service.register(event, timer);
                    }
                }
                spent
            });
        });
        group.finish();
    }
}

/// Resident bytes, where the system tells.
fn resident() -> Option<u64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * 4_096)
}

/// Prints what one of `count` things takes, and keeps them: memory given back would be taken again by
/// the next without a trace.
fn bytes_each<T>(what: &str, count: u64, make: impl FnOnce() -> T) -> T {
    let before = resident();
    let kept = make();
    if let (Some(before), Some(after)) = (before, resident()) {
        println!("bytes a {what}: {}", after.saturating_sub(before) / count);
    }
    kept
}

fn memory() {
    const COUNT: u64 = 1_000_000;
    let filled = |spec: WindowSpec<Stats>, keys: u64, apart_ms: u64| {
        let mut engine = shared(vec![spec]);
        for n in 0..COUNT {
            let at = Timestamp::from_millis(START_MS + (n / keys * apart_ms).cast_signed());
            engine
                .on_element(&(n % keys), at, &3, |_| {})
                .expect("every event has a timestamp");
        }
        engine
    };
    let kept = (
        bytes_each("key with one slice of Stats", COUNT, || {
            filled(WindowSpec::tumbling(seconds(60)), COUNT, 0)
        }),
        bytes_each("key with one session of Stats", COUNT, || {
            filled(WindowSpec::session(seconds(60)), COUNT, 0)
        }),
        bytes_each("slice of Stats, 600 to a key", COUNT, || {
            let keys = COUNT / 600;
            filled(WindowSpec::sliding(seconds(600), seconds(1)), keys, 1_000)
        }),
        bytes_each("timer with a key of 8 bytes", COUNT, || pending(COUNT)),
        bytes_each("window of Stats, window by window", 600_000, || {
            let mut engine = plain(WindowSpec::sliding(seconds(600), seconds(1)));
            for key in 0..1_000 {
                engine
                    .on_element(&key, Timestamp::from_millis(START_MS), &3, |_| {})
                    .expect("every event has a timestamp");
            }
            engine
        }),
    );
    drop(black_box(kept));
}

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    memory();
    windows(&mut criterion);
    timers(&mut criterion);
    criterion.final_summary();
}
