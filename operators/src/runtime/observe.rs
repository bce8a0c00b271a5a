//! Figures for whoever listens: through the facade `metrics`, named in the crate's README.
//!
//! Tasks count into plain fields of their own; the coordinator's thread reads them once a second and at the
//! end. So nothing on an element's way knows whether anybody listens.

use super::deployment::SubtaskHandle;
use super::metrics::TaskMetrics;
use crate::checkpoint::{CheckpointRecord, FailureReason};
use crate::status::{RestoreSource, StateRestore};
use metrics::{Label, Unit, counter, describe_counter, describe_gauge, describe_histogram};
use metrics::{gauge, histogram};
use std::sync::atomic::Ordering;
use std::time::Duration;
use time_engine::Timestamp;

/// Time between two looks.
pub(crate) const EVERY: Duration = Duration::from_secs(1);

const RECORDS_IN: &str = "weir_records_in_total";
const RECORDS_OUT: &str = "weir_records_out_total";
const LATE: &str = "weir_late_records_total";
const BUSY: &str = "weir_busy_ratio";
const IDLE: &str = "weir_idle_ratio";
const BACKPRESSURED: &str = "weir_backpressured_ratio";
const WATERMARK: &str = "weir_watermark_seconds";
const WATERMARK_LAG: &str = "weir_watermark_lag_seconds";
const STATE_BYTES: &str = "weir_state_bytes";
const TIMERS: &str = "weir_timers";
const MAX_SLICE: &str = "weir_max_slice_seconds";
const RESTARTS: &str = "weir_restarts_total";
const CHECKPOINTS: &str = "weir_checkpoints_total";
const CHECKPOINT_SECONDS: &str = "weir_checkpoint_seconds";
const CHECKPOINT_WRITTEN: &str = "weir_checkpoint_written_bytes";
const CHECKPOINT_SIZE: &str = "weir_checkpoint_size_bytes";
const PHASE_SECONDS: &str = "weir_checkpoint_phase_seconds";
const RESTORE_SECONDS: &str = "weir_restore_seconds";

/// What was last told of a subtask.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    records_in: u64,
    records_out: u64,
    late: u64,
    idle_ns: u64,
    backpressured_ns: u64,
}

/// Tells of one job.
#[derive(Debug)]
pub(crate) struct Observer {
    job: String,
    attempt: u64,
    at: Duration,
    told: Vec<Told>,
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

/// The share of a time, from 0 to 1: a sleep that has just ended may count for the time before.
fn share(part_ns: u64, whole: Duration) -> f64 {
    (part_ns as f64 / whole.as_nanos().max(1) as f64).min(1.0)
}

impl Observer {
    pub(crate) fn new(job: &str) -> Self {
        describe_counter!(RECORDS_IN, "Elements a subtask has taken in");
        describe_counter!(RECORDS_OUT, "Elements a subtask has handed out");
        describe_counter!(LATE, "Elements too late for every window");
        describe_gauge!(BUSY, "Share of the last second spent working");
        describe_gauge!(IDLE, "Share of the last second spent without input");
        describe_gauge!(
            BACKPRESSURED,
            "Share of the last second spent waiting for room in the outputs"
        );
        describe_gauge!(WATERMARK, Unit::Seconds, "Event time reached");
        describe_gauge!(
            WATERMARK_LAG,
            Unit::Seconds,
            "The clock's time less the event time reached"
        );
        describe_gauge!(
            STATE_BYTES,
            Unit::Bytes,
            "Memory taken by keyed state and its bookkeeping"
        );
        describe_gauge!(TIMERS, "Timers that wait");
        describe_gauge!(
            MAX_SLICE,
            Unit::Seconds,
            "The longest that background work held elements up"
        );
        describe_counter!(RESTARTS, "Starts after a failure");
        describe_counter!(CHECKPOINTS, "Checkpoints and savepoints by outcome");
        describe_histogram!(CHECKPOINT_SECONDS, Unit::Seconds, "From trigger to commit");
        describe_histogram!(
            CHECKPOINT_WRITTEN,
            Unit::Bytes,
            "Bytes written for a checkpoint"
        );
        describe_gauge!(
            CHECKPOINT_SIZE,
            Unit::Bytes,
            "Bytes a restore from the last checkpoint reads"
        );
        describe_histogram!(
            PHASE_SECONDS,
            Unit::Seconds,
            "Time in a phase of a checkpoint, of each part"
        );
        describe_histogram!(
            RESTORE_SECONDS,
            Unit::Seconds,
            "Time to restore the keyed state of a subtask, by where it came from"
        );
        Self {
            job: job.to_owned(),
            attempt: 0,
            at: Duration::ZERO,
            told: Vec::new(),
        }
    }

    /// Whether it is time for the next look.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        now >= self.at + EVERY
    }

    /// Tells of all subtasks. `now` is the reading of the monotonic clock, `time` that of the other.
    pub(crate) fn tell<'a>(
        &mut self,
        attempt: u64,
        now: Duration,
        time: Timestamp,
        subtasks: impl Iterator<Item = (&'a str, &'a SubtaskHandle)>,
    ) {
        if attempt != self.attempt {
            self.attempt = attempt;
            self.told.clear();
        }
        let since = now.saturating_sub(self.at);
        self.at = now;
        for (index, (task, handle)) in subtasks.enumerate() {
            if self.told.len() <= index {
                self.told.push(Told::default());
            }
            let labels = vec![
                Label::new("job", self.job.clone()),
                Label::new("task", task.to_owned()),
                Label::new("subtask", handle.subtask.to_string()),
            ];
            let figures = &handle.metrics;
            self.told[index] = tell(figures, self.told[index], labels, (now, since), time);
        }
    }

    pub(crate) fn restarting(&self) {
        counter!(RESTARTS, "job" => self.job.clone()).increment(1);
    }

    pub(crate) fn restored(&self, restore: &StateRestore) {
        let (job, operator) = (self.job.clone(), restore.operator.clone());
        let source = match restore.source {
            RestoreSource::Local => "local",
            RestoreSource::Checkpoint => "checkpoint",
        };
        histogram!(RESTORE_SECONDS, "job" => job, "operator" => operator, "source" => source)
            .record(seconds(restore.duration_us));
    }

    pub(crate) fn completed(&self, record: &CheckpointRecord) {
        let job = || self.job.clone();
        counter!(CHECKPOINTS, "job" => job(), "outcome" => "completed").increment(1);
        histogram!(CHECKPOINT_SECONDS, "job" => job()).record(record.duration_ms as f64 / 1e3);
        histogram!(CHECKPOINT_WRITTEN, "job" => job()).record(record.bytes_written as f64);
        gauge!(CHECKPOINT_SIZE, "job" => job()).set(record.bytes_total as f64);
        for shard in &record.shards {
            let times = &shard.times;
            for (phase, us) in [
                ("start_delay", times.start_delay_us),
                ("alignment", times.alignment_us),
                ("sync", times.sync_us),
                ("async", times.async_us),
            ] {
                let uid = shard.uid.clone();
                histogram!(PHASE_SECONDS, "job" => job(), "operator" => uid, "phase" => phase)
                    .record(seconds(us));
            }
        }
    }

    pub(crate) fn failed(&self, reason: FailureReason) {
        let (job, reason) = (self.job.clone(), reason.to_string());
        counter!(CHECKPOINTS, "job" => job, "outcome" => "failed", "reason" => reason).increment(1);
    }
}

fn tell(
    figures: &TaskMetrics,
    told: Told,
    labels: Vec<Label>,
    (now, since): (Duration, Duration),
    time: Timestamp,
) -> Told {
    let (idle_ns, backpressured_ns) = figures.asleep(now);
    let new = Told {
        records_in: figures.records_in.load(Ordering::Relaxed),
        records_out: figures.records_out.load(Ordering::Relaxed),
        late: figures.late.load(Ordering::Relaxed),
        idle_ns,
        backpressured_ns,
    };
    counter!(RECORDS_IN, labels.clone()).increment(new.records_in.saturating_sub(told.records_in));
    let out = new.records_out.saturating_sub(told.records_out);
    counter!(RECORDS_OUT, labels.clone()).increment(out);
    counter!(LATE, labels.clone()).increment(new.late.saturating_sub(told.late));
    let idle = share(new.idle_ns.saturating_sub(told.idle_ns), since);
    let backpressured = new.backpressured_ns.saturating_sub(told.backpressured_ns);
    let backpressured = share(backpressured, since).min(1.0 - idle);
    gauge!(IDLE, labels.clone()).set(idle);
    gauge!(BACKPRESSURED, labels.clone()).set(backpressured);
    gauge!(BUSY, labels.clone()).set(1.0 - idle - backpressured);
    let watermark = Timestamp::from_millis(figures.watermark.load(Ordering::Relaxed));
    if watermark != Timestamp::MIN && watermark != Timestamp::MAX {
        gauge!(WATERMARK, labels.clone()).set(watermark.as_millis() as f64 / 1e3);
        let lag = time.millis_since(watermark);
        gauge!(WATERMARK_LAG, labels.clone()).set(lag as f64 / 1e3);
    }
    let state = figures.state_bytes.load(Ordering::Relaxed);
    gauge!(STATE_BYTES, labels.clone()).set(state as f64);
    let timers = figures.timers.load(Ordering::Relaxed);
    gauge!(TIMERS, labels.clone()).set(timers as f64);
    let slice = figures.max_slice_ns.load(Ordering::Relaxed);
    gauge!(MAX_SLICE, labels).set(slice as f64 / 1e9);
    new
}

#[cfg(test)]
#[path = "observe/tests.rs"]
mod tests;
