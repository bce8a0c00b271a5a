//! Writes a made-up stream of events for the evaluator: other data than the constants were chosen on.
//!
//! ```text
//! cargo run --release -p recsys --example stream -- baskets 100000 > baskets.csv
//! cargo run --release -p recsys --example evaluate -- --protocol preq-s --data baskets.csv --sources
//! ```

use std::io::{BufWriter, Write};

use clap::Parser;
use recsys::evaluate::Synthetic;

#[derive(Parser)]
struct Args {
    /// ratings, articles, sessions, baskets, repeats, rewired, turning or plain.
    #[arg(default_value = "sessions")]
    kind: Synthetic,
    /// About how many events.
    #[arg(default_value_t = 1_000)]
    events: usize,
    /// Another seed, another stream of the same kind.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let mut out = BufWriter::new(std::io::stdout().lock());
    args.kind.write_csv(args.events, args.seed, &mut out)?;
    Ok(out.flush()?)
}
