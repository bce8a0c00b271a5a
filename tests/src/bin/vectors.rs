//! Replays recorded Flink cases: `vectors FILE...`.
//!
//! Prints one line for each failure (id, step, expected, got) and `N passed, N failed` alone on the
//! last line; exits 1 on any failure, 2 when a file cannot be read.

use clap::Parser;
use std::{fs, path::PathBuf, process::ExitCode};
use tests::vectors::{Outcome, check};

#[derive(Debug, Parser)]
#[command(about = "Replays recorded Flink behaviour")]
struct Args {
    /// Files of cases, one JSON object a line.
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let (mut passed, mut failed, mut skipped) = (0_u64, 0_u64, 0_u64);
    for file in &args.files {
        let text = match fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{}: {error}", file.display());
                return ExitCode::from(2);
            }
        };
        for (number, line) in text
            .lines()
            .enumerate()
            .filter(|(_, l)| !l.trim().is_empty())
        {
            let parsed: Result<serde_json::Value, _> = serde_json::from_str(line);
            let case = match parsed {
                Ok(case) => case,
                Err(error) => {
                    println!(
                        "{}:{} step -1: not JSON: {error}",
                        file.display(),
                        number + 1
                    );
                    failed += 1;
                    continue;
                }
            };
            let id = case["id"].as_str().unwrap_or("(no id)").to_owned();
            match check(&case) {
                Ok(Outcome::Skipped(why)) => {
                    eprintln!("{id} skipped: {why}");
                    skipped += 1;
                }
                Ok(Outcome::Compared(differences)) if differences.is_empty() => passed += 1,
                Ok(Outcome::Compared(differences)) => {
                    failed += 1;
                    println!("{id} {}", differences[0]);
                }
                Err(error) => {
                    failed += 1;
                    println!("{id} step -1: {error}");
                }
            }
        }
    }
    if skipped > 0 {
        eprintln!("{skipped} skipped");
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
