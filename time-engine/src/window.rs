//! Windows over time: what they are, when they fire, what they keep.

mod aggregate;
mod assigner;
mod context;
mod engine;
mod evictor;
mod plain;
mod shared;
mod spec;
mod trigger;
mod wake;

pub use aggregate::{
    Aggregate, Collect, Count, Max, Min, Reduce, Stats, StatsAcc, Sum, Timestamped,
};
pub use assigner::WindowAssigner;
pub use context::{AccOf, Fired, KeyedWindows, WindowContext};
pub use engine::{Output, WindowEngine};
pub use evictor::{CountEvictor, DeltaEvictor, EvictAt, Evictor, TimeEvictor};
pub use plain::{PlainState, PlainWindows};
pub use shared::{Firing, SharedState, SharedWindows};
pub use spec::WindowSpec;
pub use trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, EventTimeTrigger,
    NeverTrigger, ProcessingTimeTrigger, PurgingTrigger, Trigger, TriggerAction, TriggerContext,
    TriggerState,
};

use crate::Timestamp;
use std::fmt;

/// The half-open span `[start, end)` of a window.
///
/// Its last instant is `end - 1` ([`Window::max_timestamp`]); that is when it fires and what its
/// results carry. As in Flink an end past [`Timestamp::MAX`] wraps round, so a window at the very end
/// of time has its last instant far in the past and fires at the next watermark.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Window {
    start: Timestamp,
    end: Timestamp,
}

impl Window {
    /// The one window of all time, of [`WindowSpec::global`]. Its last instant is
    /// [`Timestamp::MAX`]; its end cannot be expressed.
    pub const GLOBAL: Self = Self::new(Timestamp::MIN, Timestamp::MIN);

    /// The span from `start` to just before `end`.
    pub const fn new(start: Timestamp, end: Timestamp) -> Self {
        Self { start, end }
    }

    pub(crate) const fn from_millis(start: i64, end: i64) -> Self {
        Self::new(Timestamp::from_millis(start), Timestamp::from_millis(end))
    }

    /// The first instant in the window.
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// The first instant after the window.
    pub const fn end(self) -> Timestamp {
        self.end
    }

    /// The last instant in the window.
    pub const fn max_timestamp(self) -> Timestamp {
        Timestamp::from_millis(self.end.as_millis().wrapping_sub(1))
    }

    /// Whether the two overlap or touch: what makes sessions one.
    pub fn intersects(self, other: Self) -> bool {
        self.start <= other.end && self.end >= other.start
    }

    /// The smallest window that has both.
    #[must_use]
    pub fn cover(self, other: Self) -> Self {
        Self::new(self.start.min(other.start), self.end.max(other.end))
    }
}

impl fmt::Debug for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::GLOBAL {
            f.write_str("global")
        } else {
            write!(f, "[{}, {})", self.start, self.end)
        }
    }
}

/// Flink's `getWindowStartWithOffset`, wrap-around included: the last multiple of `step` plus `offset`
/// that is not after `at`.
pub(crate) const fn window_start(at: i64, offset: i64, step: i64) -> i64 {
    let remainder = at.wrapping_sub(offset).wrapping_rem(step);
    if remainder < 0 {
        at.wrapping_sub(remainder.wrapping_add(step))
    } else {
        at.wrapping_sub(remainder)
    }
}
