//! `weir checkpoint` and `weir savepoint`: look at, check, copy and tidy up what a job left behind,
//! in a directory or an object store, without a gateway.

mod compare;
mod data;
mod life;
mod list;
mod place;
mod restorable;

use super::{CliError, CliResult, output::Format};
use checkpoint_store::Error;
use std::path::PathBuf;

/// Inspect, verify, export and tidy up checkpoints, offline
#[derive(Debug, clap::Args)]
pub(crate) struct CheckpointArgs {
    #[command(subcommand)]
    command: CheckpointCommand,
}

#[derive(Debug, clap::Subcommand)]
enum CheckpointCommand {
    /// List the checkpoints of a directory, newest first.
    Ls(At),
    /// Show one: operators, states, sizes, timings, positions.
    Show(ShowArgs),
    /// Read every file and compare it with its checksum.
    Verify(VerifyArgs),
    /// Compare two, entry by entry.
    Diff(DiffArgs),
    /// Print entries of a state.
    Cat(CatArgs),
    /// Write each state as one Parquet file.
    Export(ExportArgs),
    /// Remove superfluous checkpoints and files that none needs.
    Gc(GcArgs),
    /// Shorten chains of deltas, as a new checkpoint; takes the directory over from a running job.
    Compact(At),
    /// Say whether a gateway with this configuration can restore from it.
    Check(CheckArgs),
}

/// Make, list and remove savepoints, offline
#[derive(Debug, clap::Args)]
pub(crate) struct SavepointArgs {
    #[command(subcommand)]
    command: SavepointCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SavepointCommand {
    /// Copy a checkpoint into a directory of its own, complete and movable.
    Create(CreateArgs),
    /// List the savepoints below a directory.
    Ls(At),
    /// Show one.
    Show(ShowArgs),
    /// Read every file and compare it with its checksum.
    Verify(VerifyArgs),
    /// Remove one.
    Dispose(At),
}

/// A directory and how to print.
#[derive(Debug, clap::Args)]
struct At {
    /// The directory: of checkpoints, of a savepoint, or a gateway's data directory; or
    /// s3://bucket/prefix, in a build with the feature `s3`.
    dir: PathBuf,
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
}

/// One checkpoint or savepoint.
#[derive(Debug, clap::Args)]
struct One {
    #[command(flatten)]
    at: At,
    /// The checkpoint; the newest usable one unless given.
    #[arg(long, value_name = "NUMBER")]
    id: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    one: One,
    /// Read the files to count the entries of chains, which the manifest does not know.
    #[arg(long)]
    count: bool,
}

#[derive(Debug, clap::Args)]
struct VerifyArgs {
    #[command(flatten)]
    one: One,
    /// All checkpoints of the directory.
    #[arg(long, conflicts_with = "id")]
    all: bool,
}

#[derive(Debug, clap::Args)]
struct DiffArgs {
    #[command(flatten)]
    at: At,
    /// The earlier one: a number, or another directory.
    before: String,
    /// The later one.
    after: String,
}

#[derive(Debug, clap::Args)]
struct CatArgs {
    #[command(flatten)]
    one: One,
    /// The state.
    state: String,
    /// The operator, where several have a state of that name.
    #[arg(long, value_name = "UID")]
    operator: Option<String>,
    /// Only entries of this key, or of this key within a map.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Most entries to print.
    #[arg(long, default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, clap::Args)]
struct ExportArgs {
    #[command(flatten)]
    one: One,
    /// Where the files go; created if missing.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Values as columns of their type rather than bytes.
    #[arg(long)]
    typed: bool,
    /// Only this state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
}

#[derive(Debug, clap::Args)]
struct GcArgs {
    #[command(flatten)]
    at: At,
    /// Say what would be removed, and remove nothing.
    #[arg(long)]
    dry_run: bool,
    /// Usable checkpoints to keep.
    #[arg(long, default_value_t = 3, value_name = "COUNT")]
    keep: usize,
    /// Also keep all that are younger than this.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_age: Option<std::time::Duration>,
}

#[derive(Debug, clap::Args)]
struct CheckArgs {
    #[command(flatten)]
    one: One,
    /// The gateway's configuration.
    #[arg(long, value_name = "CONFIG")]
    against: PathBuf,
}

#[derive(Debug, clap::Args)]
struct CreateArgs {
    #[command(flatten)]
    one: One,
    /// The savepoint's directory or s3://bucket/prefix; must be empty or missing.
    to: PathBuf,
    /// Add a column with the values as columns of their type.
    #[arg(long)]
    typed: bool,
}

pub(crate) fn run(args: CheckpointArgs) -> CliResult {
    match args.command {
        CheckpointCommand::Ls(args) => list::checkpoints(&args),
        CheckpointCommand::Show(args) => list::show(&args),
        CheckpointCommand::Verify(args) => restorable::verify(&args),
        CheckpointCommand::Diff(args) => compare::diff(&args),
        CheckpointCommand::Cat(args) => data::cat(&args),
        CheckpointCommand::Export(args) => data::export(&args),
        CheckpointCommand::Gc(args) => life::collect(&args),
        CheckpointCommand::Compact(args) => life::compact(&args),
        CheckpointCommand::Check(args) => restorable::check(&args),
    }
}

pub(crate) fn run_savepoint(args: SavepointArgs) -> CliResult {
    match args.command {
        SavepointCommand::Create(args) => life::create_savepoint(&args),
        SavepointCommand::Ls(args) => list::savepoints(&args),
        SavepointCommand::Show(args) => list::show(&args),
        SavepointCommand::Verify(args) => restorable::verify(&args),
        SavepointCommand::Dispose(args) => life::dispose(&args),
    }
}

impl From<Error> for CliError {
    fn from(error: Error) -> Self {
        let mut text = error.to_string();
        let mut below = std::error::Error::source(&error);
        while let Some(source) = below {
            text = format!("{text}: {source}");
            below = source.source();
        }
        match error {
            Error::NotFound { .. } | Error::Missing { .. } => Self::NotFound(text),
            Error::Invalid { .. } => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

/// Bytes for people.
fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            let digits = usize::from(unit != "B");
            return format!("{value:.digits$} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}
