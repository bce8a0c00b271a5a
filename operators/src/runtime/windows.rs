//! Windows of each key over keyed state.

use super::event::{Event, Flow, TaskContext};
use super::link::{Link, Next, prefetched};
use super::metrics::add;
use super::snapshot::SnapshotPart;
use super::timers::TimerKey;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::key::KeySelector;
use crate::operator::SubtaskInfo;
use crate::side_output::{OutputTag, SideOutputs};
use crate::window::{Extract, WindowResult};
use state_backend::{
    MaxParallelism, PreparedKey, StateKey, StateStore, ValueDef, ValueState, split_row_key,
};
use std::sync::Arc;
use std::vec::IntoIter;
use time_engine::window::{AccOf, Aggregate, Fired, KeyedWindows, WindowContext};
use time_engine::{TimeDomain, Timer, TimerService, Timestamp};

type ResultOf<K, W> = WindowResult<K, <<W as KeyedWindows>::Aggregate as Aggregate>::Out>;

const STATE: &str = "windows";

/// The windows of a key are one value of keyed state. What calls they wait for follows from it, so the
/// calls are kept in memory only and found again by a scan.
pub(crate) struct WindowLink<T, W: KeyedWindows, S: KeySelector<T>, X> {
    pub(crate) windows: W,
    pub(crate) extract: Arc<X>,
    pub(crate) selector: Arc<S>,
    pub(crate) max: MaxParallelism,
    pub(crate) store: StateStore,
    state: ValueState<W::State>,
    calls: TimerService<TimerKey>,
    changes: Vec<Call>,
    pub(crate) sides: SideOutputs,
    pub(crate) late: Option<OutputTag<T>>,
    pub(crate) info: SubtaskInfo,
    watermark: Timestamp,
    pub(crate) snapshots: SnapshotPart,
    pub(crate) next: Next<ResultOf<S::Key, W>>,
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Schedule(TimeDomain, Timestamp),
    Cancel(TimeDomain, Timestamp),
}

/// What the windows of one key see during a call.
struct Context<'a, K, W: KeyedWindows, F> {
    aggregate: &'a W::Aggregate,
    changes: &'a mut Vec<Call>,
    watermark: Timestamp,
    key: F,
    late: usize,
    next: &'a mut dyn Link<ResultOf<K, W>>,
    cx: &'a mut TaskContext,
}

impl<K, W: KeyedWindows, F: FnMut() -> Option<K>> WindowContext<AccOf<W>> for Context<'_, K, W, F> {
    fn watermark(&self) -> Timestamp {
        self.watermark
    }

    fn processing_time(&self) -> Timestamp {
        self.cx.now
    }

    fn schedule(&mut self, domain: TimeDomain, at: Timestamp) {
        self.changes.push(Call::Schedule(domain, at));
    }

    fn cancel(&mut self, domain: TimeDomain, at: Timestamp) {
        self.changes.push(Call::Cancel(domain, at));
    }

    fn emit(&mut self, fired: Fired<'_, AccOf<W>>) {
        let Some(key) = (self.key)() else { return };
        if self.cx.failure.is_some() {
            return;
        }
        let value = self.aggregate.result(fired.contents);
        let result = WindowResult {
            key,
            spec: fired.spec,
            window: fired.window,
            value,
        };
        let element = Element::at(result, fired.window.max_timestamp());
        if let Err(error) = self.next.element(element, self.cx) {
            self.cx.fail(error);
        }
    }

    fn late(&mut self, _spec: usize) {
        self.late += 1;
    }
}

/// The state of an operator's windows, and the calls that they wait for.
pub(crate) struct RegisteredWindows<T> {
    state: ValueState<T>,
    calls: TimerService<TimerKey>,
}

impl<T: serde::Serialize + serde::de::DeserializeOwned + Send + 'static> RegisteredWindows<T> {
    pub(crate) fn open<K: StateKey>(
        windows: &impl KeyedWindows<State = T>,
        store: &mut StateStore,
    ) -> Result<Self> {
        let max = store.max_parallelism();
        let state: ValueState<T> = store.value(&ValueDef::new(STATE))?;
        let mut calls = TimerService::new();
        let mut damaged = None;
        store.for_each(&state, |row, state| match split_row_key::<K, ()>(row) {
            Ok((key, ..)) => {
                let key = PreparedKey::new(&key, max);
                for domain in [TimeDomain::Event, TimeDomain::Processing] {
                    if let Some(at) = windows.next_call(state, domain) {
                        calls.register(domain, Timer::new(at, TimerKey(key.clone())));
                    }
                }
            }
            Err(error) => damaged = Some(error),
        })?;
        match damaged {
            Some(error) => Err(error.into()),
            None => Ok(Self { state, calls }),
        }
    }
}

impl<T, W, S, X> WindowLink<T, W, S, X>
where
    T: Send + 'static,
    W: KeyedWindows + Send,
    W::State: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    S: KeySelector<T>,
    X: Extract<T, <W::Aggregate as Aggregate>::In>,
{
    #[expect(clippy::too_many_arguments, reason = "built in one place")]
    pub(crate) fn open(
        windows: W,
        extract: Arc<X>,
        selector: Arc<S>,
        (store, registered): (StateStore, RegisteredWindows<W::State>),
        sides: SideOutputs,
        late: Option<OutputTag<T>>,
        info: SubtaskInfo,
        snapshots: SnapshotPart,
        next: Next<ResultOf<S::Key, W>>,
    ) -> Self {
        let RegisteredWindows { state, calls } = registered;
        Self {
            windows,
            extract,
            selector,
            max: store.max_parallelism(),
            store,
            state,
            calls,
            changes: Vec::new(),
            sides,
            late,
            info,
            watermark: Timestamp::MIN,
            snapshots,
            next,
        }
    }

    fn on_element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        let value = &element.value;
        let mut scope = self.selector.scope(value, &mut self.store);
        let windows = &self.windows;
        let mut context = Context::<S::Key, W, _> {
            aggregate: windows.aggregate(),
            changes: &mut self.changes,
            watermark: self.watermark,
            key: || Some(self.selector.key(value)),
            late: 0,
            next: &mut *self.next,
            cx,
        };
        let at = element.timestamp;
        let (placed, empty) =
            self.state
                .update_or_insert_with(&mut scope, W::State::default, |state| {
                    let placed = self.extract.with(value, |input| {
                        windows.on_element(state, at, input, &mut context)
                    });
                    (placed, windows.is_empty(state))
                })?;
        let late = context.late;
        if empty {
            self.state.clear(&mut scope)?;
        }
        placed?;
        if !self.changes.is_empty() {
            let key = PreparedKey::new(&self.selector.key(value), self.max);
            self.apply(&key, cx);
        }
        if late > 0 {
            add(&cx.metrics.late, 1);
            if let Some(tag) = &self.late {
                self.sides.emit(tag, element);
                self.sides.drain(cx)?;
            }
        }
        cx.take_failure()
    }

    fn apply(&mut self, key: &PreparedKey, cx: &mut TaskContext) {
        for change in self.changes.drain(..) {
            match change {
                Call::Schedule(domain, at) => {
                    self.calls
                        .register(domain, Timer::new(at, TimerKey(key.clone())));
                    if domain == TimeDomain::Processing {
                        cx.wake_by(at);
                    }
                }
                Call::Cancel(domain, at) => {
                    self.calls
                        .delete(domain, &Timer::new(at, TimerKey(key.clone())));
                }
            }
        }
    }

    fn fire(
        &mut self,
        domain: TimeDomain,
        reached: Timestamp,
        cx: &mut TaskContext,
    ) -> Result<Flow> {
        loop {
            if cx.halt {
                return Ok(Flow::Blocked);
            }
            let Some(Timer {
                at,
                key: TimerKey(key),
            }) = self.calls.pop_due(domain, reached)
            else {
                return Ok(Flow::Done);
            };
            let mut scope = self.store.scope_of(&key);
            let windows = &self.windows;
            let mut decoded = None;
            let mut context = Context::<S::Key, W, _> {
                aggregate: windows.aggregate(),
                changes: &mut self.changes,
                watermark: self.watermark,
                key: || {
                    if decoded.is_none() {
                        decoded = S::Key::decode(&mut key.key_bytes()).ok();
                    }
                    decoded.clone()
                },
                late: 0,
                next: &mut *self.next,
                cx,
            };
            let empty = self.state.update(&mut scope, |state| {
                windows.on_timer(state, domain, at, &mut context);
                windows.is_empty(state)
            })?;
            if empty == Some(true) {
                self.state.clear(&mut scope)?;
            }
            self.apply(&key, cx);
            cx.take_failure()?;
        }
    }

    fn on_event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        match event {
            Event::Watermark(at) => {
                self.watermark = *at;
                return self.fire(TimeDomain::Event, *at, cx);
            }
            Event::ProcessingTime(now) => {
                if self.fire(TimeDomain::Processing, *now, cx)? == Flow::Blocked {
                    return Ok(Flow::Blocked);
                }
                if let Some(at) = self.calls.next(TimeDomain::Processing) {
                    cx.wake_by(at);
                }
            }
            Event::Barrier(barrier) => self.snapshots.begin(&mut self.store, barrier, None, cx)?,
            Event::Work { round } => {
                self.snapshots.work(&mut self.store, *round, cx)?;
                let calls =
                    self.calls.len(TimeDomain::Event) + self.calls.len(TimeDomain::Processing);
                cx.metrics
                    .timers
                    .store(calls as u64, std::sync::atomic::Ordering::Relaxed);
            }
            Event::Complete(id) => self.snapshots.complete(&mut self.store, *id)?,
            Event::Abort(id) => self.snapshots.abort(&mut self.store, *id)?,
            Event::Close => self.snapshots.close(&mut self.store),
            _ => {}
        }
        Ok(Flow::Done)
    }

    fn name(&self, error: Error) -> Error {
        error.of(&self.info)
    }
}

impl<T, W, S, X> Link<T> for WindowLink<T, W, S, X>
where
    T: Send + 'static,
    W: KeyedWindows + Send,
    W::State: serde::Serialize + serde::de::DeserializeOwned + Send + 'static,
    S: KeySelector<T>,
    X: Extract<T, <W::Aggregate as Aggregate>::In>,
{
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        self.on_element(element, cx)
            .map_err(|error| self.name(error))
    }

    fn elements(
        &mut self,
        batch: &mut IntoIter<Element<T>>,
        limit: usize,
        cx: &mut TaskContext,
    ) -> Result<usize> {
        let ahead = self.store.outgrows_caches();
        prefetched(self, batch, limit, cx, ahead, |link, value| {
            link.selector.scope(value, &mut link.store).prefetch();
            Ok(())
        })
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        if self.on_event(event, cx).map_err(|error| self.name(error))? == Flow::Blocked {
            return Ok(Flow::Blocked);
        }
        let sides = self.sides.event(event, cx)?;
        let main = self.next.event(event, cx)?;
        Ok(if sides == Flow::Blocked { sides } else { main })
    }
}
