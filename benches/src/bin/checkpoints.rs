//! How fast checkpoints are written and restored, beside plain Parquet files of the same rows on the same
//! disk, and how much memory that takes.
//!
//! `cargo run --release -p benches --bin checkpoints -- --rows 10000000`

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch, UInt16Array};
use arrow_schema::{DataType, Field, Schema};
use checkpoint_store::{
    CheckpointStore, CompactionPolicy, Error, LocalBlobs, Manifest, ManifestDraft, OperatorUid,
    OperatorUpdate, StoreOptions, WriteKind,
};
use clap::Parser;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism, StateStore, ValueDef};
use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use time_engine::{Clock, SystemClock};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const GROUPS: u16 = 128;
const STATE: ValueDef<Vec<u8>> = ValueDef::new("state");
/// Rows of a batch and a row group of the plain file: as large as a checkpoint's largest.
const BATCH: u64 = 1 << 16;
const KEY: usize = 9;
const VALUE: usize = 101;

/// Writes, reads and restores checkpoints of rows of 9 and 101 bytes, and says how that compares.
#[derive(Debug, Parser)]
struct Arguments {
    /// Rows.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Where the files go; a temporary directory unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Also restore into a state store in memory, which holds all rows.
    #[arg(long)]
    restore: bool,
}

/// A key as a state store writes it (a number and the mark), and a value that is postcard of 100 bytes,
/// of which zstd takes about 60 % off.
fn row(n: u64) -> ([u8; KEY], [u8; VALUE]) {
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&n.to_be_bytes());
    let mut value = [0; VALUE];
    value[0] = 100;
    let mut seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for byte in value.iter_mut().skip(1).step_by(2).take(35) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (seed >> 56) as u8;
    }
    (key, value)
}

/// The rows of a key group, ascending.
fn rows_of(group: u16, rows: u64, step: u64) -> impl Iterator<Item = u64> {
    let start = u64::from(group);
    (start..rows).step_by(usize::from(GROUPS) * step as usize)
}

fn megabytes(rows: u64) -> f64 {
    rows as f64 * (KEY + VALUE) as f64 * 1e-6
}

/// Highest memory use since the last call, in MB; needs Linux.
fn peak_memory() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = peak
        .and_then(|peak| peak.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0.0);
    // Begins the next measurement. Where that is not allowed, peaks are those of the whole run.
    let _ = fs::write("/proc/self/clear_refs", "5");
    kib * 1024e-6
}

/// When the state is registered that is restored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    RegisterFirst,
    /// As a job does, whose operators find their state when they are opened.
    RestoreFirst,
}

impl Order {
    fn name(self) -> &'static str {
        match self {
            Self::RegisterFirst => "restore into a registered state",
            Self::RestoreFirst => "restore as the state is registered",
        }
    }
}

struct Stopwatch(SystemClock);

impl Stopwatch {
    fn time<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, f64, f64)> {
        let _ = peak_memory();
        let start = self.0.elapsed();
        let done = work()?;
        let took = (self.0.elapsed() - start).as_secs_f64();
        Ok((done, took, peak_memory()))
    }
}

fn write_plain(path: &Path, rows: u64) -> Result<u64> {
    let schema = Arc::new(Schema::new(vec![
        Field::new("key_group", DataType::UInt16, false),
        Field::new("key", DataType::Binary, false),
        Field::new("value", DataType::Binary, true),
    ]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_dictionary_enabled(false)
        .set_max_row_group_row_count(Some(BATCH as usize))
        .build();
    let file = File::create(path)?;
    let mut writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))?;
    let mut all = (0..GROUPS).flat_map(|group| rows_of(group, rows, 1).map(move |n| (group, n)));
    loop {
        let batch: Vec<(u16, _)> = all
            .by_ref()
            .take(BATCH as usize)
            .map(|(group, n)| (group, row(n)))
            .collect();
        if batch.is_empty() {
            break;
        }
        let columns: Vec<ArrayRef> = vec![
            Arc::new(UInt16Array::from_iter_values(batch.iter().map(|row| row.0))),
            Arc::new(BinaryArray::from_iter_values(
                batch.iter().map(|row| row.1.0),
            )),
            Arc::new(BinaryArray::from_iter_values(
                batch.iter().map(|row| row.1.1),
            )),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.into_inner()?.sync_all()?;
    Ok(fs::metadata(path)?.len())
}

/// Visits every row, as a restore has to.
fn read_plain(path: &Path) -> Result<usize> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mut sum = 0;
    for batch in reader.with_batch_size(BATCH as usize).build()? {
        let batch = batch?;
        let keys = batch.column(1).as_binary::<i32>();
        let values = batch.column(2).as_binary::<i32>();
        for at in 0..keys.len() {
            sum += keys.value(at).len() + values.value(at).len();
        }
    }
    Ok(sum)
}

/// The least that any restore does: each row goes into a hash table, which has room for all.
fn fill_plain(path: &Path, rows: u64) -> Result<HashMap<[u8; KEY], Vec<u8>>> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
    let mut table = HashMap::with_capacity(rows as usize);
    for batch in reader.with_batch_size(BATCH as usize).build()? {
        let batch = batch?;
        let keys = batch.column(1).as_binary::<i32>();
        let values = batch.column(2).as_binary::<i32>();
        for at in 0..keys.len() {
            table.insert(keys.value(at).try_into()?, values.value(at).to_vec());
        }
    }
    Ok(table)
}

struct Bench {
    store: CheckpointStore,
    operator: OperatorUid,
    all: KeyGroupRange,
    rows: u64,
}

impl Bench {
    /// A checkpoint of every `step`th row; its manifest.
    fn write(&self, previous: Option<&Manifest>, kind: WriteKind, step: u64) -> Result<Manifest> {
        let id = self.store.latest()?.next_id;
        let mut writer = self
            .store
            .shard_writer(id, &self.operator, 0, self.all, kind)?;
        for group in 0..GROUPS {
            for n in rows_of(group, self.rows, step) {
                let (key, value) = row(n);
                writer.put("state", KeyGroup::new(group), &key, Some(&value))?;
            }
        }
        let update = OperatorUpdate::new(self.operator.clone(), 1, GROUPS);
        let mut catalog = StateStore::open(state_backend::StoreOptions::new())?;
        catalog.value(&STATE)?;
        let update = update.with_catalog(catalog.catalog());
        let draft = ManifestDraft::new(id, 0, previous);
        let draft = draft.with_operator(update.with_shard(writer.finish()?));
        Ok(Arc::unwrap_or_clone(
            self.store.commit(draft.build())?.manifest,
        ))
    }

    fn read(&self, manifest: &Manifest, groups: KeyGroupRange) -> Result<usize> {
        let mut sum = 0_usize;
        let visit = |_, key: &[u8], value: &[u8]| {
            sum += key.len() + value.len();
            Ok::<_, Error>(())
        };
        self.store
            .for_each_row(manifest, &self.operator, "state", groups, visit)?;
        Ok(sum)
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let rows = arguments.rows;
    let scratch = match &arguments.dir {
        Some(dir) => tempfile::tempdir_in(dir)?,
        None => tempfile::tempdir()?,
    };
    let clock = Stopwatch(SystemClock::new());
    let raw = megabytes(rows);
    println!("{rows} rows, {raw:.0} MB of keys and values");
    println!("| what | s | MB/s | of plain Parquet | of a hash table filled | peak memory, MB |");
    println!("| --- | --- | --- | --- | --- | --- |");
    let line_of = |what: &str, took: f64, bytes: f64, peers: [Option<f64>; 2], memory: f64| {
        let speed = bytes / took;
        let ratio =
            |peer: Option<f64>| peer.map_or_else(String::new, |p| format!("{:.2}", speed / p));
        let [plain, filled] = peers.map(ratio);
        println!("| {what} | {took:.2} | {speed:.0} | {plain} | {filled} | {memory:.0} |");
        speed
    };
    let line = |what: &str, took: f64, bytes: f64, plain: Option<f64>, memory: f64| {
        line_of(what, took, bytes, [plain, None], memory)
    };

    let path = scratch.path().join("plain.parquet");
    let (plain_bytes, took, memory) = clock.time(|| write_plain(&path, rows))?;
    let plain_write = line("plain Parquet, write and sync", took, raw, None, memory);
    let (sum, took, memory) = clock.time(|| read_plain(&path))?;
    let plain_read = line("plain Parquet, read every row", took, raw, None, memory);

    let blobs = Arc::new(LocalBlobs::open(scratch.path().join("checkpoints"))?);
    let bench = Bench {
        store: CheckpointStore::open(blobs, StoreOptions::default())?,
        operator: OperatorUid::new("rows")?,
        all: KeyGroupRange::all(MaxParallelism::new(GROUPS)?),
        rows,
    };
    let full = || bench.write(None, WriteKind::Full, 1);
    let (base, took, memory) = clock.time(full)?;
    line("checkpoint, full", took, raw, Some(plain_write), memory);
    let delta = || bench.write(Some(&base), WriteKind::Delta, 100);
    let (chain, took, memory) = clock.time(delta)?;
    let changed = (0..GROUPS).map(|group| rows_of(group, rows, 100).count() as u64);
    let changed = megabytes(changed.sum());
    line("checkpoint, 1 % changed", took, changed, None, memory);
    let (read, took, memory) = clock.time(|| bench.read(&base, bench.all))?;
    line(
        "read every row, base alone",
        took,
        raw,
        Some(plain_read),
        memory,
    );
    let (chained, took, memory) = clock.time(|| bench.read(&chain, bench.all))?;
    line(
        "read every row, base and delta",
        took,
        raw,
        Some(plain_read),
        memory,
    );
    let one = KeyGroupRange::new(KeyGroup::new(64), KeyGroup::new(64))?;
    let (_, took, memory) = clock.time(|| bench.read(&chain, one))?;
    let part = raw / f64::from(GROUPS);
    line("read one of 128 key groups", took, part, None, memory);
    let compact = || Ok(bench.store.compact(&chain, &CompactionPolicy::EVERYTHING)?);
    let (_, took, memory) = clock.time(compact)?;
    line("compact base and delta", took, raw, None, memory);
    if arguments.restore {
        let (table, took, memory) = clock.time(|| fill_plain(&path, rows))?;
        assert_eq!(table.len() as u64, rows);
        drop(table);
        let what = "plain Parquet, each row into a hash table";
        let plain_fill = Some(line(what, took, raw, Some(plain_read), memory));
        for order in [Order::RegisterFirst, Order::RestoreFirst] {
            let mut store = StateStore::open(state_backend::StoreOptions::new())?;
            let restore = || {
                let (checkpoints, operator) = (&bench.store, &bench.operator);
                if order == Order::RegisterFirst {
                    store.value(&STATE)?;
                    return Ok(checkpoints.restore(&chain, operator, &mut store, &mut |_| {})?);
                }
                let source = checkpoints.restore_lazily(&chain, operator, &mut store)?;
                store.value(&STATE)?;
                store.finish_restore()?;
                Ok(source.ok_or("no such operator")?.outcome()?)
            };
            let (restored, took, memory) = clock.time(restore)?;
            let peers = [Some(plain_read), plain_fill];
            line_of(order.name(), took, raw, peers, memory);
            assert_eq!(restored.rows, rows);
            assert_eq!(store.stats().resident_rows, rows);
        }
    }
    assert!(sum == read && read == chained, "the files differ");
    let bytes = base.stats.bytes_total as f64 * 1e-6;
    println!(
        "size: {bytes:.1} MB, {:.3} of raw, {:.3} of the plain file",
        bytes / raw,
        bytes * 1e6 / plain_bytes as f64
    );
    Ok(())
}
