//! The clock as an input. This is the only file of Weir that reads the operating system's.

use crate::Timestamp;
use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Where the time comes from.
///
/// A loop reads it at one place and hands the reading down, so that a log of its inputs replays to
/// the same state.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The wall clock. It may be set back; use [`Clock::elapsed`] to measure.
    fn now(&self) -> Timestamp;

    /// Time since an origin that stays the same for the life of this clock; never goes back.
    fn elapsed(&self) -> Duration;
}

/// The operating system's clocks.
#[derive(Debug, Clone)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose [`Clock::elapsed`] starts at zero now.
    #[expect(clippy::disallowed_methods, reason = "the one reading of the OS clock")]
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one reading of the OS clock")]
    fn now(&self) -> Timestamp {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }

    fn elapsed(&self) -> Duration {
        self.origin.elapsed()
    }
}

/// A clock that moves when it is told to. Clones show the same time.
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Clock, ManualClock, Timestamp};
///
/// let clock = ManualClock::new(Timestamp::from_millis(100));
/// let shared = clock.clone();
/// clock.advance(Duration::from_millis(5));
/// assert_eq!(shared.now(), Timestamp::from_millis(105));
/// assert_eq!(shared.elapsed(), Duration::from_millis(5));
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<AtomicI64>,
    origin: i64,
}

impl ManualClock {
    /// A clock that shows `at`.
    pub fn new(at: Timestamp) -> Self {
        Self {
            now: Arc::new(AtomicI64::new(at.as_millis())),
            origin: at.as_millis(),
        }
    }

    /// Makes it show `at`, which may lie in the past.
    pub fn set(&self, at: Timestamp) {
        self.now.store(at.as_millis(), Ordering::SeqCst);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        let by = crate::timestamp::duration_millis(by);
        // Never refused: the closure always gives a value.
        let _ = self
            .now
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |now| {
                Some(now.saturating_add(by))
            });
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new(Timestamp::EPOCH)
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now.load(Ordering::SeqCst))
    }

    fn elapsed(&self) -> Duration {
        let since = self
            .now
            .load(Ordering::SeqCst)
            .saturating_sub(self.origin)
            .max(0);
        Duration::from_millis(since.unsigned_abs())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_moves_on() {
        let clock = SystemClock::new();
        let (then, before) = (clock.now(), clock.elapsed());
        assert!(then > Timestamp::from_millis(1_600_000_000_000));
        assert!(clock.elapsed() >= before);
    }

    #[test]
    fn a_manual_clock_set_back_does_not_measure_backwards() {
        let clock = ManualClock::new(Timestamp::from_millis(10));
        clock.set(Timestamp::from_millis(3));
        assert_eq!(clock.elapsed(), Duration::ZERO);
        clock.set(Timestamp::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Timestamp::MAX);
    }
}
