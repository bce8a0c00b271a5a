//! Windows as Flink evaluates them: each window keeps its own contents.

mod merge;

use super::{
    Aggregate, EventTimeTrigger, EvictAt, Evictor, Fired, KeyedWindows, NeverTrigger,
    ProcessingTimeTrigger, Trigger, TriggerAction, TriggerContext, TriggerState, Window,
    WindowContext, WindowSpec, assigner::Assigner, trigger::WindowTimer, wake::Wake,
};
use crate::{Result, TimeDomain, Timestamp};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

/// One specification, each window for itself: Flink's `WindowOperator` and `EvictingWindowOperator`.
///
/// It takes every kind of assigner, trigger and evictor. An element costs one update for each window it
/// is in; where windows overlap, [`super::SharedWindows`] gives the same results at a cost that does
/// not grow with the overlap.
pub struct PlainWindows<A: Aggregate> {
    aggregate: A,
    rules: Rules<A>,
}

impl<A: Aggregate + fmt::Debug> fmt::Debug for PlainWindows<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlainWindows")
            .field("aggregate", &self.aggregate)
            .field("spec", &self.rules.spec)
            .finish()
    }
}

impl<A: Aggregate> PlainWindows<A> {
    /// Windows of `spec` that compute `aggregate`.
    ///
    /// # Errors
    /// A specification that cannot be, or more than a million windows for an element.
    pub fn new(aggregate: A, spec: WindowSpec<A>) -> Result<Self> {
        spec.check()?;
        spec.check_overlap()?;
        Ok(Self {
            aggregate,
            rules: Rules::new(spec, 0),
        })
    }
}

/// What the windows of one key keep. Plain data: whoever holds it may write it down.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PlainState<Acc> {
    pub(super) panes: Panes<Acc>,
    wake: Wake,
}

impl<Acc> Default for PlainState<Acc> {
    fn default() -> Self {
        Self {
            panes: Panes::default(),
            wake: Wake::default(),
        }
    }
}

impl<Acc> PlainState<Acc> {
    /// How many windows have contents or a trigger's memory.
    pub fn windows(&self) -> usize {
        self.panes.windows.len()
    }
}

impl<A: Aggregate> KeyedWindows for PlainWindows<A> {
    type Aggregate = A;
    type State = PlainState<A::Acc>;

    fn aggregate(&self) -> &A {
        &self.aggregate
    }

    fn on_element<C: WindowContext<A::Acc>>(
        &self,
        state: &mut Self::State,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) -> Result<()> {
        let taken = self
            .rules
            .on_element(&self.aggregate, &mut state.panes, at, value, cx);
        follow(&mut state.wake, &state.panes, cx);
        if taken? == Taken::Late {
            cx.late(self.rules.index);
        }
        Ok(())
    }

    fn on_timer<C: WindowContext<A::Acc>>(
        &self,
        state: &mut Self::State,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut C,
    ) {
        state.wake.fired(domain, at);
        self.rules.on_timer(&mut state.panes, domain, at, cx);
        follow(&mut state.wake, &state.panes, cx);
    }

    fn is_empty(&self, state: &Self::State) -> bool {
        state.panes.is_empty()
    }

    fn next_call(&self, state: &Self::State, domain: TimeDomain) -> Option<Timestamp> {
        state.wake.at(domain)
    }
}

fn follow<Acc, C: WindowContext<Acc>>(wake: &mut Wake, panes: &Panes<Acc>, cx: &mut C) {
    for domain in [TimeDomain::Event, TimeDomain::Processing] {
        wake.want(domain, panes.next_timer(domain), cx);
    }
}

/// The contents and timers of the windows of one key under one specification.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Panes<Acc> {
    /// Ordered by start, so that the neighbours of a session are next to it. Sessions never touch.
    windows: BTreeMap<Window, Pane<Acc>>,
    /// Timers of a window that is gone do nothing, as in Flink.
    timers: BTreeSet<WindowTimer>,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Pane<Acc> {
    /// `None` before the first element and after a purge: such a window does not fire.
    contents: Option<Acc>,
    trigger: TriggerState,
}

impl<Acc> Default for Pane<Acc> {
    fn default() -> Self {
        Self {
            contents: None,
            trigger: TriggerState::default(),
        }
    }
}

impl<Acc> Default for Panes<Acc> {
    fn default() -> Self {
        Self {
            windows: BTreeMap::new(),
            timers: BTreeSet::new(),
        }
    }
}

impl<Acc> Panes<Acc> {
    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.timers.is_empty()
    }

    pub(super) fn next_timer(&self, domain: TimeDomain) -> Option<Timestamp> {
        self.timers
            .range((domain, Timestamp::MIN, Window::GLOBAL)..)
            .next()
            .filter(|timer| timer.0 == domain)
            .map(|timer| timer.1)
    }
}

/// What became of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is in a window, or in a gap between windows that time has not passed.
    Placed,
    /// It is in no window, and behind the watermark.
    Late,
}

/// A specification ready to run. Apart from the panes, so that one state can hold several.
pub(super) struct Rules<A: Aggregate> {
    pub(super) spec: WindowSpec<A>,
    trigger: Arc<dyn Trigger>,
    pub(super) index: usize,
}

impl<A: Aggregate> Rules<A> {
    pub(super) fn new(spec: WindowSpec<A>, index: usize) -> Self {
        let trigger = spec.trigger.clone().unwrap_or_else(|| {
            match (&spec.assigner, spec.assigner.domain()) {
                (Assigner::Global, _) => Arc::new(NeverTrigger),
                (_, TimeDomain::Event) => Arc::new(EventTimeTrigger) as Arc<dyn Trigger>,
                (_, TimeDomain::Processing) => Arc::new(ProcessingTimeTrigger),
            }
        });
        Self {
            spec,
            trigger,
            index,
        }
    }

    /// The last instant at which the window is still of use. Its state goes when time gets there.
    fn cleanup_time(&self, window: Window) -> Timestamp {
        let end = window.max_timestamp();
        match self.spec.assigner.domain() {
            TimeDomain::Event => {
                Timestamp::from_millis(end.as_millis().saturating_add(self.spec.lateness))
            }
            TimeDomain::Processing => end,
        }
    }

    /// A late element is one whose window's `max_timestamp + allowed_lateness <= watermark`.
    pub(super) fn is_late(&self, window: Window, watermark: Timestamp) -> bool {
        self.spec.assigner.domain() == TimeDomain::Event && self.cleanup_time(window) <= watermark
    }

    /// Flink's test for an element that got into no window; the sum wraps round, as Java's does.
    pub(super) fn is_element_late(&self, at: Timestamp, watermark: Timestamp) -> bool {
        self.spec.assigner.domain() == TimeDomain::Event
            && at.as_millis().wrapping_add(self.spec.lateness) <= watermark.as_millis()
    }

    pub(super) fn on_element<C: WindowContext<A::Acc>>(
        &self,
        aggregate: &A,
        panes: &mut Panes<A::Acc>,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) -> Result<Taken> {
        let mut skipped = true;
        for window in self.spec.assigner.assign(value, at, cx.processing_time())? {
            let window = if self.spec.assigner.merges() {
                self.merge_in(aggregate, panes, window, cx)?
            } else {
                window
            };
            if self.is_late(window, cx.watermark()) {
                if self.spec.assigner.merges() {
                    panes.windows.remove(&window);
                }
                continue;
            }
            skipped = false;
            self.add(aggregate, panes, window, at, value, cx);
        }
        Ok(if skipped && self.is_element_late(at, cx.watermark()) {
            Taken::Late
        } else {
            Taken::Placed
        })
    }

    /// Adds an element to one window that is not late.
    pub(super) fn add<C: WindowContext<A::Acc>>(
        &self,
        aggregate: &A,
        panes: &mut Panes<A::Acc>,
        window: Window,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) {
        let pane = panes.windows.entry(window).or_default();
        let contents = pane.contents.get_or_insert_with(|| aggregate.create());
        aggregate.add(contents, value, at);
        let action = self.trigger.on_element(
            at,
            window,
            &mut trigger_context(window, &mut pane.trigger, &mut panes.timers, cx),
        );
        self.apply(action, pane, window, cx);
        if !self.spec.assigner.merges() && pane.is_trivial() {
            panes.windows.remove(&window);
        }
        let cleanup = self.cleanup_time(window);
        // A window that lives to the end of time is never cleaned up.
        if cleanup != Timestamp::MAX {
            let domain = self.spec.assigner.domain();
            panes.timers.insert((domain, cleanup, window));
        }
    }

    pub(super) fn on_timer<C: WindowContext<A::Acc>>(
        &self,
        panes: &mut Panes<A::Acc>,
        domain: TimeDomain,
        upto: Timestamp,
        cx: &mut C,
    ) {
        while let Some(at) = panes.next_timer(domain).filter(|at| *at <= upto) {
            let first = panes
                .timers
                .range((domain, at, Window::GLOBAL)..)
                .next()
                .copied();
            let Some(timer @ (_, at, window)) = first else {
                break;
            };
            panes.timers.remove(&timer);
            self.on_window_timer(panes, domain, at, window, cx);
        }
    }

    fn on_window_timer<C: WindowContext<A::Acc>>(
        &self,
        panes: &mut Panes<A::Acc>,
        domain: TimeDomain,
        at: Timestamp,
        window: Window,
        cx: &mut C,
    ) {
        let merges = self.spec.assigner.merges();
        let mut pane = match panes.windows.remove(&window) {
            Some(pane) => pane,
            // A timer of a session that was merged away.
            None if merges => return,
            None => Pane::default(),
        };
        let timers = &mut panes.timers;
        let action = self.trigger.on_timer(
            domain,
            at,
            window,
            &mut trigger_context(window, &mut pane.trigger, timers, cx),
        );
        self.apply(action, &mut pane, window, cx);
        if domain == self.spec.assigner.domain() && at == self.cleanup_time(window) {
            let cx = &mut trigger_context(window, &mut pane.trigger, timers, cx);
            self.trigger.clear(window, cx);
        } else if merges || !pane.is_trivial() {
            panes.windows.insert(window, pane);
        }
    }

    fn apply<C: WindowContext<A::Acc>>(
        &self,
        action: TriggerAction,
        pane: &mut Pane<A::Acc>,
        window: Window,
        cx: &mut C,
    ) {
        if action.fires()
            && let Some(contents) = &mut pane.contents
        {
            let mut left = 1;
            let mut evict = |when: EvictAt, contents: &mut A::Acc| {
                if let Some(evictor) = self.evictor_at(when) {
                    left = evictor.evict(contents, window);
                }
            };
            evict(EvictAt::Before, contents);
            cx.emit(Fired {
                spec: self.index,
                window,
                contents,
            });
            evict(EvictAt::After, contents);
            if left == 0 {
                pane.contents = None;
            }
        }
        if action.purges() {
            pane.contents = None;
        }
    }

    fn evictor_at(&self, when: EvictAt) -> Option<&dyn Evictor<A::Acc>> {
        self.spec
            .evictor
            .as_deref()
            .filter(|evictor| evictor.at() == when)
    }
}

impl<Acc> Pane<Acc> {
    /// Whether dropping it loses nothing.
    fn is_trivial(&self) -> bool {
        self.contents.is_none() && self.trigger == TriggerState::default()
    }
}

fn trigger_context<'a, Acc, C: WindowContext<Acc>>(
    window: Window,
    state: &'a mut TriggerState,
    timers: &'a mut BTreeSet<WindowTimer>,
    cx: &C,
) -> TriggerContext<'a> {
    TriggerContext {
        watermark: cx.watermark(),
        processing_time: cx.processing_time(),
        window,
        state,
        timers,
    }
}
