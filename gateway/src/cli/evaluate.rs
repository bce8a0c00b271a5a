//! `weir evaluate`: how well would the recommender have served this file?

use super::{CliError, CliResult, output::Format};
use clap::ValueEnum;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use recsys::evaluate::{Evaluation, Protocol, Report};
use std::path::PathBuf;

/// Replay a file of events through the recommender and say how well it would have served
///
/// The same code that serves learns each event after it was asked what comes next, so what is
/// printed is what users would have seen. docs/recommendation.md has the protocols.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The events: .csv or .csv.gz with a header (user, item, event_type, timestamp_ms, session).
    /// With static and stream: what is predicted.
    file: PathBuf,
    /// How events are scored and learnt.
    #[arg(long, value_enum, default_value = "preq-u")]
    protocol: Name,
    /// static, stream: the file that is learnt first.
    #[arg(long, value_name = "FILE")]
    train: Option<PathBuf>,
    /// The share of the stream that is learnt before anything is scored.
    #[arg(long, default_value_t = 0.2)]
    warm: f64,
    /// The event types that are scored; all unless given.
    #[arg(long, value_delimiter = ',', value_name = "TYPE,..")]
    positive: Vec<String>,
    /// static, stream: the shortest prefix scored.
    #[arg(long, default_value_t = 1)]
    min_prefix: usize,
    /// auto, tutorial, or one source alone.
    #[arg(long, default_value = "auto")]
    model: String,
    /// Items with their categories, .csv or .jsonl.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Score each source alone as well.
    #[arg(long)]
    sources: bool,
    /// How to print.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Name {
    /// Per user: test, then learn; the user's own items are left out.
    PreqU,
    /// Per session: test, then learn; nothing is left out.
    PreqS,
    /// Learn --train, predict FILE.
    Static,
    /// Learn --train, predict FILE and learn it event by event.
    Stream,
}

pub(super) fn run(args: Args) -> CliResult {
    let train = || {
        args.train
            .clone()
            .ok_or_else(|| CliError::Usage("--train is missing".into()))
    };
    let protocol = match args.protocol {
        Name::PreqU => Protocol::PreqU { data: args.file },
        Name::PreqS => Protocol::PreqS { data: args.file },
        Name::Static => Protocol::Static {
            train: train()?,
            test: args.file,
        },
        Name::Stream => Protocol::Stream {
            train: train()?,
            test: args.file,
        },
    };
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos}/{len} events, {eta} left") {
        bar.set_style(style);
    }
    let mut evaluation = Evaluation::new(protocol)
        .with_model(args.model)
        .with_warm(args.warm)
        .with_positive(args.positive)
        .with_min_prefix(args.min_prefix);
    if args.sources {
        evaluation = evaluation.with_sources();
    }
    if let Some(catalogue) = args.catalogue {
        evaluation = evaluation.with_catalogue(catalogue);
    }
    let report = evaluation
        .run(&mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })
        .map_err(|error| explain(&error))?;
    bar.finish_and_clear();
    match args.format {
        Format::Json => println!("{}", serde_json::to_value(&report).unwrap_or_default()),
        Format::Table => println!("{}", table(&report)),
    }
    Ok(())
}

fn explain(error: &recsys::Error) -> CliError {
    let cause = std::error::Error::source(error).map_or(String::new(), |c| format!(": {c}"));
    match error {
        recsys::Error::Invalid { .. } => CliError::Usage(error.to_string()),
        recsys::Error::File { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            CliError::NotFound(format!("{error}{cause}"))
        }
        _ => CliError::Failed(format!("{error}{cause}")),
    }
}

fn table(r: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    for (name, value) in [
        ("protocol, model", format!("{}, {}", r.protocol, r.model)),
        ("events, scored", format!("{}, {}", r.events, r.scored)),
        ("HR@10, HR@20", format!("{:.4}, {:.4}", r.hr10, r.hr20)),
        (
            "MRR@20, NDCG@10",
            format!("{:.4}, {:.4}", r.mrr20, r.ndcg10),
        ),
        ("coverage@20", format!("{:.3}", r.coverage20)),
        ("updates", format!("{:.0} events/s", r.update_events_per_s)),
        (
            "query p50, p99, p99.9",
            format!(
                "{:.0}, {:.0}, {:.0} us",
                r.query_us_p50, r.query_us_p99, r.query_us_p999
            ),
        ),
        (
            "model",
            format!("{:.1} MB", r.model_bytes as f64 / 1_000_000.0),
        ),
    ] {
        table.add_row([name.to_owned(), value]);
    }
    for source in &r.sources {
        let name = format!("{}: HR@10, MRR@20", source.model);
        table.add_row([name, format!("{:.4}, {:.4}", source.hr10, source.mrr20)]);
    }
    table
}
