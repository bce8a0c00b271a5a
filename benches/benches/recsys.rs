//! Cost of learning an event and of answering a query, by the number of items and users.
//!
//! `cargo bench -p benches --bench recsys`; `RECSYS_LARGE=1` adds 1 M items and 10 M users, which
//! needs 4.6 GB and some minutes to fill. Memory is printed for each size.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use recsys::model::{Interaction, MemoryRecords, Model, Options};

/// Users with tastes: most of what one touches lies in a part of the catalogue.
struct Stream {
    x: u64,
    users: u64,
    items: u64,
    at_ms: i64,
}

impl Stream {
    fn next(&mut self, below: u64) -> u64 {
        self.x = self
            .x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.x >> 33) % below.max(1)
    }

    fn event(&mut self) -> (String, String, i64) {
        let user = self.next(self.users);
        let part = (self.items / 100).max(20);
        // The smaller of two draws: few items have most of the events.
        let within = self.next(part).min(self.next(part));
        let item = ((user % 100) * part + within) % self.items;
        self.at_ms += 1 + self.next(50) as i64;
        (format!("u{user}"), format!("i{item}"), self.at_ms)
    }
}

fn learn(model: &mut Model, records: &mut MemoryRecords, event: &(String, String, i64)) {
    let (user, item, at_ms) = event;
    let event = Interaction {
        user,
        item,
        weight: 1.0,
        positive: true,
        at_ms: *at_ms,
    };
    model.observe(records, event).expect("memory does not fail");
}

/// A figure of this process in MB, 0 where there is none; Linux only.
fn resident(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut lines = status.lines().filter_map(|line| line.strip_prefix(name));
    let kib = lines.next().and_then(|rest| rest.split_whitespace().next());
    kib.and_then(|kib| kib.parse::<u64>().ok())
        .map_or(0, |kib| kib * 1024 / 1_000_000)
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long something takes, decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

fn sizes(c: &mut Criterion) {
    let mut sizes = vec![(10_000, 100_000, 500_000)];
    if std::env::var_os("RECSYS_LARGE").is_some() {
        sizes.push((1_000_000, 10_000_000, 20_000_000));
    }
    for (items, users, events) in sizes {
        let mut stream = Stream {
            x: 1,
            users,
            items,
            at_ms: 0,
        };
        let begin = now();
        let mut records = MemoryRecords::default();
        let options = Options::default().with_capacity(10_000_000, 1_000_000);
        let mut model = Model::open(&mut records, options).expect("the options are valid");
        for _ in 0..events {
            let event = stream.event();
            learn(&mut model, &mut records, &event);
        }
        let name = format!("{items} items, {users} users");
        let spent = begin.elapsed().as_secs();
        let (rss, peak) = (resident("VmRSS:"), resident("VmHWM:"));
        println!(
            "{name}: {} MB of records, {rss} MB resident, {peak} MB at the peak; filled in {spent} s",
            records.bytes() / 1_000_000,
        );
        let mut group = c.benchmark_group("recsys");
        group.sample_size(20);
        group.bench_function(BenchmarkId::new("update", &name), |b| {
            b.iter_batched(
                || stream.event(),
                |event| learn(&mut model, &mut records, &event),
                criterion::BatchSize::SmallInput,
            );
        });
        group.bench_function(BenchmarkId::new("query", &name), |b| {
            b.iter_batched(
                || stream.event().0,
                |user| black_box(model.recommend(&mut records, &user, 20)).map(|l| l.len()),
                criterion::BatchSize::SmallInput,
            );
        });
        group.finish();
    }
}

criterion_group!(benches, sizes);
criterion_main!(benches);
