//! When a window fires, and whether it keeps its contents then.

mod continuous;

pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};

use super::Window;
use crate::{TimeDomain, Timestamp};
use std::{collections::BTreeSet, fmt::Debug};

/// What a trigger wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TriggerAction {
    /// Nothing.
    Continue,
    /// Give the result, keep the contents.
    Fire,
    /// Drop the contents.
    Purge,
    /// Give the result, then drop the contents.
    FireAndPurge,
}

impl TriggerAction {
    pub(crate) const fn fires(self) -> bool {
        matches!(self, Self::Fire | Self::FireAndPurge)
    }

    pub(crate) const fn purges(self) -> bool {
        matches!(self, Self::Purge | Self::FireAndPurge)
    }
}

/// What a trigger may keep for a window of a key. Merging windows add their counts up and take the
/// earlier of their instants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct TriggerState {
    /// Anything counted.
    pub count: u64,
    /// The instant of the next firing, if one is planned.
    pub next_fire: Option<Timestamp>,
}

impl TriggerState {
    pub(crate) fn merge(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.next_fire = match (self.next_fire, other.next_fire) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
    }
}

/// A timer of one window of a key.
pub(crate) type WindowTimer = (TimeDomain, Timestamp, Window);

/// What a trigger sees of the window at hand.
#[derive(Debug)]
pub struct TriggerContext<'a> {
    pub(crate) watermark: Timestamp,
    pub(crate) processing_time: Timestamp,
    pub(crate) window: Window,
    pub(crate) state: &'a mut TriggerState,
    pub(crate) timers: &'a mut BTreeSet<WindowTimer>,
}

impl TriggerContext<'_> {
    /// The current watermark, [`Timestamp::MIN`] before the first.
    pub const fn watermark(&self) -> Timestamp {
        self.watermark
    }

    /// The clock.
    pub const fn processing_time(&self) -> Timestamp {
        self.processing_time
    }

    /// What the trigger keeps for this window.
    pub const fn state(&mut self) -> &mut TriggerState {
        self.state
    }

    /// Asks for [`Trigger::on_timer`] for this window at an instant.
    pub fn register(&mut self, domain: TimeDomain, at: Timestamp) {
        self.timers.insert((domain, at, self.window));
    }

    /// Takes that back.
    pub fn delete(&mut self, domain: TimeDomain, at: Timestamp) {
        self.timers.remove(&(domain, at, self.window));
    }
}

/// Decides when a window fires. Holds no state of its own: one value serves every key and window, what
/// it must remember is in [`TriggerContext::state`].
pub trait Trigger: Debug + Send + Sync + 'static {
    /// An element with the timestamp `at` was added.
    fn on_element(
        &self,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction;

    /// A timer registered for this window is due.
    fn on_timer(
        &self,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction;

    /// Sessions became this `window`; their states are merged in `cx`, their timers are not.
    fn on_merge(&self, window: Window, cx: &mut TriggerContext<'_>);

    /// The window goes away: delete what is registered. The state is dropped anyway.
    fn clear(&self, window: Window, cx: &mut TriggerContext<'_>);
}

/// Fires when the watermark passes the window's end, and at once for elements later than that. The
/// default of event-time windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventTimeTrigger;

impl Trigger for EventTimeTrigger {
    fn on_element(
        &self,
        _at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if window.max_timestamp() <= cx.watermark() {
            return TriggerAction::Fire;
        }
        cx.register(TimeDomain::Event, window.max_timestamp());
        TriggerAction::Continue
    }

    fn on_timer(
        &self,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        if domain == TimeDomain::Event && at == window.max_timestamp() {
            TriggerAction::Fire
        } else {
            TriggerAction::Continue
        }
    }

    fn on_merge(&self, window: Window, cx: &mut TriggerContext<'_>) {
        // Otherwise the element that caused the merge fires it.
        if window.max_timestamp() > cx.watermark() {
            cx.register(TimeDomain::Event, window.max_timestamp());
        }
    }

    fn clear(&self, window: Window, cx: &mut TriggerContext<'_>) {
        cx.delete(TimeDomain::Event, window.max_timestamp());
    }
}

/// Fires when the clock passes the window's end. The default of processing-time windows.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessingTimeTrigger;

impl Trigger for ProcessingTimeTrigger {
    fn on_element(
        &self,
        _at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        cx.register(TimeDomain::Processing, window.max_timestamp());
        TriggerAction::Continue
    }

    fn on_timer(
        &self,
        domain: TimeDomain,
        _at: Timestamp,
        _window: Window,
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        match domain {
            TimeDomain::Processing => TriggerAction::Fire,
            TimeDomain::Event => TriggerAction::Continue,
        }
    }

    fn on_merge(&self, window: Window, cx: &mut TriggerContext<'_>) {
        if window.max_timestamp() > cx.processing_time() {
            cx.register(TimeDomain::Processing, window.max_timestamp());
        }
    }

    fn clear(&self, window: Window, cx: &mut TriggerContext<'_>) {
        cx.delete(TimeDomain::Processing, window.max_timestamp());
    }
}

/// Never fires. The default of the global window.
#[derive(Debug, Clone, Copy, Default)]
pub struct NeverTrigger;

impl Trigger for NeverTrigger {
    fn on_element(
        &self,
        _at: Timestamp,
        _window: Window,
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        TriggerAction::Continue
    }

    fn on_timer(
        &self,
        _domain: TimeDomain,
        _at: Timestamp,
        _window: Window,
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        TriggerAction::Continue
    }

    fn on_merge(&self, _window: Window, _cx: &mut TriggerContext<'_>) {}

    fn clear(&self, _window: Window, _cx: &mut TriggerContext<'_>) {}
}

/// Fires at every n-th element. It takes the place of the default trigger: the end of the window then
/// means nothing but clean-up.
#[derive(Debug, Clone, Copy)]
pub struct CountTrigger {
    n: u64,
}

impl CountTrigger {
    /// Fires at every `n`-th element (0 is taken as 1).
    pub const fn new(n: u64) -> Self {
        Self { n }
    }
}

impl Trigger for CountTrigger {
    fn on_element(
        &self,
        _at: Timestamp,
        _window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        cx.state.count = cx.state.count.saturating_add(1);
        if cx.state.count >= self.n {
            cx.state.count = 0;
            TriggerAction::Fire
        } else {
            TriggerAction::Continue
        }
    }

    fn on_timer(
        &self,
        _domain: TimeDomain,
        _at: Timestamp,
        _window: Window,
        _cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        TriggerAction::Continue
    }

    fn on_merge(&self, _window: Window, _cx: &mut TriggerContext<'_>) {}

    fn clear(&self, _window: Window, _cx: &mut TriggerContext<'_>) {}
}

/// Makes another trigger drop the contents whenever it fires.
#[derive(Debug)]
pub struct PurgingTrigger {
    inner: Box<dyn Trigger>,
}

impl PurgingTrigger {
    /// Fires when `inner` does, and purges.
    pub fn new(inner: impl Trigger) -> Self {
        Self::from_boxed(Box::new(inner))
    }

    /// The same for a trigger chosen at run time.
    pub fn from_boxed(inner: Box<dyn Trigger>) -> Self {
        Self { inner }
    }
}

fn purging(action: TriggerAction) -> TriggerAction {
    if action.fires() {
        TriggerAction::FireAndPurge
    } else {
        action
    }
}

impl Trigger for PurgingTrigger {
    fn on_element(
        &self,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        purging(self.inner.on_element(at, window, cx))
    }

    fn on_timer(
        &self,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        cx: &mut TriggerContext<'_>,
    ) -> TriggerAction {
        purging(self.inner.on_timer(domain, at, window, cx))
    }

    fn on_merge(&self, window: Window, cx: &mut TriggerContext<'_>) {
        self.inner.on_merge(window, cx);
    }

    fn clear(&self, window: Window, cx: &mut TriggerContext<'_>) {
        self.inner.clear(window, cx);
    }
}
