//! Functions over streams without keys, with state of their own.

use crate::element::{Collector, Element};
use crate::error::Result;
use crate::operator::SubtaskInfo;
use crate::operator_state::CheckpointedFunction;
use crate::side_output::{OutputTag, SideOutputs};
use time_engine::{Timestamp, Watermark};

/// A function over the elements of a stream as they come, whatever their keys.
///
/// It runs in the chain of the task before. What it keeps in its fields survives a failure only as far as
/// [`checkpointed`](Self::checkpointed) saves it.
pub trait ProcessFunction: Send + 'static {
    /// What it takes.
    type In: Send + 'static;
    /// What it emits.
    type Out: Send + 'static;

    /// Called for each element.
    ///
    /// # Errors
    /// Fails the job, which restarts from its last checkpoint.
    fn on_element(
        &mut self,
        element: Element<Self::In>,
        cx: &mut FunctionContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;

    /// Called once when nothing will follow; what it still holds can be emitted.
    ///
    /// # Errors
    /// As for [`on_element`](Self::on_element).
    fn on_end(&mut self, out: &mut dyn Collector<Self::Out>) -> Result<()> {
        let _ = out;
        Ok(())
    }

    /// The function as a [`CheckpointedFunction`], when it has state.
    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        None
    }
}

/// What a function sees of its surroundings.
#[derive(Debug)]
pub struct FunctionContext<'a> {
    pub(crate) info: &'a SubtaskInfo,
    pub(crate) watermark: Watermark,
    pub(crate) now: Timestamp,
    pub(crate) sides: &'a mut SideOutputs,
}

impl FunctionContext<'_> {
    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }

    /// How far event time has come here.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The clock, read once for a batch of elements.
    pub fn processing_time(&self) -> Timestamp {
        self.now
    }

    /// Emits to a side output; dropped when nobody takes it.
    pub fn side_output<T: Send + 'static>(&mut self, tag: &OutputTag<T>, element: Element<T>) {
        self.sides.emit(tag, element);
    }
}
