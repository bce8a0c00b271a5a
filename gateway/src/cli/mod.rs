//! The command line: one file a command.
//!
//! Exit codes are stable: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 timed out.

/// In place of the standard library's, which panics when the reader of a pipe has gone, as `head` does.
macro_rules! println {
    () => { $crate::cli::output::line(format_args!("")) };
    ($($text:tt)*) => { $crate::cli::output::line(format_args!($($text)*)) };
}

mod bench;
mod checkpoint;
mod demo;
mod evaluate;
mod experiments;
mod explain;
mod export;
mod output;
mod profile;
mod recommend;
mod replay;
mod rules;
mod serve;
mod subscribe;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// How a command ends other than well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    /// It was tried and did not work.
    #[error("{0}")]
    Failed(String),
    /// The arguments or the configuration make no sense.
    #[error("{0}")]
    Usage(String),
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Nobody answered in time.
    #[error("{0}")]
    TimedOut(String),
}

impl CliError {
    fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::TimedOut(_) => 4,
        })
    }
}

/// The result of a command.
pub(crate) type CliResult = Result<(), CliError>;

#[derive(Debug, Parser)]
#[command(
    name = "weir",
    version,
    about = "Behaviour events in over gRPC, live recommendations out",
    after_help = "Try it: weir demo"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Args),
    Demo(demo::Args),
    Replay(replay::Args),
    Subscribe(subscribe::Args),
    Recommend(recommend::Args),
    Profile(profile::Args),
    Explain(explain::Args),
    Export(export::Args),
    Rules(rules::Args),
    Experiments(experiments::Args),
    Evaluate(evaluate::Args),
    Bench(bench::Args),
    Checkpoint(checkpoint::CheckpointArgs),
    Savepoint(checkpoint::SavepointArgs),
}

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Demo(args) => demo::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Subscribe(args) => subscribe::run(args),
        Command::Recommend(args) => recommend::run(args),
        Command::Profile(args) => profile::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Export(args) => export::run(args),
        Command::Rules(args) => rules::run(args),
        Command::Experiments(args) => experiments::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Checkpoint(args) => checkpoint::run(args),
        Command::Savepoint(args) => checkpoint::run_savepoint(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {error}");
            error.code()
        }
    }
}
