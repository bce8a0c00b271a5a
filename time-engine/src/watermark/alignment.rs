//! Holding the fast back until the slow have caught up.

use super::Watermark;
use crate::Timestamp;
use std::{collections::BTreeMap, time::Duration};

/// Whether to go on reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Read on.
    Go,
    /// Too far ahead of the slowest: wait for the next report.
    Hold,
}

/// Keeps the members of a group (sources, or splits of one) within a drift of the slowest: Flink's
/// watermark alignment.
///
/// Without it, who reads a fast split and a slow one buffers everything the fast one is ahead. The
/// bound is on watermarks, so what is ahead is at most the drift plus what one member reads between two
/// looks.
///
/// ```
/// use std::time::Duration;
/// use time_engine::Watermark;
/// use time_engine::watermark::{Alignment, Pace};
///
/// let mut group = Alignment::new(Duration::from_secs(20));
/// group.report("fast", Watermark::from_millis(100_000));
/// group.report("slow", Watermark::from_millis(70_000));
/// assert_eq!(group.pace(Watermark::from_millis(100_000)), Pace::Hold);
/// group.leave(&"slow"); // idle or finished
/// assert_eq!(group.pace(Watermark::from_millis(100_000)), Pace::Go);
/// ```
#[derive(Debug, Clone)]
pub struct Alignment<S> {
    max_drift: Duration,
    members: BTreeMap<S, Watermark>,
}

impl<S: Ord> Alignment<S> {
    /// Members may be `max_drift` ahead of the slowest.
    pub const fn new(max_drift: Duration) -> Self {
        Self {
            max_drift,
            members: BTreeMap::new(),
        }
    }

    /// A member stands at `watermark`. One that has not seen anything holds everybody back, so it
    /// reports [`Watermark::MIN`] when it starts.
    pub fn report(&mut self, member: S, watermark: Watermark) {
        self.members.insert(member, watermark);
    }

    /// A member went idle or finished: nobody waits for it.
    pub fn leave(&mut self, member: &S) {
        self.members.remove(member);
    }

    /// The farthest a member may be; `None` when there is nobody to wait for.
    pub fn limit(&self) -> Option<Timestamp> {
        let slowest = self.members.values().min()?;
        Some(slowest.timestamp().saturating_add(self.max_drift))
    }

    /// What who stands at `watermark` should do.
    pub fn pace(&self, watermark: Watermark) -> Pace {
        match self.limit() {
            Some(limit) if watermark.timestamp() > limit => Pace::Hold,
            _ => Pace::Go,
        }
    }
}
