//! `weir bench`: the state backends against each other.

use super::{CliError, CliResult, output};
use crate::bench::{
    config::{BackendName, Config, Distribution, Mix, parse_bytes, parse_count},
    page, process,
    report::{BackendReport, Report, megabytes},
    run::{self, Progress},
};
use clap::{Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// Measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Backends(Backends),
    #[command(hide = true)]
    Backend(OneBackend),
}

/// Measure the state backends against each other, and against a plain hash table.
///
/// Each is loaded, read, updated and scanned on its own, then given a mix of these while real
/// checkpoints are taken and published, and restored from the last one. The process of each is its own.
#[derive(Debug, clap::Args)]
struct Backends {
    /// Which ones.
    #[arg(
        long,
        value_name = "LIST",
        value_delimiter = ',',
        default_value = "memory,fs,redb"
    )]
    backends: Vec<BackendName>,
    /// Number of keys, of 16 bytes each.
    #[arg(long, value_name = "N", default_value = "1M", value_parser = parse_count)]
    keys: u64,
    /// Bytes of a value.
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = parse_bytes)]
    value_size: u64,
    /// Which keys are asked for.
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: Distribution,
    /// Operations of the mix; each kind of operation alone gets a quarter of that.
    #[arg(long, value_name = "N", default_value = "5M", value_parser = parse_count)]
    ops: u64,
    /// Shares of the operations in hundredths.
    #[arg(
        long,
        value_name = "SHARES",
        default_value = "read=50,update=50,scan=0"
    )]
    mix: Mix,
    /// Memory for a store on disk: decoded values, index, caches, write buffers. Memory takes what it needs.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = parse_bytes)]
    budget: u64,
    /// Time between two checkpoints in the mix; 0s for none.
    #[arg(long, value_name = "DURATION", default_value = "1s", value_parser = humantime::parse_duration)]
    checkpoint_every: Duration,
    /// How to print the figures.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Write the figures to this file instead.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Directory for the backends' files, instead of one that is removed again.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// A page with plots, in one file.
    Html,
}

/// One backend in this process: prints its figures as JSON.
#[derive(Debug, clap::Args)]
struct OneBackend {
    #[arg(long)]
    name: BackendName,
    #[arg(long)]
    dir: PathBuf,
    #[arg(long)]
    config: String,
}

pub(crate) fn run(args: Args) -> CliResult {
    match args.what {
        What::Backends(args) => backends(&args),
        What::Backend(args) => one_backend(&args),
    }
}

fn backends(args: &Backends) -> CliResult {
    let config = config(args)?;
    // Better now than after minutes of measuring.
    if let Some(file) = &args.out {
        std::fs::File::create(file).map_err(|error| cannot_write(file, &error))?;
    }
    let dir = match &args.dir {
        Some(dir) => WorkDir::kept(dir.clone()),
        None => WorkDir::temporary(),
    };
    let mut reports = Vec::new();
    for backend in &config.backends {
        reports.push(in_process_of_its_own(&config, *backend, dir.path())?);
    }
    let report = Report {
        weir_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: process::machine(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        config,
        backends: reports,
    };
    let text = match args.format {
        Format::Table => table(&report),
        Format::Json => json(&report)?,
        Format::Html => page::page(&report),
    };
    match &args.out {
        None => println!("{}", text.trim_end_matches('\n')),
        Some(file) => std::fs::write(file, text).map_err(|error| cannot_write(file, &error))?,
    }
    Ok(())
}

fn cannot_write(file: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("cannot write {}: {error}", file.display()))
}

fn config(args: &Backends) -> Result<Config, CliError> {
    let usage = |text: &str| Err(CliError::Usage(text.to_owned()));
    if !(1..=u64::from(u32::MAX)).contains(&args.keys) {
        return usage("--keys: 1 to 4 G");
    }
    if !(8..=16 << 20).contains(&args.value_size) {
        return usage("--value-size: 8 bytes to 16 MiB");
    }
    if args.ops == 0 {
        return usage("--ops: at least 1");
    }
    if args.budget < 16 << 20 {
        return usage("--budget: at least 16 MiB");
    }
    // The hash table is always measured, and holds everything, in tables that may be half empty.
    let needed = args.keys.saturating_mul(2 * (args.value_size + 64));
    if let Some(available) = process::available_memory()
        && needed > available
    {
        return usage(&format!(
            "--keys and --value-size: the hash table may take {}, and {} are free",
            megabytes(needed as f64),
            megabytes(available as f64)
        ));
    }
    let mut backends = vec![BackendName::HashTable];
    for backend in &args.backends {
        if !backends.contains(backend) {
            backends.push(*backend);
        }
    }
    Ok(Config {
        backends,
        keys: args.keys,
        value_size: args.value_size as usize,
        distribution: args.distribution,
        ops: args.ops,
        mix: args.mix,
        budget_bytes: args.budget,
        checkpoint_every: (!args.checkpoint_every.is_zero()).then_some(args.checkpoint_every),
    })
}

fn in_process_of_its_own(
    config: &Config,
    backend: BackendName,
    dir: &Path,
) -> Result<BackendReport, CliError> {
    let failed = |what: &str, error: &dyn std::error::Error| {
        CliError::Failed(format!("measuring {backend}: {what}: {error}"))
    };
    let weir = std::env::current_exe().map_err(|e| failed("cannot find this program", &e))?;
    let output = Command::new(weir)
        .args([
            "bench",
            "backend",
            "--name",
            &backend.to_string(),
            "--config",
        ])
        .arg(serde_json::to_string(config).map_err(|e| failed("configuration", &e))?)
        .arg("--dir")
        .arg(dir.join(backend.to_string()))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|e| failed("cannot start its process", &e))?;
    if !output.status.success() {
        return Err(CliError::Failed(format!(
            "measuring {backend}: {}",
            output.status
        )));
    }
    serde_json::from_slice(&output.stdout).map_err(|e| failed("its figures", &e))
}

fn one_backend(args: &OneBackend) -> CliResult {
    let config = serde_json::from_str(&args.config)
        .map_err(|error| CliError::Usage(format!("--config: {error}")))?;
    let mut bar = Bar::new(args.name);
    let report = run::run(&config, args.name, &args.dir, &mut bar)
        .map_err(|error| CliError::Failed(format!("{}: {error}", args.name)))?;
    bar.0.finish_and_clear();
    let text = serde_json::to_string(&report)
        .map_err(|error| CliError::Failed(format!("figures: {error}")))?;
    println!("{text}");
    Ok(())
}

fn json(report: &Report) -> Result<String, CliError> {
    let text = serde_json::to_string_pretty(report)
        .map_err(|error| CliError::Failed(format!("figures: {error}")))?;
    Ok(text + "\n")
}

fn table(report: &Report) -> String {
    let names: Vec<_> = report
        .backends
        .iter()
        .map(|b| b.backend.to_string())
        .collect();
    let header: Vec<_> = std::iter::once("")
        .chain(names.iter().map(String::as_str))
        .collect();
    let mut table = output::table(&header);
    for (name, cells) in page::rows(report) {
        table.add_row(std::iter::once(name.to_owned()).chain(cells));
    }
    format!("{}\n{}\n{table}\n", report.machine, report.command)
}

/// A bar on standard error; none where that is no terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new(backend: BackendName) -> Self {
        let bar = ProgressBar::new(1).with_prefix(format!("{backend:<10}"));
        let style =
            ProgressStyle::with_template("{prefix} {msg:<16} {wide_bar} {percent:>3} % {eta:>4}");
        Self(bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())))
    }
}

impl Progress for Bar {
    fn pass(&mut self, name: &'static str, ops: u64) {
        self.0.reset();
        self.0.set_length(ops);
        self.0.set_message(name);
    }

    fn done(&mut self, ops: u64) {
        self.0.inc(ops);
    }
}

/// Where the backends' files go.
enum WorkDir {
    Kept(PathBuf),
    Temporary(PathBuf),
}

impl WorkDir {
    fn kept(dir: PathBuf) -> Self {
        Self::Kept(dir)
    }

    fn temporary() -> Self {
        let name = format!("weir-bench-{}", std::process::id());
        Self::Temporary(std::env::temp_dir().join(name))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Kept(dir) | Self::Temporary(dir) => dir,
        }
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        if let Self::Temporary(dir) = self {
            // Nothing can be done about it any more, and nothing in it is of use.
            let _ = std::fs::remove_dir_all(dir);
        }
    }
}
