//! What was measured.

use super::config::{BackendName, Config};
use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) weir_version: String,
    pub(crate) machine: String,
    pub(crate) command: String,
    pub(crate) config: Config,
    /// The plain hash table first.
    pub(crate) backends: Vec<BackendReport>,
}

/// One backend. Rates are operations a second of one thread.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct BackendReport {
    pub(crate) backend: BackendName,
    pub(crate) load_per_s: f64,
    pub(crate) read_per_s: f64,
    pub(crate) update_per_s: f64,
    /// Batches of known keys, fetched together before they are changed one by one.
    pub(crate) batch_update_per_s: f64,
    /// Each visits the 100 entries of a map state in order.
    pub(crate) scan_per_s: f64,
    /// The mix, while checkpoints are taken.
    pub(crate) mix_per_s: f64,
    pub(crate) latency: Latency,
    /// The longest slice of background work between operations of the mix, with a checkpoint under way or not.
    #[serde(default)]
    pub(crate) slice: Pause,
    #[serde(default)]
    pub(crate) slices: Slices,
    /// The longest that the machine held up the thread while it only looked at the clocks, for as long as the mix took, five
    /// seconds at most: what a slice or an operation may contain without the store's doing.
    #[serde(default)]
    pub(crate) idle: Pause,
    /// The longest operation of the mix; beyond the budget it evicts, and may wait for the disk.
    #[serde(default)]
    pub(crate) operation: Pause,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) restore_s: Option<f64>,
    /// Above that of the process before the store was opened.
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) peak_memory_bytes: Option<u64>,
    /// Share of the rows that lie decoded in memory at the end; the others were evicted to the backend.
    pub(crate) in_memory: Option<f64>,
    pub(crate) disk_bytes: u64,
    /// Bytes the backend wrote for one that it was given.
    pub(crate) write_amplification: Option<f64>,
    /// Operations a second in the course of the mix.
    pub(crate) timeline: Vec<Moment>,
}

/// Of one operation in the mix, background work between operations included.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50_us: f64,
    pub(crate) p90_us: f64,
    pub(crate) p99_us: f64,
    pub(crate) p999_us: f64,
    pub(crate) p9999_us: f64,
    pub(crate) max_us: f64,
}

/// How long the store's owner was held up.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Pause {
    pub(crate) ms: f64,
    /// By the processor time of the thread: without waiting, and without what others took meanwhile.
    pub(crate) thread_ms: Option<f64>,
}

/// The slices of background work.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slices {
    pub(crate) count: u64,
    /// By the processor time of the thread, where the system tells it.
    pub(crate) over_1_ms: u64,
}

/// One checkpoint: from its beginning until it was published.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Checkpoint {
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    /// The longest that it kept the store from working.
    pub(crate) stall_ms: f64,
    /// The same by the processor time of the thread; without what others took meanwhile.
    #[serde(default)]
    pub(crate) thread_stall_ms: Option<f64>,
    pub(crate) bytes: u64,
    pub(crate) rows: u64,
}

/// One interval of the mix.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Moment {
    pub(crate) at_s: f64,
    pub(crate) ops_per_s: f64,
}

/// The checkpoints of a run in one line.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CheckpointSummary {
    pub(crate) count: usize,
    pub(crate) mean_s: f64,
    pub(crate) max_stall_ms: f64,
    pub(crate) max_thread_stall_ms: Option<f64>,
    pub(crate) mean_bytes: f64,
}

impl BackendReport {
    pub(crate) fn checkpoint_summary(&self) -> Option<CheckpointSummary> {
        let count = self.checkpoints.len();
        if count == 0 {
            return None;
        }
        let mean = |of: fn(&Checkpoint) -> f64| {
            self.checkpoints.iter().map(of).sum::<f64>() / count as f64
        };
        Some(CheckpointSummary {
            count,
            mean_s: mean(|c| c.seconds),
            max_stall_ms: self
                .checkpoints
                .iter()
                .map(|c| c.stall_ms)
                .fold(0.0, f64::max),
            max_thread_stall_ms: self
                .checkpoints
                .iter()
                .filter_map(|c| c.thread_stall_ms)
                .reduce(f64::max),
            mean_bytes: mean(|c| c.bytes as f64),
        })
    }
}

/// `1234567.0` as `1.23 M`.
pub(crate) fn rate(per_s: f64) -> String {
    if per_s >= 1e6 {
        format!("{:.2} M", per_s / 1e6)
    } else if per_s >= 1e4 {
        format!("{:.0} k", per_s / 1e3)
    } else if per_s >= 1e3 {
        format!("{:.1} k", per_s / 1e3)
    } else {
        format!("{per_s:.0}")
    }
}

/// Bytes as MB.
pub(crate) fn megabytes(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}
