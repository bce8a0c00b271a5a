//! Functions and sinks that take part in checkpoints.

use super::event::{Event, Flow, TaskContext};
use super::link::{Downstream, Link, Next};
use super::snapshot::Reporter;
use crate::checkpoint::{Ack, ShardKey};
use crate::element::Element;
use crate::error::Result;
use crate::function::{FunctionContext, ProcessFunction};
use crate::operator::SubtaskInfo;
use crate::operator_state::{ListMode, OperatorState};
use crate::side_output::SideOutputs;
use crate::sink::TransactionalSink;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use time_engine::{Timestamp, Watermark};

/// A part that has nothing to write in the background: it acknowledges at the barrier.
pub(crate) struct SmallPart {
    pub(crate) part: ShardKey,
    pub(crate) reporter: Reporter,
}

impl SmallPart {
    fn ack(&self, checkpoint: u64, state: OperatorState, cx: &TaskContext) {
        let bytes = state
            .lists
            .values()
            .flat_map(|list| &list.items)
            .map(|item| item.len() as u64);
        let bytes = bytes.sum();
        let times = cx.barrier_times;
        let ack = Ack {
            operator_state: Some(state),
            times,
            bytes,
            ..Ack::default()
        };
        self.reporter.ack(checkpoint, self.part.clone(), ack);
    }
}

pub(crate) struct FunctionLink<F: ProcessFunction> {
    pub(crate) function: F,
    pub(crate) info: SubtaskInfo,
    pub(crate) sides: SideOutputs,
    pub(crate) watermark: Watermark,
    pub(crate) part: SmallPart,
    pub(crate) next: Next<F::Out>,
}

impl<F: ProcessFunction> FunctionLink<F> {
    fn on_event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<()> {
        match event {
            Event::Watermark(at) => self.watermark = Watermark::new(*at),
            Event::Barrier(barrier) => {
                let mut state = OperatorState::default();
                if let Some(function) = self.function.checkpointed() {
                    function.snapshot_state(&mut state)?;
                }
                self.part.ack(barrier.id, state, cx);
            }
            Event::End => {
                let timestamp = Timestamp::MAX;
                let mut out = Downstream {
                    next: &mut *self.next,
                    cx,
                    timestamp,
                };
                self.function.on_end(&mut out)?;
                cx.take_failure()?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl<F: ProcessFunction> Link<F::In> for FunctionLink<F> {
    fn element(&mut self, element: Element<F::In>, cx: &mut TaskContext) -> Result<()> {
        let timestamp = element.timestamp;
        let mut context = FunctionContext {
            info: &self.info,
            watermark: self.watermark,
            now: cx.now,
            sides: &mut self.sides,
        };
        let mut out = Downstream {
            next: &mut *self.next,
            cx,
            timestamp,
        };
        self.function
            .on_element(element, &mut context, &mut out)
            .map_err(|error| error.of(&self.info))?;
        self.sides.drain(cx)?;
        cx.take_failure()
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.on_event(event, cx)
            .map_err(|error| error.of(&self.info))?;
        let sides = self.sides.event(event, cx)?;
        let main = self.next.event(event, cx)?;
        Ok(if sides == Flow::Blocked { sides } else { main })
    }
}

/// The name of the transactions in a sink's operator state.
pub(crate) const TRANSACTIONS: &str = "transactions";

/// The end of a chain in two phases.
pub(crate) struct TransactionalLink<T, S> {
    pub(crate) sink: S,
    pub(crate) info: SubtaskInfo,
    pub(crate) part: SmallPart,
    /// Prepared for a checkpoint that is not known to be complete.
    pub(crate) prepared: BTreeMap<u64, Vec<Vec<u8>>>,
    pub(crate) kind: PhantomData<fn(T)>,
}

impl<T, S: TransactionalSink<T>> TransactionalLink<T, S> {
    fn on_event(&mut self, event: &mut Event<'_>, cx: &TaskContext) -> Result<()> {
        match event {
            Event::Barrier(barrier) => {
                let transaction = self.sink.prepare(barrier.id)?;
                self.prepared
                    .entry(barrier.id)
                    .or_default()
                    .extend(transaction);
                // all that is not committed, so that each checkpoint by itself is enough
                let all: Vec<&Vec<u8>> = self.prepared.values().flatten().collect();
                let mut state = OperatorState::default();
                // each subtask learns of all: it must not drop what another is to commit
                state.put(TRANSACTIONS, ListMode::Union, all)?;
                self.part.ack(barrier.id, state, cx);
            }
            Event::Complete(id) => {
                let later = self.prepared.split_off(&(*id + 1));
                for transaction in std::mem::replace(&mut self.prepared, later)
                    .into_values()
                    .flatten()
                {
                    self.sink.commit(&transaction)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl<T, S: TransactionalSink<T>> Link<T> for TransactionalLink<T, S> {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        super::metrics::add(&cx.metrics.records_out, 1);
        self.sink
            .write(element)
            .map_err(|error| error.of(&self.info))
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.on_event(event, cx)
            .map_err(|error| error.of(&self.info))?;
        Ok(Flow::Done)
    }
}
