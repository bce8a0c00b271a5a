//! An operator in its chain: current key, state, timers, snapshots, queries.

use super::event::{Barrier, Event, Flow, TaskContext};
use super::link::{Downstream, Link, Next, prefetched};
use super::query::{KeyedQuery, QueryCommand};
use super::snapshot::SnapshotPart;
use super::timers::KeyTimers;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::key::KeySelector;
use crate::operator::{Operator, OperatorContext, QueryOperator, SubtaskInfo, TimerChange, Timers};
use crate::operator_state::OperatorState;
use crate::side_output::SideOutputs;
use state_backend::{MaxParallelism, PreparedKey, StateStore};
use std::any::Any;
use std::sync::Arc;
use std::vec::IntoIter;
use time_engine::{TimeDomain, Timestamp, Watermark};

/// Answers a query; `None` for operators that take none.
pub(crate) type Answer<O, S> =
    fn(&mut KeyedLink<O, S>, Box<dyn Any + Send>, &mut TaskContext) -> Result<()>;

pub(crate) struct KeyedLink<O: Operator, S> {
    pub(crate) operator: O,
    pub(crate) selector: Arc<S>,
    pub(crate) max: MaxParallelism,
    pub(crate) store: StateStore,
    pub(crate) timers: KeyTimers,
    pub(crate) changes: Vec<TimerChange>,
    pub(crate) sides: SideOutputs,
    pub(crate) info: SubtaskInfo,
    pub(crate) watermark: Watermark,
    pub(crate) snapshots: SnapshotPart,
    pub(crate) answer: Option<Answer<O, S>>,
    pub(crate) uid: Arc<str>,
    pub(crate) next: Next<O::Out>,
}

impl<O: Operator, S: KeySelector<O::In>> KeyedLink<O, S> {
    fn on_element(&mut self, element: Element<O::In>, cx: &mut TaskContext) -> Result<()> {
        let timestamp = element.timestamp;
        let mut context = OperatorContext {
            state: self.selector.scope(&element.value, &mut self.store),
            timers: Timers {
                changes: &mut self.changes,
                watermark: self.watermark,
                now: cx.now,
            },
            sides: &mut self.sides,
            info: &self.info,
        };
        let mut out = Downstream {
            next: &mut *self.next,
            cx,
            timestamp,
        };
        self.operator.on_element(element, &mut context, &mut out)?;
        if context.timers.changes.is_empty() {
            return self.hand_on(cx);
        }
        let key = PreparedKey::new(&context.key::<S::Key>()?, self.max);
        self.after(&key, cx)
    }

    /// Puts into effect what a callback left behind.
    #[inline]
    fn after(&mut self, key: &PreparedKey, cx: &mut TaskContext) -> Result<()> {
        if !self.changes.is_empty() {
            self.timers.apply(&mut self.store, key, &mut self.changes)?;
            if let Some(at) = self.timers.next(TimeDomain::Processing) {
                cx.wake_by(at);
            }
        }
        self.hand_on(cx)
    }

    #[inline]
    fn hand_on(&mut self, cx: &mut TaskContext) -> Result<()> {
        self.sides.drain(cx)?;
        cx.take_failure()
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
            let Some((at, key)) = self.timers.pop_due(&mut self.store, domain, reached)? else {
                return Ok(Flow::Done);
            };
            let timestamp = match domain {
                TimeDomain::Event => at,
                TimeDomain::Processing => Element::<O::Out>::NO_TIMESTAMP,
            };
            let mut context = OperatorContext {
                state: self.store.scope_of(&key),
                timers: Timers {
                    changes: &mut self.changes,
                    watermark: self.watermark,
                    now: cx.now,
                },
                sides: &mut self.sides,
                info: &self.info,
            };
            let mut out = Downstream {
                next: &mut *self.next,
                cx,
                timestamp,
            };
            self.operator.on_timer(domain, at, &mut context, &mut out)?;
            self.after(&key, cx)?;
        }
    }

    fn barrier(&mut self, barrier: &Barrier, cx: &TaskContext) -> Result<()> {
        let mut state = None;
        if let Some(function) = self.operator.checkpointed() {
            let mut saved = OperatorState::default();
            function.snapshot_state(&mut saved)?;
            state = Some(saved);
        }
        self.snapshots.begin(&mut self.store, barrier, state, cx)
    }

    fn on_event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        match event {
            Event::Watermark(at) => {
                self.watermark = Watermark::new(*at);
                if self.fire(TimeDomain::Event, *at, cx)? == Flow::Blocked {
                    return Ok(Flow::Blocked);
                }
            }
            Event::ProcessingTime(now) => {
                self.store.set_time(now.as_millis());
                if self.fire(TimeDomain::Processing, *now, cx)? == Flow::Blocked {
                    return Ok(Flow::Blocked);
                }
                if let Some(at) = self.timers.next(TimeDomain::Processing) {
                    cx.wake_by(at);
                }
            }
            Event::Barrier(barrier) => self.barrier(barrier, cx)?,
            Event::Work { round } => {
                self.snapshots.work(&mut self.store, *round, cx)?;
                let figure = &cx.metrics.timers;
                figure.store(
                    self.timers.len() as u64,
                    std::sync::atomic::Ordering::Relaxed,
                );
            }
            Event::Complete(id) => self.snapshots.complete(&mut self.store, *id)?,
            Event::Abort(id) => self.snapshots.abort(&mut self.store, *id)?,
            Event::Close => self.snapshots.close(&mut self.store),
            Event::Query(slot) => {
                if let Some(answer) = self.answer
                    && slot
                        .as_ref()
                        .is_some_and(|command| command.operator == self.uid)
                    && let Some(QueryCommand { request, .. }) = slot.take()
                {
                    answer(self, request, cx)?;
                }
            }
            _ => {}
        }
        Ok(Flow::Done)
    }

    pub(crate) fn prefetch(&mut self, value: &O::In) -> Result<()> {
        let mut scope = self.selector.scope(value, &mut self.store);
        self.operator
            .prefetch(value, &mut scope)
            .map_err(|error| self.name(error))
    }

    fn name(&self, error: Error) -> Error {
        error.of(&self.info)
    }
}

impl<O: QueryOperator, S: KeySelector<O::In>> KeyedLink<O, S> {
    /// An [`Answer`].
    pub(crate) fn answer(
        &mut self,
        request: Box<dyn Any + Send>,
        cx: &mut TaskContext,
    ) -> Result<()> {
        let Ok(query) = request.downcast::<KeyedQuery<O::Request, O::Reply>>() else {
            return Ok(());
        };
        let KeyedQuery {
            key,
            request,
            reply,
        } = *query;
        if reply.is_closed() {
            return Ok(());
        }
        let mut context = OperatorContext {
            state: self.store.scope_of(&key),
            timers: Timers {
                changes: &mut self.changes,
                watermark: self.watermark,
                now: cx.now,
            },
            sides: &mut self.sides,
            info: &self.info,
        };
        let answer = self.operator.on_query(request, &mut context);
        // the asker may be gone: its business
        let _ = reply.send(answer);
        self.after(&key, cx)
    }
}

impl<O: Operator, S: KeySelector<O::In>> Link<O::In> for KeyedLink<O, S> {
    fn element(&mut self, element: Element<O::In>, cx: &mut TaskContext) -> Result<()> {
        self.on_element(element, cx)
            .map_err(|error| self.name(error))
    }

    fn elements(
        &mut self,
        batch: &mut IntoIter<Element<O::In>>,
        limit: usize,
        cx: &mut TaskContext,
    ) -> Result<usize> {
        self.store.set_time(cx.now.as_millis());
        let ahead = self.store.outgrows_caches();
        prefetched(self, batch, limit, cx, ahead, Self::prefetch)
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
