//! Kills the real `weir` again and again under a stream of events: `crash --kills N --seed S --backend B`.
//!
//! Prints one JSON line; exits 1 unless nothing was lost or duplicated and the state is that of a run
//! without a kill.

use clap::Parser;
use gateway::Backend;
use std::process::ExitCode;
use tests::campaign::{Campaign, run};

#[derive(Debug, Parser)]
#[command(about = "Kills weir under load and compares with a run without a kill")]
struct Args {
    /// How often to kill it.
    #[arg(long, default_value_t = 20)]
    kills: u64,
    /// Decides the events and the moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where working state lives.
    #[arg(long, value_enum, default_value_t = Backend::Redb)]
    backend: Backend,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("crash: {error}");
            return ExitCode::FAILURE;
        }
    };
    let campaign = Campaign::new(args.kills, args.seed, args.backend);
    match runtime.block_on(run(&campaign)) {
        Ok(report) => {
            match serde_json::to_string(&report) {
                Ok(line) => println!("{line}"),
                Err(error) => eprintln!("crash: {error}"),
            }
            if report.passed() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("crash: {error}");
            ExitCode::FAILURE
        }
    }
}
