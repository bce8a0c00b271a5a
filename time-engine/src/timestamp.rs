//! An instant in milliseconds, and which clock it belongs to.

use std::{fmt, time::Duration};

/// Milliseconds since the Unix epoch, from [`Timestamp::MIN`] to [`Timestamp::MAX`].
///
/// Which clock it came from is [`TimeDomain`]'s business. The whole range of `i64` is legal, as in
/// Flink; arithmetic saturates at its ends.
///
/// ```
/// use std::time::Duration;
/// use time_engine::Timestamp;
///
/// let noon = Timestamp::from_millis(43_200_000);
/// assert_eq!(noon.saturating_add(Duration::from_secs(1)).as_millis(), 43_201_000);
/// assert_eq!(Timestamp::MAX.saturating_add(Duration::from_secs(1)), Timestamp::MAX);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Timestamp(i64);

impl Timestamp {
    /// Before everything; on an element it means "no timestamp", as in Flink.
    pub const MIN: Self = Self(i64::MIN);
    /// After everything.
    pub const MAX: Self = Self(i64::MAX);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// The instant `millis` after the epoch (before it, if negative).
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Later by `by`; fractions of a millisecond are cut off; stops at [`Timestamp::MAX`].
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(duration_millis(by)))
    }

    /// Earlier by `by`; stops at [`Timestamp::MIN`].
    pub fn saturating_sub(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(duration_millis(by)))
    }

    /// Milliseconds from `earlier` to `self`, negative if `earlier` is the later one; saturates.
    pub const fn millis_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Eight bytes that sort as the timestamps do.
    pub const fn to_ordered_bytes(self) -> [u8; 8] {
        (self.0.cast_unsigned() ^ (1 << 63)).to_be_bytes()
    }

    /// The inverse of [`Timestamp::to_ordered_bytes`].
    pub const fn from_ordered_bytes(bytes: [u8; 8]) -> Self {
        Self((u64::from_be_bytes(bytes) ^ (1 << 63)).cast_signed())
    }
}

/// Whole milliseconds of a duration, at most `i64::MAX`.
pub(crate) fn duration_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::MIN => f.write_str("-inf"),
            Self::MAX => f.write_str("+inf"),
            Self(ms) => write!(f, "{ms}"),
        }
    }
}

/// Which clock a timer or a window follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum TimeDomain {
    /// The time the events carry; it moves when a watermark comes.
    Event,
    /// The clock on the wall; it moves when the loop says so.
    Processing,
}

impl TimeDomain {
    /// Whether a timer for `at` is due when this domain has `reached` an instant.
    ///
    /// An event timer is due with the watermark *at* it, a processing timer when the clock has gone
    /// *past* it: Flink's `SystemProcessingTimeService` runs a timer for T at T + 1 ms, so that no
    /// more elements of T can come.
    pub fn is_due(self, at: Timestamp, reached: Timestamp) -> bool {
        match self {
            Self::Event => at <= reached,
            Self::Processing => at < reached,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordered_bytes_sort_as_the_timestamps() {
        let all = [i64::MIN, i64::MIN + 1, -1, 0, 1, 255, 256, i64::MAX].map(Timestamp);
        for pair in all.windows(2) {
            assert!(pair[0].to_ordered_bytes() < pair[1].to_ordered_bytes());
        }
        for t in all {
            assert_eq!(Timestamp::from_ordered_bytes(t.to_ordered_bytes()), t);
        }
    }

    #[test]
    fn arithmetic_stops_at_the_ends() {
        assert_eq!(Timestamp::MIN.saturating_sub(Duration::MAX), Timestamp::MIN);
        assert_eq!(Timestamp::MAX.saturating_add(Duration::MAX), Timestamp::MAX);
        assert_eq!(Timestamp::MAX.millis_since(Timestamp::MIN), i64::MAX);
        assert_eq!(Timestamp::MIN.millis_since(Timestamp::MAX), i64::MIN);
    }

    #[test]
    fn a_processing_timer_waits_for_the_next_millisecond() {
        let at = Timestamp(10);
        assert!(TimeDomain::Event.is_due(at, at));
        assert!(!TimeDomain::Processing.is_due(at, at));
        assert!(TimeDomain::Processing.is_due(at, Timestamp(11)));
    }
}
