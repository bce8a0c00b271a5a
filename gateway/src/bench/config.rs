//! What to measure.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, time::Duration};

/// A run over one or more backends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Config {
    pub(crate) backends: Vec<BackendName>,
    pub(crate) keys: u64,
    pub(crate) value_size: usize,
    pub(crate) distribution: Distribution,
    pub(crate) ops: u64,
    pub(crate) mix: Mix,
    /// Memory for one store: tables, caches and buffers. The memory backend is not held to it.
    pub(crate) budget_bytes: u64,
    /// Between the beginnings of two checkpoints; none: no checkpoints while measuring.
    #[serde(with = "millis")]
    pub(crate) checkpoint_every: Option<Duration>,
}

/// What lies beneath the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum BackendName {
    /// No store at all: a hash table with the values in place, the limit.
    HashTable,
    Memory,
    Fs,
    Redb,
}

impl fmt::Display for BackendName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::HashTable => "hash_table",
            Self::Memory => "memory",
            Self::Fs => "fs",
            Self::Redb => "redb",
        })
    }
}

impl FromStr for BackendName {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name.trim() {
            "hash_table" => Ok(Self::HashTable),
            "memory" => Ok(Self::Memory),
            "fs" => Ok(Self::Fs),
            "redb" => Ok(Self::Redb),
            other => Err(format!(
                "no backend {other:?}: there are memory, fs, redb and, always measured, hash_table"
            )),
        }
    }
}

/// Which keys are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Distribution {
    /// All alike.
    Uniform,
    /// As in YCSB, with exponent 0.99: a few often, most hardly ever.
    Zipf,
    /// One after the other, round and round.
    Sequential,
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Uniform => "uniform",
            Self::Zipf => "zipf",
            Self::Sequential => "sequential",
        })
    }
}

/// Shares of reads, updates and scans in hundredths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mix {
    pub(crate) read: u8,
    pub(crate) update: u8,
    pub(crate) scan: u8,
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { read, update, scan } = self;
        write!(f, "read={read},update={update},scan={scan}")
    }
}

impl FromStr for Mix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut mix = Self {
            read: 0,
            update: 0,
            scan: 0,
        };
        for part in text.split(',') {
            let (name, share) = part
                .split_once('=')
                .ok_or_else(|| format!("{part:?} is not of the form read=50"))?;
            let share = share
                .trim()
                .parse()
                .map_err(|_| format!("{share:?} is not a share in hundredths"))?;
            match name.trim() {
                "read" => mix.read = share,
                "update" => mix.update = share,
                "scan" => mix.scan = share,
                other => {
                    return Err(format!(
                        "no operation {other:?}: there are read, update, scan"
                    ));
                }
            }
        }
        let sum = u32::from(mix.read) + u32::from(mix.update) + u32::from(mix.scan);
        if sum != 100 {
            return Err(format!("the shares add up to {sum}, not to 100"));
        }
        Ok(mix)
    }
}

/// A count like `1M`, `250k` or `1_000`.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let (digits, unit) = split_unit(&plain);
    let factor = match unit {
        "" => 1,
        "k" | "K" => 1_000,
        "m" | "M" => 1_000_000,
        "g" | "G" => 1_000_000_000,
        _ => return Err(format!("{unit:?} is no unit of a count: k, M or G")),
    };
    scaled(digits, factor).ok_or_else(|| format!("{text:?} is not a count"))
}

/// A size like `256MiB`, `64KiB`, `1GB` or `100` (bytes).
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    let (digits, unit) = split_unit(&plain);
    let factor = match unit {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "K" | "KiB" => 1 << 10,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        _ => return Err(format!("{unit:?} is no unit of a size: B, KiB, MiB, GiB")),
    };
    scaled(digits, factor).ok_or_else(|| format!("{text:?} is not a size"))
}

fn split_unit(text: &str) -> (&str, &str) {
    let at = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    (&text[..at], text[at..].trim())
}

fn scaled(digits: &str, factor: u64) -> Option<u64> {
    if let Ok(whole) = digits.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value = digits.parse::<f64>().ok()? * factor as f64;
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

mod millis {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(
        every: &Option<Duration>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        every.map(|every| every.as_millis() as u64).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}
