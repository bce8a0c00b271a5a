//! `weir replay`: a file of events into a running gateway.

use super::{
    CliError, CliResult,
    output::{block_on, thousands},
};
use crate::{
    client::{Producer, ProducerOptions},
    error::{Error, Result},
    event_file::{BadLine, EventFile, FileEvent},
    proto::v1::UserEvent,
};
use indicatif::{ProgressBar, ProgressStyle};
use std::{
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};
use tokio::{sync::mpsc, time::Instant};

/// Send a file of events to a running gateway
///
/// CSV needs a header with user, item, event_type and timestamp_ms (session is optional); JSONL has
/// one object of the tutorial a line; both may be gzipped. Sending stops and goes on where it was: the
/// gateway remembers how far this file came, and sends nothing twice.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The file: .csv, .csv.gz, .jsonl or .jsonl.gz.
    file: PathBuf,
    /// Address of the gateway.
    #[arg(
        long,
        value_name = "URL",
        env = "WEIR_ADDRESS",
        default_value = "http://127.0.0.1:7400"
    )]
    to: String,
    /// How fast: "10x" is ten times as fast as it happened, "max" as fast as possible.
    #[arg(long, default_value = "max")]
    speed: Speed,
    /// Send as this producer. By default the file's content is the name, so a second run goes on
    /// behind the first; another name sends the file again.
    #[arg(long, value_name = "ID")]
    producer: Option<String>,
    /// Events a batch.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5_000))]
    batch: u32,
    /// How long to try to reach the gateway, also when it goes away in between.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Fail when a line is malformed or an event is refused; by default they are counted.
    #[arg(long)]
    strict: bool,
    /// No progress, no summary.
    #[arg(long, short)]
    quiet: bool,
}

/// How fast a file is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Speed {
    Max,
    Times(f64),
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if text == "max" {
            return Ok(Self::Max);
        }
        text.trim_end_matches('x')
            .parse()
            .ok()
            .filter(|times: &f64| times.is_finite() && *times > 0.0)
            .map(Self::Times)
            .ok_or_else(|| format!("{text:?}: use a factor such as 10x, or max"))
    }
}

/// What the reading thread hands over.
struct Batch {
    events: Vec<UserEvent>,
    bad: Vec<BadLine>,
    consumed: u64,
}

pub(crate) fn run(args: Args) -> CliResult {
    super::output::log_to_stderr("warn");
    block_on(replay(args))
}

async fn replay(args: Args) -> CliResult {
    let file = EventFile::open(&args.file)?;
    let id = match &args.producer {
        Some(id) => id.clone(),
        None => name_of(&args.file)?,
    };
    let options = ProducerOptions::new(id).with_reconnect_for(args.timeout);
    let mut producer = Producer::connect(&args.to, options).await?;
    let skip = producer.stats().acknowledged;
    let bar = progress_bar(&args, file.length());
    if skip > 0 {
        bar.println(format!("going on behind event {}", thousands(skip)));
    }
    let (batches, mut incoming) = mpsc::channel(4);
    let batch = args.batch as usize;
    let reading = tokio::task::spawn_blocking(move || read(file, skip, batch, &batches));
    let started = Instant::now();
    let mut pace = Pace {
        speed: args.speed,
        origin: None,
    };
    let mut sent = 0_u64;
    let mut malformed = 0_u64;
    while let Some(batch) = incoming.recv().await {
        for bad in batch.bad {
            malformed += 1;
            if malformed <= 5 {
                // Not by the bar, which says nothing where there is no terminal.
                bar.suspend(|| eprintln!("line {}: {}", bad.line, bad.problem));
            }
        }
        sent += batch.events.len() as u64;
        pace.send(&mut producer, batch.events).await?;
        bar.set_position(batch.consumed);
        bar.set_message(format!("{} events", thousands(skip + sent)));
    }
    reading
        .await
        .map_err(|_| CliError::Failed("reading the file panicked".to_owned()))??;
    let stats = producer.close().await?;
    bar.finish_and_clear();
    let seconds = started.elapsed().as_secs_f64().max(1e-9);
    if !args.quiet {
        println!(
            "{} events acknowledged in {seconds:.2} s ({}/s); {} sent by an earlier run, {} refused, \
             {} malformed lines, {} reconnects",
            thousands(sent),
            thousands((sent as f64 / seconds) as u64),
            thousands(skip),
            thousands(stats.rejected),
            thousands(malformed),
            stats.reconnects,
        );
        for rejection in stats.rejections.iter().take(5) {
            let problems: Vec<String> = rejection
                .violations
                .iter()
                .map(|v| format!("{}: {}", v.field, v.description))
                .collect();
            eprintln!(
                "refused event {}: {}",
                rejection.sequence,
                problems.join("; ")
            );
        }
    }
    if args.strict && malformed + stats.rejected > 0 {
        return Err(CliError::Failed(format!(
            "{malformed} malformed lines, {} refused events",
            stats.rejected
        )));
    }
    Ok(())
}

/// Reads on a thread of its own, so that unpacking and sending overlap.
fn read(
    mut file: EventFile,
    mut skip: u64,
    batch: usize,
    batches: &mpsc::Sender<Batch>,
) -> Result<()> {
    let mut events = Vec::with_capacity(batch);
    let mut bad = Vec::new();
    loop {
        let next = file.read()?;
        let end = next.is_none();
        match next {
            Some(FileEvent::Event(_)) if skip > 0 => skip -= 1,
            Some(FileEvent::Event(event)) => events.push(event),
            // Reported by the run that came by it first.
            Some(FileEvent::Bad(line)) if skip == 0 => bad.push(line),
            Some(FileEvent::Bad(_)) | None => {}
        }
        if events.len() >= batch || bad.len() >= batch || end {
            let next = Batch {
                events: std::mem::replace(&mut events, Vec::with_capacity(batch)),
                bad: std::mem::take(&mut bad),
                consumed: file.consumed(),
            };
            if batches.blocking_send(next).is_err() || end {
                return Ok(());
            }
        }
    }
}

/// Sends events when it is their time.
struct Pace {
    speed: Speed,
    /// When the first event went out, and its timestamp.
    origin: Option<(Instant, i64)>,
}

impl Pace {
    async fn send(&mut self, producer: &mut Producer, events: Vec<UserEvent>) -> Result<()> {
        let Speed::Times(times) = self.speed else {
            return producer.send(events).await;
        };
        let mut due = Vec::new();
        for event in events {
            let (start, first) = *self
                .origin
                .get_or_insert_with(|| (Instant::now(), event.timestamp_ms));
            let offset = event.timestamp_ms.saturating_sub(first).max(0) as f64 / times;
            // Beyond a year nobody waits, and Instant would overflow.
            let at = start + Duration::from_millis(offset.min(3.2e10) as u64);
            if at > Instant::now() {
                producer.send(std::mem::take(&mut due)).await?;
                tokio::time::sleep_until(at).await;
            }
            due.push(event);
        }
        producer.send(due).await
    }
}

fn progress_bar(args: &Args, length: u64) -> ProgressBar {
    if args.quiet {
        return ProgressBar::hidden();
    }
    // Draws on stderr, and only where that is a terminal.
    let bar = ProgressBar::new(length);
    if let Ok(style) = ProgressStyle::with_template(
        "{bar:30} {percent:>3}% {msg}, {bytes_per_sec} of the file, {eta} left",
    ) {
        bar.set_style(style);
    }
    bar
}

/// A name made of the content: its length and a checksum of all of it, so that a corrected file is another one.
fn name_of(path: &Path) -> Result<String> {
    let mut file = std::fs::File::open(path).map_err(Error::io("open", path))?;
    let mut checksum = crc32fast::Hasher::new();
    let mut part = vec![0; 1 << 20];
    let mut length = 0_u64;
    loop {
        match file.read(&mut part).map_err(Error::io("read", path))? {
            0 => break,
            read => {
                checksum.update(&part[..read]);
                length += read as u64;
            }
        }
    }
    Ok(format!("replay-{length}-{:08x}", checksum.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert_eq!("0.5".parse(), Ok(Speed::Times(0.5)));
        for nonsense in ["", "x", "-1x", "0x", "nan", "infx"] {
            assert!(nonsense.parse::<Speed>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn a_file_is_named_after_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        std::fs::write(&a, "same").unwrap();
        std::fs::write(&b, "same").unwrap();
        assert_eq!(name_of(&a).unwrap(), name_of(&b).unwrap());
        std::fs::write(&b, "other").unwrap();
        assert_ne!(name_of(&a).unwrap(), name_of(&b).unwrap());
    }
}
