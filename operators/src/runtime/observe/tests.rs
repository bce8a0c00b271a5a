use super::*;
use crate::checkpoint::{CheckpointState, PhaseTimes, ShardRecord, SnapshotPurpose};
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString,
};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

#[derive(Default)]
struct Sum(Mutex<f64>);

impl HistogramFn for Sum {
    fn record(&self, value: f64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += value;
    }
}

/// Keeps what it hears, by name and labels.
#[derive(Default)]
struct Heard {
    counters: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    gauges: Mutex<BTreeMap<String, Arc<AtomicU64>>>,
    histograms: Mutex<BTreeMap<String, Arc<Sum>>>,
}

fn name(key: &Key) -> String {
    let labels: Vec<String> = key
        .labels()
        .map(|label| format!("{}={}", label.key(), label.value()))
        .collect();
    format!("{}{{{}}}", key.name(), labels.join(","))
}

impl Recorder for Heard {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut all = self.counters.lock().unwrap();
        Counter::from_arc(Arc::clone(all.entry(name(key)).or_default()))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        let mut all = self.gauges.lock().unwrap();
        Gauge::from_arc(Arc::clone(all.entry(name(key)).or_default()))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        let mut all = self.histograms.lock().unwrap();
        Histogram::from_arc(Arc::clone(all.entry(name(key)).or_default()))
    }
}

impl Heard {
    fn counter(&self, name: &str) -> Option<u64> {
        let all = self.counters.lock().unwrap();
        all.get(name).map(|value| value.load(Ordering::Relaxed))
    }

    fn gauge(&self, name: &str) -> Option<f64> {
        let all = self.gauges.lock().unwrap();
        all.get(name)
            .map(|value| f64::from_bits(value.load(Ordering::Relaxed)))
    }

    fn histogram(&self, name: &str) -> Option<f64> {
        let all = self.histograms.lock().unwrap();
        all.get(name).map(|sum| *sum.0.lock().unwrap())
    }
}

const LABELS: &str = "{job=j,task=count,subtask=1}";

fn tell_of(observer: &mut Observer, figures: &Arc<TaskMetrics>, attempt: u64, now_ms: u64) {
    let signal = Arc::default();
    let handle = SubtaskHandle {
        task: 0,
        subtask: 1,
        commands: Arc::new(crate::runtime::inbox::Inbox::new(1, Arc::clone(&signal))),
        signal,
        metrics: Arc::clone(figures),
        positions: Arc::default(),
    };
    let now = Duration::from_millis(now_ms);
    let time = Timestamp::from_millis(10_000);
    observer.tell(attempt, now, time, std::iter::once(("count", &handle)));
}

#[test]
fn a_subtask_is_told_of_by_what_has_changed() {
    let heard = Heard::default();
    metrics::with_local_recorder(&heard, || {
        let mut observer = Observer::new("j");
        let figures = Arc::new(TaskMetrics::default());
        figures.records_in.store(5, Ordering::Relaxed);
        figures.watermark.store(7_500, Ordering::Relaxed);
        figures.state_bytes.store(64, Ordering::Relaxed);
        figures.idle_ns.store(250_000_000, Ordering::Relaxed);
        assert!(observer.is_due(EVERY));
        tell_of(&mut observer, &figures, 1, 1_000);
        assert!(!observer.is_due(Duration::from_millis(1_500)));
        figures.records_in.store(8, Ordering::Relaxed);
        // asleep for want of room since the last look, and not woken yet
        figures.fall_asleep(Duration::from_millis(1_000), true);
        tell_of(&mut observer, &figures, 1, 2_000);
        // a new attempt counts from 0
        let fresh = Arc::new(TaskMetrics::default());
        fresh.records_in.store(2, Ordering::Relaxed);
        tell_of(&mut observer, &fresh, 2, 3_000);
    });
    let named = |name: &str| format!("{name}{LABELS}");
    assert_eq!(heard.counter(&named(RECORDS_IN)), Some(10));
    assert_eq!(heard.gauge(&named(WATERMARK)), Some(7.5));
    assert_eq!(heard.gauge(&named(WATERMARK_LAG)), Some(2.5));
    assert_eq!(heard.gauge(&named(BUSY)), Some(1.0));
}

#[test]
fn shares_add_up_to_one() {
    let heard = Heard::default();
    let figures = Arc::new(TaskMetrics::default());
    figures.idle_ns.store(250_000_000, Ordering::Relaxed);
    figures.fall_asleep(Duration::from_millis(500), true);
    metrics::with_local_recorder(&heard, || {
        tell_of(&mut Observer::new("j"), &figures, 1, 1_000);
    });
    let gauge = |name: &str| heard.gauge(&format!("{name}{LABELS}"));
    assert_eq!(gauge(IDLE), Some(0.25));
    assert_eq!(gauge(BACKPRESSURED), Some(0.5));
    assert_eq!(gauge(BUSY), Some(0.25));
}

#[test]
fn a_checkpoint_is_told_of_by_its_phases() {
    let heard = Heard::default();
    let times = PhaseTimes {
        sync_us: 1_500,
        ..PhaseTimes::default()
    };
    let record = CheckpointRecord {
        id: 3,
        purpose: SnapshotPurpose::Checkpoint,
        triggered_ms: 0,
        duration_ms: 250,
        commit_us: 0,
        bytes_written: 10,
        bytes_total: 100,
        parts: 1,
        shards: vec![ShardRecord {
            uid: "count".to_owned(),
            subtask: 0,
            bytes: 10,
            times,
        }],
        state: CheckpointState::InProgress,
    };
    metrics::with_local_recorder(&heard, || {
        let observer = Observer::new("j");
        observer.completed(&record);
        observer.failed(FailureReason::CheckpointExpired);
    });
    let phase = format!("{PHASE_SECONDS}{{job=j,operator=count,phase=sync}}");
    assert_eq!(heard.histogram(&phase), Some(0.001_5));
    let completed = format!("{CHECKPOINTS}{{job=j,outcome=completed}}");
    assert_eq!(heard.counter(&completed), Some(1));
    assert_eq!(
        heard.gauge(&format!("{CHECKPOINT_SIZE}{{job=j}}")),
        Some(100.0)
    );
}
