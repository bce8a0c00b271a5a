//! Timers: ordered, de-duplicated, deletable, in two time domains.

use crate::{TimeDomain, Timestamp};
use std::collections::BTreeSet;

/// "Call this key back at that instant."
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Timer<K> {
    /// When it is due.
    pub at: Timestamp,
    /// Whom it is for: a key, or a key with a namespace such as a window.
    pub key: K,
}

impl<K> Timer<K> {
    /// A timer of `key` for `at`.
    pub const fn new(at: Timestamp, key: K) -> Self {
        Self { at, key }
    }
}

/// The pending timers of many keys, as Flink's `InternalTimerService` keeps them.
///
/// There is at most one timer for a domain, instant and key; the two domains know nothing of each
/// other. Due timers come in the order of their instants, equal ones in the order of their keys, so
/// a run repeats exactly (Flink leaves that order open).
///
/// The loop that owns it decides when time moves:
///
/// ```
/// use time_engine::{TimeDomain::Event, Timer, TimerService, Timestamp};
///
/// let mut timers = TimerService::new();
/// let at = Timestamp::from_millis;
/// assert!(timers.register(Event, Timer::new(at(10), "ann")));
/// assert!(!timers.register(Event, Timer::new(at(10), "ann")), "already there");
/// timers.register(Event, Timer::new(at(30), "bob"));
///
/// let mut fired = Vec::new();
/// while let Some(timer) = timers.pop_due(Event, at(20)) {
///     if timer.at == at(10) {
///         timers.register(Event, Timer::new(at(5), "cid")); // in the past: within this advance
///     }
///     fired.push((timer.at.as_millis(), timer.key));
/// }
/// assert_eq!(fired, [(10, "ann"), (5, "cid")]);
/// ```
///
/// Cost: O(log n) for each call, and next to nothing at the two ends of the order, where timeouts are
/// registered and due timers are taken. Memory is the key plus 8 bytes a timer, plus a third.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "K: serde::Serialize",
        deserialize = "K: Ord + serde::Deserialize<'de>"
    ))
)]
pub struct TimerService<K> {
    event: BTreeSet<Timer<K>>,
    processing: BTreeSet<Timer<K>>,
}

impl<K> Default for TimerService<K> {
    fn default() -> Self {
        Self {
            event: BTreeSet::new(),
            processing: BTreeSet::new(),
        }
    }
}

impl<K: Ord> TimerService<K> {
    /// No timers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a timer; `false` if it is already there.
    ///
    /// An instant in the past is legal: the timer is due at the next advance of its domain, even one
    /// that stays where it is.
    pub fn register(&mut self, domain: TimeDomain, timer: Timer<K>) -> bool {
        self.domain_mut(domain).insert(timer)
    }

    /// Takes a timer away; `false` if it was not there.
    pub fn delete(&mut self, domain: TimeDomain, timer: &Timer<K>) -> bool {
        self.domain_mut(domain).remove(timer)
    }

    /// Takes out the earliest timer that is due when its domain has `reached` an instant: the
    /// watermark for [`TimeDomain::Event`], the clock for [`TimeDomain::Processing`] (see
    /// [`TimeDomain::is_due`]).
    ///
    /// Call it until it gives `None`. The timer is gone before its callback runs, so the callback may
    /// register it again; whatever a callback registers at or below `reached` comes in the same
    /// advance.
    pub fn pop_due(&mut self, domain: TimeDomain, reached: Timestamp) -> Option<Timer<K>> {
        let timers = self.domain_mut(domain);
        let first = timers.first()?;
        if domain.is_due(first.at, reached) {
            timers.pop_first()
        } else {
            None
        }
    }

    /// When the earliest timer of a domain is due; what a loop sleeps until.
    pub fn next(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.domain(domain).first().map(|timer| timer.at)
    }

    /// Whether this timer is pending.
    pub fn contains(&self, domain: TimeDomain, timer: &Timer<K>) -> bool {
        self.domain(domain).contains(timer)
    }

    /// How many timers are pending in a domain.
    pub fn len(&self, domain: TimeDomain) -> usize {
        self.domain(domain).len()
    }

    /// Whether nothing is pending in either domain.
    pub fn is_empty(&self) -> bool {
        self.event.is_empty() && self.processing.is_empty()
    }

    /// The pending timers of a domain in the order they will fire. For a snapshot by key group,
    /// group what this yields; [`Extend`] puts timers back.
    pub fn iter(&self, domain: TimeDomain) -> impl ExactSizeIterator<Item = &Timer<K>> {
        self.domain(domain).iter()
    }

    /// Keeps the timers that `keep` wants, in both domains: the key groups that stay here when the
    /// job is rescaled.
    pub fn retain(&mut self, mut keep: impl FnMut(TimeDomain, &Timer<K>) -> bool) {
        self.event.retain(|timer| keep(TimeDomain::Event, timer));
        self.processing
            .retain(|timer| keep(TimeDomain::Processing, timer));
    }

    fn domain(&self, domain: TimeDomain) -> &BTreeSet<Timer<K>> {
        match domain {
            TimeDomain::Event => &self.event,
            TimeDomain::Processing => &self.processing,
        }
    }

    fn domain_mut(&mut self, domain: TimeDomain) -> &mut BTreeSet<Timer<K>> {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }
}

/// Puts timers of a snapshot back, in any order.
impl<K: Ord> Extend<(TimeDomain, Timer<K>)> for TimerService<K> {
    fn extend<I: IntoIterator<Item = (TimeDomain, Timer<K>)>>(&mut self, timers: I) {
        for (domain, timer) in timers {
            self.register(domain, timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use TimeDomain::{Event, Processing};

    fn timer(at: i64, key: u32) -> Timer<u32> {
        Timer::new(Timestamp::from_millis(at), key)
    }

    fn drain(timers: &mut TimerService<u32>, domain: TimeDomain, reached: i64) -> Vec<(i64, u32)> {
        std::iter::from_fn(|| timers.pop_due(domain, Timestamp::from_millis(reached)))
            .map(|t| (t.at.as_millis(), t.key))
            .collect()
    }

    #[test]
    fn due_timers_come_in_order_and_once() {
        let mut timers = TimerService::new();
        for (at, key) in [(30, 1), (10, 2), (20, 1), (10, 1), (10, 2)] {
            timers.register(Event, timer(at, key));
        }
        assert_eq!(drain(&mut timers, Event, 9), []);
        assert_eq!(drain(&mut timers, Event, 20), [(10, 1), (10, 2), (20, 1)]);
        assert_eq!(timers.next(Event), Some(Timestamp::from_millis(30)));
        assert_eq!(drain(&mut timers, Event, i64::MAX), [(30, 1)]);
        assert!(timers.is_empty());
    }

    #[test]
    fn domains_are_apart_and_deletion_is_exact() {
        let mut timers = TimerService::new();
        timers.register(Event, timer(10, 1));
        timers.register(Processing, timer(10, 1));
        assert!(!timers.delete(Event, &timer(11, 1)));
        assert!(!timers.delete(Event, &timer(10, 2)));
        assert!(timers.delete(Event, &timer(10, 1)));
        assert_eq!(drain(&mut timers, Event, 100), []);
        assert_eq!(drain(&mut timers, Processing, 10), []);
        assert_eq!(drain(&mut timers, Processing, 11), [(10, 1)]);
    }

    #[test]
    fn extremes_are_ordinary_instants() {
        let mut timers = TimerService::new();
        timers.register(Event, timer(i64::MAX, 1));
        timers.register(Event, timer(i64::MIN, 2));
        assert_eq!(drain(&mut timers, Event, i64::MAX - 1), [(i64::MIN, 2)]);
        assert_eq!(drain(&mut timers, Event, i64::MAX), [(i64::MAX, 1)]);
    }

    #[test]
    fn a_snapshot_by_group_goes_back_where_it_came_from() {
        let mut timers = TimerService::new();
        for at in 0..100 {
            timers.register(Event, timer(at % 7, u32::try_from(at).unwrap()));
        }
        let mut parts = [TimerService::new(), TimerService::new()];
        for timer in timers.iter(Event) {
            parts[usize::from(timer.key % 2 == 1)].extend([(Event, timer.clone())]);
        }
        let mut kept = timers.clone();
        kept.retain(|_, timer| timer.key % 2 == 1);
        assert_eq!(
            drain(&mut kept, Event, i64::MAX),
            drain(&mut parts[1], Event, i64::MAX)
        );
        assert_eq!(parts[0].len(Event), 50);
    }
}
