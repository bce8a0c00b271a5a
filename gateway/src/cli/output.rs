//! What commands share: how they reach a gateway and how they print.

use super::CliError;
use crate::proto::v1::{Recommendation, UserProfile};
use clap::ValueEnum;
use comfy_table::{Table, presets::UTF8_HORIZONTAL_ONLY};
use serde_json::{Value, json};
use std::{
    fmt,
    future::Future,
    io::{ErrorKind, Write},
    time::Duration,
};
use tonic::{
    Code, Status,
    transport::{Channel, Endpoint},
};
use tonic_types::StatusExt;

/// Prints a line. Where nobody reads it any more, or it cannot be written, the command ends: nobody is
/// there for the rest.
pub(super) fn line(text: fmt::Arguments<'_>) {
    let Err(error) = writeln!(std::io::stdout(), "{text}") else {
        return;
    };
    if error.kind() == ErrorKind::BrokenPipe {
        std::process::exit(0);
    }
    eprintln!("weir: standard output: {error}");
    std::process::exit(1);
}

/// How to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs: one JSON value a line.
    Json,
}

/// Where the gateway is and how long to wait for it.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Connection {
    /// Address of the gateway.
    #[arg(
        long,
        value_name = "URL",
        env = "WEIR_ADDRESS",
        default_value = "http://127.0.0.1:7400"
    )]
    pub(crate) to: String,
    /// How long to wait for an answer.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = humantime::parse_duration)]
    pub(crate) timeout: Duration,
}

impl Connection {
    /// Connects for requests that are answered once: each must be answered within the time-out.
    pub(crate) async fn channel(&self) -> Result<Channel, CliError> {
        let endpoint = self.endpoint()?.timeout(self.timeout);
        self.connect(endpoint).await
    }

    /// Connects for streams, which may last.
    pub(crate) async fn streaming_channel(&self) -> Result<Channel, CliError> {
        let endpoint = self.endpoint()?;
        self.connect(endpoint).await
    }

    fn endpoint(&self) -> Result<Endpoint, CliError> {
        let endpoint = Endpoint::from_shared(self.to.clone())
            .map_err(|error| CliError::Usage(format!("--to {}: {error}", self.to)))?;
        Ok(endpoint
            .connect_timeout(self.timeout)
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_while_idle(true)
            .tcp_nodelay(true))
    }

    async fn connect(&self, endpoint: Endpoint) -> Result<Channel, CliError> {
        endpoint.connect().await.map_err(|error| {
            CliError::Failed(format!(
                "cannot reach {}: {} (is a gateway running there? start one with: weir serve)",
                self.to,
                root_cause(&error)
            ))
        })
    }
}

/// The innermost error: transport errors wrap it in several that say nothing.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

impl From<Status> for CliError {
    fn from(status: Status) -> Self {
        let mut text = status.message().to_owned();
        if let Some(request) = status.get_details_bad_request() {
            for violation in request.field_violations {
                text.push_str(&format!(
                    "\n  {}: {}",
                    violation.field, violation.description
                ));
            }
        }
        if text.is_empty() {
            text = status.code().description().to_owned();
        }
        match status.code() {
            Code::NotFound => Self::NotFound(text),
            Code::DeadlineExceeded => Self::TimedOut(text),
            Code::InvalidArgument => Self::Usage(text),
            _ => Self::Failed(text),
        }
    }
}

/// Runs a client command on a runtime of its own.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start the runtime: {error}")))?;
    let done = runtime.block_on(work);
    // The process ends now: nothing that still blocks is to keep it.
    runtime.shutdown_background();
    done
}

/// A table in the style of all commands.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_HORIZONTAL_ONLY)
        .set_header(header.to_vec());
    table
}

/// A recommendation as the tutorial's JSON, with what the catalogue knows of the item.
pub(crate) fn recommendation_json(recommendation: &Recommendation) -> Value {
    json!({
        "user_id": recommendation.user_id,
        "item_id": recommendation.item_id,
        "score": recommendation.score,
        "reason": recommendation.reason,
        "timestamp": seconds(recommendation.timestamp_ms),
        "rank": recommendation.rank,
        "item_name": recommendation.item_name,
        "category": recommendation.category,
    })
}

/// A profile as the tutorial's JSON, with history and count.
pub(crate) fn profile_json(profile: &UserProfile) -> Value {
    json!({
        "user_id": profile.user_id,
        "interests": profile.interests,
        "behavior_patterns": profile.behavior_patterns,
        "last_updated": seconds(profile.last_updated_ms),
        "events": profile.events,
        "history": profile.history.iter().map(|entry| json!({
            "item_id": entry.item_id,
            "rating": entry.rating,
            "timestamp": seconds(entry.timestamp_ms),
        })).collect::<Vec<_>>(),
    })
}

/// Seconds since the epoch, whole where they are.
fn seconds(ms: i64) -> Value {
    if ms % 1000 == 0 {
        json!(ms / 1000)
    } else {
        json!(ms as f64 / 1000.0)
    }
}

/// The name of an item for people: its id where the catalogue has none.
pub(crate) fn display_name(recommendation: &Recommendation) -> &str {
    if recommendation.item_name.is_empty() {
        &recommendation.item_id
    } else {
        &recommendation.item_name
    }
}

/// An instant for people, in UTC to the second.
pub(crate) fn instant(ms: i64) -> String {
    let Ok(since) = u64::try_from(ms) else {
        return format!("{ms} ms");
    };
    let at = std::time::UNIX_EPOCH.checked_add(Duration::from_millis(since));
    match at {
        // Beyond the year 9999 the formatter fails, and printing would panic.
        Some(at) if since < 253_402_300_800_000 => {
            humantime::format_rfc3339_seconds(at).to_string()
        }
        _ => format!("{ms} ms"),
    }
}

/// Writes the program's own log to stderr, as `WEIR_LOG` or else `default` says.
pub(crate) fn log_to_stderr(default: &str) {
    use std::io::IsTerminal;
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    // Only the first call of a process counts.
    let _already = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .try_init();
}

/// A number for people: 1234567 becomes 1,234,567.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
