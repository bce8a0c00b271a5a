//! Figures of a task: counters it alone writes, read by whoever looks.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Written by one thread with plain stores, so that counting costs nothing worth measuring.
#[derive(Debug)]
pub(crate) struct TaskMetrics {
    pub(crate) records_in: AtomicU64,
    pub(crate) records_out: AtomicU64,
    pub(crate) watermark: AtomicI64,
    pub(crate) idle_ns: AtomicU64,
    pub(crate) backpressured_ns: AtomicU64,
    /// When the task fell asleep, in ns of the job's clock; 0 when it is awake.
    asleep_since_ns: AtomicU64,
    /// What it waits for: room in its outputs, or input.
    asleep_backpressured: AtomicBool,
    pub(crate) timers: AtomicU64,
    pub(crate) state_bytes: AtomicU64,
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
            asleep_since_ns: AtomicU64::new(0),
            asleep_backpressured: AtomicBool::new(false),
            timers: AtomicU64::new(0),
            state_bytes: AtomicU64::new(0),
            late: AtomicU64::new(0),
            max_slice_ns: AtomicU64::new(0),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl TaskMetrics {
    /// To be called before the task waits, by its own thread.
    pub(crate) fn fall_asleep(&self, now: Duration, backpressured: bool) {
        self.asleep_backpressured
            .store(backpressured, Ordering::Relaxed);
        self.asleep_since_ns
            .store(nanos(now).max(1), Ordering::Release);
    }

    /// To be called when it has waited, by its own thread.
    pub(crate) fn wake(&self, now: Duration) {
        // a reader in between sees less for a moment, never more
        let since = self.asleep_since_ns.swap(0, Ordering::AcqRel);
        let slept = nanos(now).saturating_sub(since);
        if self.asleep_backpressured.load(Ordering::Relaxed) {
            add(&self.backpressured_ns, slept);
        } else {
            add(&self.idle_ns, slept);
        }
    }

    /// Time asleep for want of input and of room, in ns, the sleep that is not over included.
    pub(crate) fn asleep(&self, now: Duration) -> (u64, u64) {
        let since = self.asleep_since_ns.load(Ordering::Acquire);
        let slept = match since {
            0 => 0,
            since => nanos(now).saturating_sub(since),
        };
        let (idle, backpressured) = match self.asleep_backpressured.load(Ordering::Relaxed) {
            true => (0, slept),
            false => (slept, 0),
        };
        (
            self.idle_ns.load(Ordering::Relaxed) + idle,
            self.backpressured_ns.load(Ordering::Relaxed) + backpressured,
        )
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
pub(crate) fn max(figure: &AtomicU64, time: Duration) {
    let ns = nanos(time);
    if ns > figure.load(Ordering::Relaxed) {
        figure.store(ns, Ordering::Relaxed);
    }
}
