//! Figures of a task: counters it alone writes, read by whoever looks.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Written by one thread with plain stores, so that counting costs nothing worth measuring.
#[derive(Debug)]
pub(crate) struct TaskMetrics {
    pub(crate) records_in: AtomicU64,
    pub(crate) records_out: AtomicU64,
    pub(crate) watermark: AtomicI64,
    pub(crate) idle_ns: AtomicU64,
    pub(crate) backpressured_ns: AtomicU64,
    pub(crate) timers: AtomicU64,
    pub(crate) late: AtomicU64,
    pub(crate) max_slice_ns: AtomicU64,
}

impl Default for TaskMetrics {
    fn default() -> Self {
        Self {
            records_in: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            watermark: AtomicI64::new(i64::MIN),
            idle_ns: AtomicU64::new(0),
            backpressured_ns: AtomicU64::new(0),
            timers: AtomicU64::new(0),
            late: AtomicU64::new(0),
            max_slice_ns: AtomicU64::new(0),
        }
    }
}

/// Adds to a counter that only this thread writes.
pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(
        counter.load(Ordering::Relaxed).wrapping_add(n),
        Ordering::Relaxed,
    );
}

/// Raises a maximum that only this thread writes.
pub(crate) fn max(figure: &AtomicU64, time: std::time::Duration) {
    let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    if ns > figure.load(Ordering::Relaxed) {
        figure.store(ns, Ordering::Relaxed);
    }
}
