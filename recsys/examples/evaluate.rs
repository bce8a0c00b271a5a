//! Replays a file of events through the recommender and prints how well it would have served.
//!
//! ```text
//! cargo run --release -p recsys --example evaluate -- --protocol preq-u --data events.csv.gz
//! ```

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use recsys::evaluate::{Evaluation, Protocol, Slice};

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    PreqU,
    PreqS,
    Static,
    Stream,
}

#[derive(Parser)]
struct Args {
    /// How events are scored and learnt.
    #[arg(long)]
    protocol: Name,
    /// preq-u, preq-s: the events, .csv or .csv.gz.
    #[arg(long)]
    data: Option<PathBuf>,
    /// static, stream: what is learnt.
    #[arg(long)]
    train: Option<PathBuf>,
    /// static, stream: what is predicted.
    #[arg(long)]
    test: Option<PathBuf>,
    /// The share of the stream that is learnt before anything is scored.
    #[arg(long, default_value_t = 0.2)]
    warm: f64,
    /// The event types that are scored; all unless given.
    #[arg(long, value_delimiter = ',')]
    positive: Vec<String>,
    /// static, stream: the shortest prefix scored.
    #[arg(long, default_value_t = 1)]
    min_prefix: usize,
    /// `auto`, or one source alone.
    #[arg(long, default_value = "auto")]
    model: String,
    /// preq-u, preq-s: replays the events from this share of the stream on ...
    #[arg(long, default_value_t = 0.0)]
    from: f64,
    /// ... to this one.
    #[arg(long, default_value_t = 1.0)]
    to: f64,
    /// preq-u, preq-s: the share of users (sessions) that are replayed.
    #[arg(long, default_value_t = 1.0)]
    users: f64,
    /// Another seed, other users.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Items with their categories, .csv or .jsonl.
    #[arg(long)]
    catalogue: Option<PathBuf>,
    /// Scores each source alone as well.
    #[arg(long)]
    sources: bool,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args = Args::parse();
    let data = || args.data.clone().ok_or("--data is missing");
    let pair = || {
        args.train
            .clone()
            .zip(args.test.clone())
            .ok_or("--train or --test is missing")
    };
    let protocol = match args.protocol {
        Name::PreqU => Protocol::PreqU { data: data()? },
        Name::PreqS => Protocol::PreqS { data: data()? },
        Name::Static => pair().map(|(train, test)| Protocol::Static { train, test })?,
        Name::Stream => pair().map(|(train, test)| Protocol::Stream { train, test })?,
    };
    let slice = Slice::default()
        .with_part(args.from, args.to)
        .with_users(args.users, args.seed);
    let mut evaluation = Evaluation::new(protocol)
        .with_model(args.model)
        .with_warm(args.warm)
        .with_positive(args.positive)
        .with_min_prefix(args.min_prefix)
        .with_slice(slice);
    if args.sources {
        evaluation = evaluation.with_sources();
    }
    if let Some(path) = args.catalogue {
        evaluation = evaluation.with_catalogue(path);
    }
    let report = evaluation.run(&mut |done, total| eprint!("\r{done} of {total} events "))?;
    eprintln!();
    println!("{}", serde_json::to_string(&report)?);
    Ok(())
}
