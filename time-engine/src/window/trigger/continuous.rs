//! Triggers that fire again and again within a window.

use super::{Trigger, TriggerAction, TriggerContext};
use crate::{Error, Result, TimeDomain, Timestamp, window::Window};
use std::time::Duration;

/// How many points of a continuous trigger one advance of time may go through one by one. Beyond it
/// the trigger goes on at the last point that has been reached; Flink would fire for each, which on
/// the final watermark of a global window takes longer than anyone waits.
const MAX_POINTS: i64 = 1 << 20;

fn checked_interval(interval: Duration) -> Result<i64> {
    let value = crate::timestamp::duration_millis(interval);
    if value > 0 {
        Ok(value)
    } else {
        Err(Error::Invalid {
            what: "interval",
            must: "be at least a millisecond",
            value,
        })
    }
}

/// Plans the next point of a continuous trigger and gives it.
fn plan_next(
    domain: TimeDomain,
    from: i64,
    interval: i64,
    window: Window,
    cx: &mut TriggerContext<'_>,
) {
    let next = Timestamp::from_millis(from.saturating_add(interval)).min(window.max_timestamp());
    // Reducing state with the minimum, as in Flink.
    let next = cx.state.next_fire.map_or(next, |planned| planned.min(next));
    cx.state.next_fire = Some(next);
    cx.register(domain, next);
}

/// The point to go on from when time has `reached` far beyond `at`.
fn skip_far(at: Timestamp, interval: i64, reached: Timestamp, window: Window) -> i64 {
    let points = reached.min(window.max_timestamp()).millis_since(at) / interval;
    if points > MAX_POINTS {
        at.as_millis().saturating_add((points - 1) * interval)
    } else {
        at.as_millis()
    }
}

/// Fires at the multiples of an interval as the watermark passes them, and at the window's end.
///
/// The first point after an element at `t` is `t - t % interval + interval` with Java's `%`, which
/// truncates: before 1970 the points lie differently.
#[derive(Debug, Clone, Copy)]
pub struct ContinuousEventTimeTrigger {
    interval: i64,
}

impl ContinuousEventTimeTrigger {
    /// Fires every `interval`.
    ///
    /// # Errors
    /// An interval below a millisecond.
    pub fn new(interval: Duration) -> Result<Self> {
        checked_interval(interval).map(|interval| Self { interval })
    }
}

impl Trigger for ContinuousEventTimeTrigger {
    fn on_element(
        &self,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if window.max_timestamp() <= cx.watermark() {
            return TriggerAction::Fire;
        }
        cx.register(TimeDomain::Event, window.max_timestamp());
        if cx.state.next_fire.is_none() {
            let at = at.as_millis();
            let from = at.wrapping_sub(at % self.interval);
            plan_next(TimeDomain::Event, from, self.interval, window, cx);
        }
        TriggerAction::Continue
    }

    fn on_timer(
        &self,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if domain == TimeDomain::Processing {
            return TriggerAction::Continue;
        }
        if at == window.max_timestamp() {
            return TriggerAction::Fire;
        }
        if cx.state.next_fire == Some(at) {
            cx.state.next_fire = None;
            let from = skip_far(at, self.interval, cx.watermark(), window);
            plan_next(TimeDomain::Event, from, self.interval, window, cx);
            return TriggerAction::Fire;
        }
        TriggerAction::Continue
    }

    fn on_merge(&self, _window: Window, cx: &mut TriggerContext<'_>) {
        if let Some(next) = cx.state.next_fire {
            cx.register(TimeDomain::Event, next);
        }
    }

    fn clear(&self, _window: Window, cx: &mut TriggerContext<'_>) {
        if let Some(next) = cx.state.next_fire.take() {
            cx.delete(TimeDomain::Event, next);
        }
    }
}

/// Fires at the multiples of an interval as the clock passes them, up to the window's end.
#[derive(Debug, Clone, Copy)]
pub struct ContinuousProcessingTimeTrigger {
    interval: i64,
}

impl ContinuousProcessingTimeTrigger {
    /// Fires every `interval`.
    ///
    /// # Errors
    /// An interval below a millisecond.
    pub fn new(interval: Duration) -> Result<Self> {
        checked_interval(interval).map(|interval| Self { interval })
    }
}

impl Trigger for ContinuousProcessingTimeTrigger {
    fn on_element(
        &self,
        _at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if cx.state.next_fire.is_none() {
            let now = cx.processing_time().as_millis();
            let from = now.wrapping_sub(now % self.interval);
            plan_next(TimeDomain::Processing, from, self.interval, window, cx);
        }
        TriggerAction::Continue
    }

    fn on_timer(
        &self,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if domain == TimeDomain::Event || cx.state.next_fire != Some(at) {
            return TriggerAction::Continue;
        }
        cx.state.next_fire = None;
        // At its last instant the window is over: planning that again would never end where the
        // clean-up is not by the clock.
        if at < window.max_timestamp() {
            let from = skip_far(at, self.interval, cx.processing_time(), window);
            plan_next(TimeDomain::Processing, from, self.interval, window, cx);
        }
        TriggerAction::Fire
    }

    fn on_merge(&self, _window: Window, cx: &mut TriggerContext<'_>) {
        if let Some(next) = cx.state.next_fire {
            cx.register(TimeDomain::Processing, next);
        }
    }

    fn clear(&self, _window: Window, cx: &mut TriggerContext<'_>) {
        if let Some(next) = cx.state.next_fire.take() {
            cx.delete(TimeDomain::Processing, next);
        }
    }
}
