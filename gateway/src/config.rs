//! How a gateway is set up: defaults, then a TOML file, then flags.

use crate::{
    convert::EventLimits,
    error::{Error, Result},
};
use recsys::model::Ranking;
use serde::{Deserialize, Deserializer, de};
use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

/// Where working state lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In memory; durable by checkpoints and the log alone.
    Memory,
    /// In files, keys in memory.
    Fs,
    /// In redb, larger than memory.
    #[default]
    Redb,
}

impl Backend {
    /// The name in configuration and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Fs => "fs",
            Self::Redb => "redb",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A gateway's configuration. [`Config::default`] is one that works.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Config {
    /// Where everything is kept: log, checkpoints, working state.
    pub data_dir: PathBuf,
    /// Where working state lives.
    pub backend: Backend,
    /// Address of the gRPC services. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// Working state.
    pub state: StateConfig,
    /// Checkpoints.
    pub checkpoint: CheckpointSection,
    /// The ingest log.
    pub log: LogSection,
    /// What clients may do at most.
    pub limits: LimitsSection,
    /// Names and categories of items.
    pub catalog: CatalogSection,
    /// How items are put in order.
    pub recommend: RecommendSection,
    /// How long an orderly stop may take; after it the process ends all the same. Nothing accepted is
    /// lost by that: the log has it.
    #[serde(deserialize_with = "duration")]
    pub shutdown_deadline: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("weir-data"),
            backend: Backend::default(),
            listen: SocketAddr::from(([127, 0, 0, 1], 7400)),
            state: StateConfig::default(),
            checkpoint: CheckpointSection::default(),
            log: LogSection::default(),
            limits: LimitsSection::default(),
            catalog: CatalogSection::default(),
            recommend: RecommendSection::default(),
            shutdown_deadline: Duration::from_secs(20),
        }
    }
}

/// `[state]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct StateConfig {
    /// Shards of the operators that are keyed by user.
    pub parallelism: u16,
    /// Memory for state, of all shards together: half of it for what lists are made from, half for profiles.
    pub memory_budget: Bytes,
}

impl Default for StateConfig {
    fn default() -> Self {
        Self {
            parallelism: 2,
            memory_budget: Bytes(512 << 20),
        }
    }
}

/// `[checkpoint]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CheckpointSection {
    /// Where checkpoints go, a directory or `s3://bucket/prefix` (feature `s3`); `checkpoints` in the
    /// data directory unless given. No other gateway may have the same.
    pub dir: Option<PathBuf>,
    /// Time between two checkpoints. After a kill, what came in since the last one is read from the log again.
    #[serde(deserialize_with = "duration")]
    pub interval: Duration,
    /// A checkpoint that takes longer is given up.
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    /// Completed checkpoints to keep.
    pub retained: usize,
}

impl Default for CheckpointSection {
    fn default() -> Self {
        Self {
            dir: None,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(60),
            retained: 3,
        }
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LogSection {
    /// Length of a segment, the unit of trimming.
    pub segment: Bytes,
    /// Producers whose sequence numbers are remembered.
    pub max_producers: usize,
    /// Events the job may be behind the log; beyond it clients wait. Bounds the disk the log takes.
    pub max_lag: u64,
}

impl Default for LogSection {
    fn default() -> Self {
        Self {
            segment: Bytes(64 << 20),
            max_producers: 65_536,
            max_lag: 1_000_000,
        }
    }
}

/// `[limits]`
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct LimitsSection {
    /// Largest message taken; what is larger ends the call with OUT_OF_RANGE.
    pub message: Bytes,
    /// Events of one batch.
    pub batch_events: u32,
    /// Bytes of an event's metadata.
    pub metadata: Bytes,
    /// Events of one stream under way without acknowledgement.
    pub in_flight: u32,
    /// How far an event may be ahead of the clock.
    #[serde(deserialize_with = "duration")]
    pub future: Duration,
    /// Streams of one connection at a time.
    pub streams_per_connection: u32,
    /// Subscribers at a time.
    pub subscribers: usize,
    /// Updates waiting for a subscriber; beyond it the subscription ends.
    pub subscriber_queue: usize,
    /// How long a client may leave acknowledgements unread.
    #[serde(deserialize_with = "duration")]
    pub stalled: Duration,
    /// Size of the file of events set aside; when it is full the older half goes.
    pub dead_letters: Bytes,
}

impl Default for LimitsSection {
    fn default() -> Self {
        Self {
            message: Bytes(16 << 20),
            batch_events: 5_000,
            metadata: Bytes(16 << 10),
            in_flight: 8_000,
            future: Duration::from_secs(24 * 3600),
            streams_per_connection: 256,
            subscribers: 1_000,
            subscriber_queue: 256,
            stalled: Duration::from_secs(30),
            dead_letters: Bytes(16 << 20),
        }
    }
}

impl LimitsSection {
    pub(crate) fn event_limits(&self) -> EventLimits {
        EventLimits {
            metadata_bytes: usize::try_from(self.metadata.0).unwrap_or(usize::MAX),
            future_ms: i64::try_from(self.future.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

/// `[catalog]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct CatalogSection {
    /// A CSV or JSONL file read at the start; what it says replaces what was known.
    pub file: Option<PathBuf>,
}

/// `[recommend]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct RecommendSection {
    /// Which model makes the lists. Both learn alike, so it can change from one start to the next.
    pub model: Model,
}

/// What makes the lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Model {
    /// The learned fusion of all sources.
    #[default]
    Auto,
    /// The tutorial's rules: item-based and user-based collaborative filtering, averaged.
    Tutorial,
}

impl Model {
    pub(crate) fn ranking(self) -> Ranking {
        match self {
            Self::Auto => Ranking::Fusion,
            Self::Tutorial => Ranking::Tutorial,
        }
    }
}

impl Config {
    /// Reads a file; what it does not say has its default.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] with line and column for what is not understood.
    pub fn load(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io("read", path))?;
        Self::parse(&text).map_err(|error| Error::Config(format!("{}: {error}", path.display())))
    }

    fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// Checks what goes together.
    ///
    /// # Errors
    /// [`Error::Config`], naming the setting.
    pub fn validate(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::Config(what.to_owned()));
        if self.state.parallelism == 0 || self.state.parallelism > 128 {
            return wrong("state.parallelism must be 1 to 128");
        }
        if self.checkpoint.interval < Duration::from_millis(10) {
            return wrong("checkpoint.interval must be at least 10ms");
        }
        if self.checkpoint.retained == 0 {
            return wrong("checkpoint.retained must be at least 1");
        }
        if self.limits.batch_events == 0 || self.limits.in_flight < self.limits.batch_events {
            return wrong(
                "limits.in_flight must be at least limits.batch_events, and that at least 1",
            );
        }
        if self.limits.message.0 < 64 << 10 || self.limits.message.0 > 32 << 20 {
            return wrong("limits.message must be 64KiB to 32MiB");
        }
        if self.log.segment.0 < 64 << 10 {
            return wrong("log.segment must be at least 64KiB");
        }
        if self.limits.subscriber_queue == 0 {
            return wrong("limits.subscriber_queue must be at least 1");
        }
        Ok(())
    }
}

/// A number of bytes, written `512MiB`, `64KiB`, `1GB` or as a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let factor = match unit.trim().to_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            _ => return Err(format!("{text:?}: use B, KiB, MiB, GiB, KB, MB or GB")),
        };
        number
            .parse::<u64>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(|| format!("{text:?} is no size"))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Size;
        impl de::Visitor<'_> for Size {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64MiB\"")
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Bytes, E> {
                u64::try_from(number).map(Bytes).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, number: u64) -> Result<Bytes, E> {
                Ok(Bytes(number))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Bytes, E> {
                text.parse().map_err(E::custom)
            }
        }
        from.deserialize_any(Size)
    }
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(from)?;
    humantime::parse_duration(&text).map_err(de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_what_it_names_and_nothing_else() {
        let config = Config::parse(
            "backend = \"fs\"\n[checkpoint]\ninterval = \"250ms\"\n[log]\nsegment = \"1MiB\"\n\
             [recommend]\nmodel = \"tutorial\"\n",
        )
        .unwrap();
        assert_eq!(config.backend, Backend::Fs);
        assert_eq!(config.checkpoint.interval, Duration::from_millis(250));
        assert_eq!(config.checkpoint.retained, 3);
        assert_eq!(config.log.segment, Bytes(1 << 20));
        assert_eq!(config.recommend.model, Model::Tutorial);
        config.validate().unwrap();
        Config::default().validate().unwrap();
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (text, names) in [
            ("backnd = \"fs\"", "backnd"),
            ("backend = \"rocksdb\"", "rocksdb"),
            ("[recommend]\nmodel = \"als\"", "als"),
            ("[log]\nsegment = \"many\"", "many"),
            ("[checkpoint]\ninterval = \"1 parsec\"", "interval"),
        ] {
            let error = Config::parse(text).unwrap_err().to_string();
            assert!(error.contains(names), "{error}");
        }
        let config = Config::parse("[checkpoint]\nretained = 0").unwrap();
        assert!(
            config
                .validate()
                .unwrap_err()
                .to_string()
                .contains("retained")
        );
    }
}
