//! The passes over one backend.

use super::{
    checkpoints::{Checkpoints, Stall, millis},
    config::{BackendName, Config},
    histogram::Histogram,
    ids::{Ids, Random},
    payload::{Boxed, Inline, Payload},
    process,
    report::{BackendReport, Checkpoint, Latency, Moment, Pause, Slices},
    subject::{Plain, SCANNED, Stored, Subject, store_options},
};
use state_backend::{PumpStatus, SnapshotKind};
use std::{hint::black_box, path::Path, time::Duration};
use time_engine::{Clock, SystemClock};

/// Operations between two slices of background work, as a shard works through a batch of events.
const BATCH: u64 = 256;

/// What a slice of background work is to stay below.
const A_MILLISECOND: Duration = Duration::from_millis(1);

/// Most that is spent on watching the machine.
const IDLE: Duration = Duration::from_secs(5);

/// What a checkpoint's writer takes however small its buffer is: tables of the compressor, Parquet's own buffers and code.
const WRITER_BYTES: u64 = 8 << 20;

/// Points of the timeline.
const MOMENTS: u64 = 120;

/// Why a run came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("the store failed: {}", chain(.0))]
    State(#[from] state_backend::Error),
    #[error("a checkpoint failed: {}", chain(.0))]
    Checkpoint(#[from] checkpoint_store::Error),
    #[error("cannot use {0}: {1}")]
    Dir(String, std::io::Error),
}

fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}

/// Told of each pass and of the operations done in it.
pub(crate) trait Progress {
    fn pass(&mut self, name: &'static str, ops: u64);
    fn done(&mut self, ops: u64);
}

/// Measures one backend in this process, with its files in `dir`.
pub(crate) fn run(
    config: &Config,
    backend: BackendName,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<BackendReport, Error> {
    match config.value_size {
        8 => run_as::<Inline<8>>(config, backend, dir, progress),
        16 => run_as::<Inline<16>>(config, backend, dir, progress),
        32 => run_as::<Inline<32>>(config, backend, dir, progress),
        64 => run_as::<Inline<64>>(config, backend, dir, progress),
        100 => run_as::<Inline<100>>(config, backend, dir, progress),
        128 => run_as::<Inline<128>>(config, backend, dir, progress),
        256 => run_as::<Inline<256>>(config, backend, dir, progress),
        _ => run_as::<Boxed>(config, backend, dir, progress),
    }
}

fn run_as<P: Payload>(
    config: &Config,
    backend: BackendName,
    dir: &Path,
    progress: &mut dyn Progress,
) -> Result<BackendReport, Error> {
    let made = |dir: &Path| {
        std::fs::create_dir_all(dir).map_err(|e| Error::Dir(dir.display().to_string(), e))
    };
    let (local, chain, second) = (
        dir.join("local"),
        dir.join("checkpoints"),
        dir.join("restored"),
    );
    for dir in [&local, &chain, &second] {
        made(dir)?;
    }
    let size = config.value_size;
    // Drawn before memory is measured: the same for all.
    let ids = Ids::new(config, config.ops, 1);
    let before = process::memory();
    let mut subject: Box<dyn Subject> = match store_options(backend, &local, store_bytes(config)) {
        None => Box::new(Plain::<P>::new(size)),
        Some(options) => Box::new(Stored::<P>::open(options, size)?),
    };
    let mut passes = Passes {
        config,
        subject: &mut *subject,
        clock: SystemClock::new(),
        ids,
        progress,
        chunks: Vec::new(),
        longest_slice: Stall::default(),
        slices: Slices::default(),
        mixed_for: Duration::ZERO,
    };
    let load_per_s = passes.load()?;
    let ops = (config.ops / 4).max(1);
    let read_per_s = passes.each("read", ops, |subject, id| {
        black_box(subject.read(id)?);
        Ok(())
    })?;
    let update_per_s = passes.each("update", ops, |subject, id| subject.update(id))?;
    let batch_update_per_s = passes.batches(ops)?;
    let maps = maps(config);
    let scans = (config.ops / u64::from(SCANNED)).max(1);
    let scan_per_s = passes.each("scan", scans, |subject, id| {
        black_box(subject.scan(id % maps)?);
        Ok(())
    })?;
    let mut checkpoints = match (backend, config.checkpoint_every) {
        (BackendName::HashTable, _) | (_, None) => None,
        (_, Some(every)) => Some((
            Checkpoints::open(&chain, checkpoint_buffer(config.budget_bytes))?,
            every,
        )),
    };
    let mut taken = Vec::new();
    if let Some((checkpoints, _)) = &mut checkpoints {
        // The base. Its size is that of all state: the deltas are what is of interest.
        passes.checkpoint_now(checkpoints)?;
    }
    let (mix_per_s, timeline) = passes.mix(checkpoints.as_mut(), &mut taken)?;
    let latency = passes.latencies(checkpoints.as_mut())?;
    let operation = passes.longest_operation(checkpoints.as_mut())?;
    let after = process::memory();
    let idle = passes.doing_nothing();
    let (slice, slices) = (passes.longest_slice, passes.slices);
    let stats = subject.stats();
    let rows = config.keys + u64::from(SCANNED) * maps;
    let in_memory = subject
        .store()
        .map(|_| (stats.resident_rows as f64 / rows as f64).min(1.0));
    let stats = stats.backend;
    drop(subject);
    let mut restore_s = None;
    if let Some((checkpoints, _)) = &mut checkpoints
        && let Some(manifest) = checkpoints.finish()?
        && let Some(options) = store_options(backend, &second, store_bytes(config))
    {
        progress.pass("restore", 1);
        let mut fresh = Stored::<P>::open(options, size)?;
        let clock = SystemClock::new();
        if let Some(store) = fresh.store() {
            checkpoints.restore(&manifest, store)?;
        }
        restore_s = Some(clock.elapsed().as_secs_f64());
        progress.done(1);
    }
    Ok(BackendReport {
        backend,
        load_per_s,
        read_per_s,
        update_per_s,
        batch_update_per_s,
        scan_per_s,
        mix_per_s,
        latency,
        slice: pause(slice),
        slices,
        idle: pause(idle),
        operation: pause(operation),
        checkpoints: taken,
        restore_s,
        memory_bytes: before.zip(after).map(|(b, a)| a.0.saturating_sub(b.0)),
        peak_memory_bytes: before.zip(after).map(|(b, a)| a.1.saturating_sub(b.0)),
        in_memory,
        disk_bytes: stats.disk_bytes,
        write_amplification: (stats.written_bytes > 0 && stats.accepted_bytes > 0)
            .then(|| stats.written_bytes as f64 / stats.accepted_bytes as f64),
        timeline,
    })
}

/// The rows that a checkpoint collects for a file; encoding takes three times as much. A budget has room
/// for that beside the store.
fn checkpoint_buffer(budget_bytes: u64) -> usize {
    (budget_bytes / 64).clamp(256 << 10, 32 << 20) as usize
}

fn pause(stall: Stall) -> Pause {
    Pause {
        ms: millis(stall.clock),
        thread_ms: stall.thread.map(millis),
    }
}

/// What of the budget is the store's.
fn store_bytes(config: &Config) -> u64 {
    match config.checkpoint_every {
        None => config.budget_bytes,
        Some(_) => {
            let writer = 4 * checkpoint_buffer(config.budget_bytes) as u64 + WRITER_BYTES;
            // A budget is 16 MiB at least.
            config.budget_bytes.saturating_sub(writer)
        }
    }
}

/// One map in a thousand keys.
fn maps(config: &Config) -> u64 {
    (config.keys / 1000).max(1)
}

/// By the clock, and by the processor time of the thread.
type Instant = (Duration, Option<Duration>);

fn between(from: Instant, to: Instant) -> Stall {
    Stall {
        clock: to.0 - from.0,
        thread: to.1.zip(from.1).map(|(to, from)| to.saturating_sub(from)),
    }
}

struct Passes<'a> {
    config: &'a Config,
    subject: &'a mut dyn Subject,
    clock: SystemClock,
    ids: Ids,
    progress: &'a mut dyn Progress,
    chunks: Vec<state_backend::DeltaChunk>,
    longest_slice: Stall,
    slices: Slices,
    /// How long the mix took.
    mixed_for: Duration,
}

impl Passes<'_> {
    fn load(&mut self) -> Result<f64, Error> {
        let (keys, maps) = (self.config.keys, maps(self.config));
        self.progress.pass("load", keys);
        let from = self.clock.elapsed();
        for first in (0..keys).step_by(BATCH as usize) {
            let last = (first + BATCH).min(keys);
            for id in first..last {
                self.subject.put(id)?;
            }
            self.subject.between(&mut self.chunks)?;
            self.progress.done(last - first);
        }
        let per_s = self.rate(keys, from);
        for id in 0..maps {
            self.subject.put_map(id)?;
            self.subject.between(&mut self.chunks)?;
        }
        Ok(per_s)
    }

    fn rate(&self, ops: u64, from: Duration) -> f64 {
        ops as f64 / (self.clock.elapsed() - from).as_secs_f64().max(1e-9)
    }

    /// One kind of operation, without checkpoints.
    fn each(
        &mut self,
        name: &'static str,
        ops: u64,
        work: impl Fn(&mut dyn Subject, u64) -> state_backend::Result<()>,
    ) -> Result<f64, Error> {
        self.progress.pass(name, ops);
        let from = self.clock.elapsed();
        for first in (0..ops).step_by(BATCH as usize) {
            let count = BATCH.min(ops - first);
            for _ in 0..count {
                work(self.subject, self.ids.draw())?;
            }
            self.subject.between(&mut self.chunks)?;
            self.progress.done(count);
        }
        Ok(self.rate(ops, from))
    }

    /// Updates in batches, without checkpoints.
    fn batches(&mut self, ops: u64) -> Result<f64, Error> {
        self.progress.pass("update in batches", ops);
        let mut batch = Vec::with_capacity(BATCH as usize);
        let from = self.clock.elapsed();
        for first in (0..ops).step_by(BATCH as usize) {
            let count = BATCH.min(ops - first);
            batch.clear();
            batch.extend((0..count).map(|_| self.ids.draw()));
            self.subject.update_all(&batch)?;
            self.subject.between(&mut self.chunks)?;
            self.progress.done(count);
        }
        Ok(self.rate(ops, from))
    }

    /// One operation of the mix.
    #[inline]
    fn mixed(&mut self, random: &mut Random, maps: u64) -> Result<(), Error> {
        let id = self.ids.draw();
        let mix = self.config.mix;
        let share = random.below(100) as u8;
        if share < mix.read {
            black_box(self.subject.read(id)?);
        } else if share < mix.read + mix.update {
            self.subject.update(id)?;
        } else {
            black_box(self.subject.scan(id % maps)?);
        }
        Ok(())
    }

    /// The mix with checkpoints; the rate in all and in the course of time.
    fn mix(
        &mut self,
        mut checkpoints: Option<&mut (Checkpoints, Duration)>,
        taken: &mut Vec<Checkpoint>,
    ) -> Result<(f64, Vec<Moment>), Error> {
        let (ops, maps) = (self.config.ops, maps(self.config));
        self.progress.pass("mix", ops);
        let mut random = Random(7);
        let mut timeline = Vec::new();
        let from = self.clock.elapsed();
        let mut due = checkpoints.as_ref().map(|(_, every)| from + *every);
        let (mut marked_at, mut marked_ops) = (from, 0);
        let mut done = 0;
        while done < ops {
            let count = BATCH.min(ops - done);
            for _ in 0..count {
                self.mixed(&mut random, maps)?;
            }
            done += count;
            self.background(checkpoints.as_deref_mut(), &mut due, from, taken)?;
            self.progress.done(count);
            if done - marked_ops >= ops.div_ceil(MOMENTS) || done == ops {
                let now = self.clock.elapsed();
                timeline.push(Moment {
                    at_s: (now - from).as_secs_f64(),
                    ops_per_s: (done - marked_ops) as f64
                        / (now - marked_at).as_secs_f64().max(1e-9),
                });
                (marked_at, marked_ops) = (now, done);
            }
        }
        let per_s = self.rate(ops, from);
        self.mixed_for = self.clock.elapsed() - from;
        if let Some((checkpoints, _)) = checkpoints {
            self.end_checkpoint(checkpoints, from, Some(taken))?;
        }
        Ok((per_s, timeline))
    }

    /// The mix again, a quarter as long, with every operation timed.
    fn latencies(
        &mut self,
        mut checkpoints: Option<&mut (Checkpoints, Duration)>,
    ) -> Result<Latency, Error> {
        let (ops, maps) = ((self.config.ops / 4).max(1), maps(self.config));
        self.progress.pass("latency", ops);
        let mut random = Random(11);
        let mut histogram = Histogram::default();
        let from = self.clock.elapsed();
        let mut due = checkpoints.as_ref().map(|(_, every)| from + *every);
        let mut last = from;
        for done in 1..=ops {
            self.mixed(&mut random, maps)?;
            if done % BATCH == 0 {
                self.background(checkpoints.as_deref_mut(), &mut due, from, &mut Vec::new())?;
                self.progress.done(BATCH);
            }
            let now = self.clock.elapsed();
            histogram.record(now - last);
            last = now;
        }
        if let Some((checkpoints, _)) = checkpoints {
            self.end_checkpoint(checkpoints, from, None)?;
        }
        Ok(Latency {
            p50_us: histogram.quantile_us(0.5),
            p90_us: histogram.quantile_us(0.9),
            p99_us: histogram.quantile_us(0.99),
            p999_us: histogram.quantile_us(0.999),
            p9999_us: histogram.quantile_us(0.9999),
            max_us: histogram.max_us(),
        })
    }

    /// The longest operation of the mix, an eighth as long: the thread's own time costs a call of the system each.
    fn longest_operation(
        &mut self,
        mut checkpoints: Option<&mut (Checkpoints, Duration)>,
    ) -> Result<Stall, Error> {
        let (ops, maps) = ((self.config.ops / 8).max(1), maps(self.config));
        self.progress.pass("longest operation", ops);
        let mut random = Random(13);
        let from = self.clock.elapsed();
        let mut due = checkpoints.as_ref().map(|(_, every)| from + *every);
        let mut longest = Stall::default();
        for done in 1..=ops {
            let began = self.watch();
            self.mixed(&mut random, maps)?;
            longest = longest.max(self.since(began));
            if done % BATCH == 0 {
                self.background(checkpoints.as_deref_mut(), &mut due, from, &mut Vec::new())?;
                self.progress.done(BATCH);
            }
        }
        if let Some((checkpoints, _)) = checkpoints {
            self.end_checkpoint(checkpoints, from, None)?;
        }
        Ok(longest)
    }

    /// What a shard does between two batches: pump, hand chunks on, begin and end checkpoints.
    fn background(
        &mut self,
        checkpoints: Option<&mut (Checkpoints, Duration)>,
        due: &mut Option<Duration>,
        from: Duration,
        taken: &mut Vec<Checkpoint>,
    ) -> Result<(), Error> {
        let Some((checkpoints, every)) = checkpoints else {
            let began = self.watch();
            self.subject.between(&mut self.chunks)?;
            self.count(self.since(began));
            return Ok(());
        };
        let now = self.clock.elapsed();
        if due.is_some_and(|due| now >= due) && !checkpoints.is_running() {
            *due = Some(now + *every);
            self.begin(checkpoints, now - from)?;
        }
        self.slice(checkpoints, from, taken)?;
        Ok(())
    }

    fn begin(&mut self, checkpoints: &mut Checkpoints, now: Duration) -> Result<(), Error> {
        let Some(store) = self.subject.store() else {
            return Ok(());
        };
        let id = checkpoints.begin(store.catalog(), now);
        let began = self.watch();
        self.subject.begin_checkpoint(id, SnapshotKind::Delta)?;
        self.note(checkpoints, began);
        Ok(())
    }

    /// One slice of background work. What the writer does not take yet is not added to.
    fn slice(
        &mut self,
        checkpoints: &mut Checkpoints,
        from: Duration,
        taken: &mut Vec<Checkpoint>,
    ) -> Result<(), Error> {
        let began = self.watch();
        if checkpoints.hand_over() {
            let status = self.subject.between(&mut self.chunks)?;
            checkpoints.add(&mut self.chunks);
            if matches!(status, PumpStatus::SnapshotDone(_)) {
                checkpoints.end();
            }
            checkpoints.hand_over();
        }
        self.note(checkpoints, began);
        let now = self.clock.elapsed();
        if let Some(published) = checkpoints.published() {
            let began = self.watch();
            if let Some(store) = self.subject.store() {
                store.acknowledge(published.id)?;
            }
            self.note(checkpoints, began);
            taken.extend(checkpoints.ended(&published, now - from));
        }
        Ok(())
    }

    /// Counts a slice of background work, and as a stall of the checkpoint under way, if there is one.
    fn note(&mut self, checkpoints: &mut Checkpoints, began: Instant) {
        let stall = self.since(began);
        checkpoints.stalled(stall);
        self.count(stall);
    }

    fn count(&mut self, slice: Stall) {
        self.longest_slice = self.longest_slice.max(slice);
        self.slices.count += 1;
        self.slices.over_1_ms += u64::from(slice.thread.unwrap_or(slice.clock) > A_MILLISECOND);
    }

    /// The longest that the machine holds up a thread which only looks at the clocks, while nothing else is done here:
    /// what of the other figures is not the store's.
    fn doing_nothing(&mut self) -> Stall {
        let until = self.clock.elapsed() + self.mixed_for.min(IDLE);
        self.progress.pass("doing nothing", 1);
        let mut longest = Stall::default();
        let mut before = self.watch();
        while before.0 < until {
            let now = self.watch();
            longest = longest.max(between(before, now));
            before = now;
        }
        self.progress.done(1);
        longest
    }

    fn watch(&self) -> Instant {
        (self.clock.elapsed(), process::thread_time())
    }

    fn since(&self, began: Instant) -> Stall {
        between(began, self.watch())
    }

    fn checkpoint_now(&mut self, checkpoints: &mut Checkpoints) -> Result<(), Error> {
        self.progress.pass("first checkpoint", 1);
        let from = self.clock.elapsed();
        self.begin(checkpoints, Duration::ZERO)?;
        self.end_checkpoint(checkpoints, from, None)?;
        self.progress.done(1);
        Ok(())
    }

    /// Works on until the running checkpoint is published.
    fn end_checkpoint(
        &mut self,
        checkpoints: &mut Checkpoints,
        from: Duration,
        taken: Option<&mut Vec<Checkpoint>>,
    ) -> Result<(), Error> {
        let mut unused = Vec::new();
        let taken = taken.unwrap_or(&mut unused);
        while checkpoints.is_running() {
            self.slice(checkpoints, from, taken)?;
            if checkpoints.has_failed() {
                checkpoints.finish()?;
                break;
            }
            std::thread::yield_now();
        }
        Ok(())
    }
}
