//! Functions over a stream and a broadcast stream in their chain.

use super::event::{Event, Flow, TaskContext};
use super::exchange::{Route, Target};
use super::keyed::KeyedLink;
use super::link::{Downstream, Link, prefetched};
use crate::broadcast::{
    BroadcastContext, BroadcastProcessFunction, BroadcastStates, KeyedBroadcastProcessFunction,
};
use crate::connect::Either;
use crate::element::{Collector, Element};
use crate::error::Result;
use crate::function::{FunctionContext, ProcessFunction};
use crate::key::KeySelector;
use crate::operator::{Operator, OperatorContext};
use crate::operator_state::{CheckpointedFunction, OperatorState};
use state_backend::StateStore;
use std::vec::IntoIter;
use time_engine::{TimeDomain, Timestamp};

/// Deals the first of two connected streams out; the second goes to all.
pub(crate) struct LeftRoute<R>(pub(crate) R);

impl<A, B, R: Route<A>> Route<Either<A, B>> for LeftRoute<R> {
    #[inline]
    fn route(&mut self, value: &Either<A, B>) -> Result<Target> {
        match value {
            Either::Left(value) => self.0.route(value),
            Either::Right(_) => Ok(Target::All),
        }
    }

    fn reroute(&mut self, value: &Either<A, B>, old: usize) -> Result<Target> {
        match value {
            Either::Left(value) => self.0.reroute(value, old),
            Either::Right(_) => Ok(Target::All),
        }
    }
}

/// Only the second of two connected streams is copied.
pub(crate) fn copy_right<A, B: Clone>(value: &Either<A, B>) -> Option<Either<A, B>> {
    match value {
        Either::Left(_) => None,
        Either::Right(value) => Some(Either::Right(value.clone())),
    }
}

/// The keyed side as an operator: current key, state, timers and snapshots are as of any.
pub(crate) struct KeyedSide<F> {
    pub(crate) function: F,
    pub(crate) states: BroadcastStates,
}

impl<F> KeyedSide<F> {
    pub(crate) fn new(function: F) -> Self {
        let states = BroadcastStates::default();
        Self { function, states }
    }
}

impl<F: KeyedBroadcastProcessFunction> Operator for KeyedSide<F> {
    type In = F::In;
    type Out = F::Out;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.function.open(store, &mut self.states)
    }

    fn on_element(
        &mut self,
        element: Element<F::In>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<F::Out>,
    ) -> Result<()> {
        self.function
            .process_element(element, &self.states, cx, out)
    }

    fn on_timer(
        &mut self,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<F::Out>,
    ) -> Result<()> {
        self.function.on_timer(domain, at, &self.states, cx, out)
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl<F: Send> CheckpointedFunction for KeyedSide<F> {
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()> {
        self.states.load(state)
    }

    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()> {
        self.states.save(state)
    }
}

/// The head of a task that takes a stream by key and a broadcast stream.
pub(crate) struct BroadcastLink<F: KeyedBroadcastProcessFunction, S>(
    pub(crate) KeyedLink<KeyedSide<F>, S>,
);

impl<F: KeyedBroadcastProcessFunction, S: KeySelector<F::In>> BroadcastLink<F, S> {
    fn on_broadcast(&mut self, element: Element<F::Broadcast>, cx: &mut TaskContext) -> Result<()> {
        let link = &mut self.0;
        let timestamp = element.timestamp;
        let mut context = BroadcastContext {
            broadcast: &mut link.operator.states,
            store: Some(&mut link.store),
            watermark: link.watermark,
            now: cx.now,
            sides: &mut link.sides,
            info: &link.info,
        };
        let mut out = Downstream {
            next: &mut *link.next,
            cx,
            timestamp,
        };
        let function = &mut link.operator.function;
        function
            .process_broadcast_element(element, &mut context, &mut out)
            .map_err(|error| error.of(&link.info))?;
        link.sides.drain(cx)?;
        cx.take_failure()
    }
}

impl<F, S> Link<Either<F::In, F::Broadcast>> for BroadcastLink<F, S>
where
    F: KeyedBroadcastProcessFunction,
    S: KeySelector<F::In>,
{
    fn element(
        &mut self,
        element: Element<Either<F::In, F::Broadcast>>,
        cx: &mut TaskContext,
    ) -> Result<()> {
        let timestamp = element.timestamp;
        match element.value {
            Either::Left(value) => self.0.element(Element::at(value, timestamp), cx),
            Either::Right(value) => self.on_broadcast(Element::at(value, timestamp), cx),
        }
    }

    fn elements(
        &mut self,
        batch: &mut IntoIter<Element<Either<F::In, F::Broadcast>>>,
        limit: usize,
        cx: &mut TaskContext,
    ) -> Result<usize> {
        self.0.store.set_time(cx.now.as_millis());
        let ahead = self.0.store.outgrows_caches();
        prefetched(self, batch, limit, cx, ahead, |link, value| match value {
            Either::Left(value) => link.0.prefetch(value),
            Either::Right(_) => Ok(()),
        })
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.0.event(event, cx)
    }
}

/// A function over a stream without keys and a broadcast stream, as a function over either.
pub(crate) struct EitherSide<F> {
    function: F,
    states: BroadcastStates,
}

impl<F> EitherSide<F> {
    pub(crate) fn new(function: F) -> Self {
        let states = BroadcastStates::default();
        Self { function, states }
    }
}

impl<F: BroadcastProcessFunction> ProcessFunction for EitherSide<F> {
    type In = Either<F::In, F::Broadcast>;
    type Out = F::Out;

    fn on_element(
        &mut self,
        element: Element<Self::In>,
        cx: &mut FunctionContext<'_>,
        out: &mut dyn Collector<F::Out>,
    ) -> Result<()> {
        let timestamp = element.timestamp;
        match element.value {
            Either::Left(value) => {
                let element = Element::at(value, timestamp);
                self.function
                    .process_element(element, &self.states, cx, out)
            }
            Either::Right(value) => {
                let mut context = BroadcastContext {
                    broadcast: &mut self.states,
                    store: None,
                    watermark: cx.watermark,
                    now: cx.now,
                    sides: cx.sides,
                    info: cx.info,
                };
                let element = Element::at(value, timestamp);
                self.function
                    .process_broadcast_element(element, &mut context, out)
            }
        }
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl<F: BroadcastProcessFunction> CheckpointedFunction for EitherSide<F> {
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()> {
        self.function.open(&mut self.states)?;
        self.states.load(state)
    }

    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()> {
        self.states.save(state)
    }
}
