//! State beyond its memory: read-modify-write on Weir's disk backends and on RocksDB, with the same keys and the same memory.

use clap::{Parser, ValueEnum};
use rocksdb::{DB, WriteOptions};
use rocksdb_comparison::{Filter, options, without_log};
use state_backend::{
    BackendConfig, PumpBudget, StateStore, StateValue, StoreOptions, ValueDef, ValueState,
    disk::DiskOptions,
};
use std::{
    collections::BTreeMap,
    error::Error,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

/// Read-modify-write of values of 100 bytes under keys of 16, beyond the memory given: Weir's store over redb and
/// over fs, and RocksDB with Flink's options, each in a process of its own. Prints a Markdown table.
#[derive(Debug, Parser)]
struct Args {
    /// Engines, in turns.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "redb,fs,rocksdb,rocksdb-bloom"
    )]
    engines: Vec<Engine>,
    /// How keys are drawn, one table each.
    #[arg(long, value_delimiter = ',', default_value = "zipf,uniform")]
    distributions: Vec<Distribution>,
    /// Keys.
    #[arg(long, default_value_t = 3_000_000)]
    keys: u64,
    /// Memory for state: Weir's budget, RocksDB's cache and write buffers.
    #[arg(long, default_value_t = 128)]
    memory_mib: u64,
    /// Seconds before anything is counted, after loading.
    #[arg(long, default_value_t = 5)]
    warmup_seconds: u64,
    /// Seconds that are counted.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Rounds over all engines; the table has medians.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Runs this one engine here and prints its figures; what the program starts itself with.
    #[arg(long, hide = true)]
    here: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
enum Engine {
    Redb,
    Fs,
    Rocksdb,
    RocksdbBloom,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Distribution {
    Zipf,
    Uniform,
}

fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or_else(String::new, |value| value.get_name().to_owned())
}

/// What one run reached.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    loaded_per_s: f64,
    ops_per_s: f64,
    rss_mib: f64,
    disk_mib: f64,
}

impl Figures {
    fn print(&self) {
        let Self {
            loaded_per_s,
            ops_per_s,
            rss_mib,
            disk_mib,
        } = self;
        println!("{loaded_per_s} {ops_per_s} {rss_mib} {disk_mib}");
    }

    fn parse(line: &str) -> Option<Self> {
        let mut figures = line.split_whitespace().map(str::parse);
        let mut next = || figures.next()?.ok();
        Some(Self {
            loaded_per_s: next()?,
            ops_per_s: next()?,
            rss_mib: next()?,
            disk_mib: next()?,
        })
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    if args.here {
        return run_here(&args);
    }
    for &distribution in &args.distributions {
        let mut runs: BTreeMap<Engine, Vec<Figures>> = BTreeMap::new();
        for _ in 0..args.rounds.max(1) {
            for &engine in &args.engines {
                eprintln!("{} on {}", name(distribution), name(engine));
                let figures = run_apart(&args, engine, distribution)?;
                runs.entry(engine).or_default().push(figures);
            }
        }
        print_table(&args, distribution, &runs);
    }
    Ok(())
}

/// In a process of its own, so that memory is the engine's; with the allocator set up as `weir`
/// sets up its own.
fn run_apart(
    args: &Args,
    engine: Engine,
    distribution: Distribution,
) -> Result<Figures, Box<dyn Error>> {
    let run = Command::new(std::env::current_exe()?)
        .args(["--here", "--engines", &name(engine)])
        .args(["--distributions", &name(distribution)])
        .args(["--keys", &args.keys.to_string()])
        .args(["--memory-mib", &args.memory_mib.to_string()])
        .args(["--warmup-seconds", &args.warmup_seconds.to_string()])
        .args(["--seconds", &args.seconds.to_string()])
        .env("MALLOC_ARENA_MAX", "2")
        .env("MALLOC_MMAP_THRESHOLD_", (512 << 10).to_string())
        .env("MALLOC_TRIM_THRESHOLD_", (2 << 20).to_string())
        .output()?;
    if !run.status.success() {
        let reason = String::from_utf8_lossy(&run.stderr);
        return Err(format!("{}: {reason}", name(engine)).into());
    }
    let line = String::from_utf8(run.stdout)?;
    Figures::parse(&line).ok_or_else(|| format!("{}: no figures in {line:?}", name(engine)).into())
}

fn print_table(args: &Args, distribution: Distribution, runs: &BTreeMap<Engine, Vec<Figures>>) {
    let median = |engine: Engine, of: fn(&Figures) -> f64| {
        let mut values: Vec<f64> = runs.get(&engine)?.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let peer = median(Engine::Rocksdb, |run| run.ops_per_s);
    println!(
        "\n{} keys, {}, {} MiB of memory\n",
        args.keys,
        name(distribution),
        args.memory_mib
    );
    println!("| | loaded, rows/s | ops/s | of RocksDB | resident, MiB | on disk, MiB |");
    println!("| --- | ---: | ---: | ---: | ---: | ---: |");
    for &engine in runs.keys() {
        let of = |figure| median(engine, figure).unwrap_or_default();
        let ops = of(|run| run.ops_per_s);
        let ratio = peer.map_or_else(|| "-".to_owned(), |peer| format!("{:.2}", ops / peer));
        println!(
            "| {} | {:.0} | {ops:.0} | {ratio} | {:.0} | {:.0} |",
            name(engine),
            of(|run| run.loaded_per_s),
            of(|run| run.rss_mib),
            of(|run| run.disk_mib),
        );
    }
}

fn run_here(args: &Args) -> Result<(), Box<dyn Error>> {
    let (Some(&engine), Some(&distribution)) = (args.engines.first(), args.distributions.first())
    else {
        return Err("an engine and a distribution are needed".into());
    };
    let dir = tempfile::tempdir()?;
    let memory = args.memory_mib << 20;
    let mut subject: Box<dyn Subject> = match engine {
        Engine::Redb | Engine::Fs => Box::new(Stored::open(engine, dir.path(), memory)?),
        Engine::Rocksdb => Box::new(Alone::open(dir.path(), memory, Filter::None)?),
        Engine::RocksdbBloom => Box::new(Alone::open(dir.path(), memory, Filter::Bloom)?),
    };
    let started = Instant::now();
    // In an order that says nothing of the keys' own.
    for id in 0..args.keys {
        subject.count(key(id))?;
    }
    let loaded = started.elapsed();
    let draws = Draws::new(distribution, args.keys);
    let mut drawn = 0;
    run_for(&mut *subject, &draws, &mut drawn, args.warmup_seconds)?;
    let (ops, seconds) = run_for(&mut *subject, &draws, &mut drawn, args.seconds.max(1))?;
    let figures = Figures {
        loaded_per_s: args.keys as f64 / loaded.as_secs_f64(),
        ops_per_s: ops as f64 / seconds,
        rss_mib: resident_mib().unwrap_or_default(),
        disk_mib: disk_bytes(dir.path())? as f64 / f64::from(1 << 20),
    };
    figures.print();
    Ok(())
}

fn run_for(
    subject: &mut dyn Subject,
    draws: &Draws,
    drawn: &mut u64,
    seconds: u64,
) -> Result<(u64, f64), Box<dyn Error>> {
    let (started, first) = (Instant::now(), *drawn);
    while started.elapsed() < Duration::from_secs(seconds) {
        for _ in 0..256 {
            subject.count(key(draws.draw(*drawn)))?;
            *drawn += 1;
        }
    }
    Ok((*drawn - first, started.elapsed().as_secs_f64()))
}

type Key = (u64, u64);

fn mix64(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

fn key(id: u64) -> Key {
    (mix64(id), id)
}

/// Draws ids.
enum Draws {
    Uniform(u64),
    /// Running sums of the weights 1/rank.
    Zipf(Vec<f64>),
}

impl Draws {
    fn new(distribution: Distribution, keys: u64) -> Self {
        match distribution {
            Distribution::Uniform => Self::Uniform(keys.max(1)),
            Distribution::Zipf => {
                let sums = (1..=keys.max(1)).scan(0.0, |sum, rank| {
                    *sum += 1.0 / rank as f64;
                    Some(*sum)
                });
                Self::Zipf(sums.collect())
            }
        }
    }

    fn draw(&self, n: u64) -> u64 {
        let random = mix64(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5745_4952);
        match self {
            Self::Uniform(keys) => random % keys,
            Self::Zipf(sums) => {
                let at = (random >> 11) as f64 / (1_u64 << 53) as f64;
                let total = sums.last().copied().unwrap_or(1.0);
                let rank = sums.partition_point(|sum| *sum <= at * total);
                rank.min(sums.len() - 1) as u64
            }
        }
    }
}

trait Subject {
    /// Adds one to the counter at the head of the key's value, which is made if it is not there.
    fn count(&mut self, key: Key) -> Result<(), Box<dyn Error>>;
}

const VALUE: usize = 100;

/// A counter, then bytes that compress about as badly as real ones: half random, half the same.
struct Row([u8; VALUE]);

impl Row {
    fn of(key: Key) -> Self {
        let mut row = [7; VALUE];
        row[..8].fill(0);
        for (at, bytes) in row[8..VALUE / 2].chunks_mut(8).enumerate() {
            let random = mix64(key.0 ^ at as u64).to_le_bytes();
            bytes.copy_from_slice(&random[..bytes.len()]);
        }
        Self(row)
    }

    fn count(&mut self) {
        if let Some(counter) = self.0.first_chunk_mut() {
            *counter = u64::from_le_bytes(*counter).wrapping_add(1).to_le_bytes();
        }
    }
}

impl StateValue for Row {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        let row = bytes.try_into();
        row.map(Self)
            .map_err(|_| format!("{} bytes, not {VALUE}", bytes.len()))
    }

    fn heap_bytes(&self) -> usize {
        0
    }
}

/// Weir's store, driven as the runtime drives it.
struct Stored {
    store: StateStore,
    values: ValueState<Row>,
    chunks: Vec<state_backend::DeltaChunk>,
    since_pump: u32,
}

const VALUES: ValueDef<Row> = ValueDef::new("values");

impl Stored {
    fn open(engine: Engine, dir: &Path, memory: u64) -> Result<Self, Box<dyn Error>> {
        let (dir, options) = (dir.to_path_buf(), DiskOptions::default());
        let backend = if engine == Engine::Fs {
            BackendConfig::Fs { dir, options }
        } else {
            BackendConfig::Redb { dir, options }
        };
        let options = StoreOptions::default()
            .with_backend(backend)
            .with_memory_budget_bytes(memory);
        let mut store = StateStore::open(options)?;
        let values = store.value(&VALUES)?;
        Ok(Self {
            store,
            values,
            chunks: Vec::new(),
            since_pump: 0,
        })
    }
}

impl Subject for Stored {
    fn count(&mut self, key: Key) -> Result<(), Box<dyn Error>> {
        let mut scope = self.store.scope(&key);
        self.values
            .update_or_insert_with(&mut scope, || Row::of(key), Row::count)?;
        self.since_pump += 1;
        if self.since_pump == 256 {
            self.since_pump = 0;
            self.store.pump(PumpBudget::default(), &mut self.chunks)?;
        }
        Ok(())
    }
}

/// RocksDB, each operation a read and a write.
struct Alone(DB, WriteOptions);

impl Alone {
    fn open(dir: &Path, memory: u64, filter: Filter) -> Result<Self, Box<dyn Error>> {
        Ok(Self(
            DB::open(&options(memory, filter), dir)?,
            without_log(),
        ))
    }
}

impl Subject for Alone {
    fn count(&mut self, key: Key) -> Result<(), Box<dyn Error>> {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&key.0.to_be_bytes());
        name[8..].copy_from_slice(&key.1.to_be_bytes());
        let mut row = match self.0.get_pinned(name)? {
            Some(old) => Row::decode(&old)?,
            None => Row::of(key),
        };
        row.count();
        self.0.put_opt(name, row.0, &self.1)?;
        Ok(())
    }
}

fn resident_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    let kib: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib / 1024.0)
}

fn disk_bytes(dir: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        bytes += if found.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            found.len()
        };
    }
    Ok(bytes)
}
