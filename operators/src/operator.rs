//! Operators: what users write.

use crate::element::{Collector, Element};
use crate::error::Result;
use crate::operator_state::CheckpointedFunction;
use crate::side_output::{OutputTag, SideOutputs};
use state_backend::{KeyScope, StateKey, StateStore};
use time_engine::{TimeDomain, Timestamp, Watermark};

/// A function over the elements of each key, with state and timers of that key.
///
/// One value serves all keys of one subtask and is called by one thread. It keeps nothing of its own
/// that must survive a failure: what must survive lives in state that [`open`](Self::open) registers
/// and that the context gives access to, and so is in every checkpoint.
///
/// ```
/// use operators::{Collector, Element, Operator, OperatorContext, Result};
/// use state_backend::{StateStore, ValueDef, ValueState};
///
/// const SEEN: ValueDef<u64> = ValueDef::new("seen");
///
/// /// Numbers the elements of each key.
/// #[derive(Default)]
/// struct Count {
///     seen: ValueState<u64>,
/// }
///
/// impl Operator for Count {
///     type In = String;
///     type Out = (String, u64);
///
///     fn open(&mut self, store: &mut StateStore) -> Result<()> {
///         self.seen = store.value(&SEEN)?;
///         Ok(())
///     }
///
///     fn on_element(
///         &mut self,
///         element: Element<String>,
///         cx: &mut OperatorContext<'_>,
///         out: &mut dyn Collector<(String, u64)>,
///     ) -> Result<()> {
///         let n = self.seen.get(&mut cx.state)?.copied().unwrap_or(0) + 1;
///         self.seen.set(&mut cx.state, n)?;
///         out.collect((element.value, n));
///         Ok(())
///     }
/// }
/// ```
pub trait Operator: Send + 'static {
    /// What it takes.
    type In: Send + 'static;
    /// What it emits.
    type Out: Send + 'static;

    /// Called once, before anything else, when the state of this subtask has been restored: registers
    /// the states. It must register the same ones each time.
    ///
    /// # Errors
    /// A state that was saved with another kind, type or version.
    fn open(&mut self, store: &mut StateStore) -> Result<()>;

    /// Called for each element.
    ///
    /// # Errors
    /// An error fails the job, which starts again from its last checkpoint as its restart strategy says.
    /// Set bad elements aside on a side output instead.
    fn on_element(
        &mut self,
        element: Element<Self::In>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;

    /// Called for the next few elements before they are worked off, when the state has outgrown the
    /// processor's caches: asks for what [`on_element`](Self::on_element) will look up, so that the
    /// elements wait for main memory together and not one after the other.
    ///
    /// By itself it asks for the key's own rows. An operator on a large [`MapState`] gains by asking for
    /// the entries too ([`MapState::prefetch`]). It must change nothing.
    ///
    /// [`MapState`]: state_backend::MapState
    /// [`MapState::prefetch`]: state_backend::MapState::prefetch
    ///
    /// # Errors
    /// Those of the handles; they fail the job.
    #[inline]
    fn prefetch(&self, value: &Self::In, state: &mut KeyScope<'_>) -> Result<()> {
        let _ = value;
        state.prefetch();
        Ok(())
    }

    /// Called when a timer is due that was registered for `at` under the key that is now current.
    ///
    /// # Errors
    /// As for [`on_element`](Self::on_element).
    fn on_timer(
        &mut self,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()> {
        let _ = (domain, at, cx, out);
        Ok(())
    }

    /// The operator as a [`CheckpointedFunction`], when it has state that belongs to no key.
    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        None
    }
}

/// An operator whose state can be asked for from outside, in turn with its elements.
pub trait QueryOperator: Operator {
    /// What is asked.
    type Request: Send + 'static;
    /// The answer.
    type Reply: Send + 'static;

    /// Answers a request about the current key. It sees every element before it in the queue.
    ///
    /// # Errors
    /// An error is the caller's reply; the job goes on.
    fn on_query(
        &mut self,
        request: Self::Request,
        cx: &mut OperatorContext<'_>,
    ) -> Result<Self::Reply>;
}

/// A timer to be set or taken away once the callback is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TimerChange {
    Register(TimeDomain, Timestamp),
    Delete(TimeDomain, Timestamp),
}

/// The timers of the current key, and the time.
#[derive(Debug)]
pub struct Timers<'a> {
    pub(crate) changes: &'a mut Vec<TimerChange>,
    pub(crate) watermark: Watermark,
    pub(crate) now: Timestamp,
}

impl Timers<'_> {
    /// Asks for a call of [`Operator::on_timer`] at `at`: when the watermark reaches it, or when the
    /// clock is past it. There is one timer for a key, domain and instant, however often it is asked
    /// for. It is part of every checkpoint.
    pub fn register(&mut self, domain: TimeDomain, at: Timestamp) {
        self.changes.push(TimerChange::Register(domain, at));
    }

    /// Takes exactly this timer away.
    pub fn delete(&mut self, domain: TimeDomain, at: Timestamp) {
        self.changes.push(TimerChange::Delete(domain, at));
    }

    /// [`register`](Self::register) in event time.
    pub fn register_event(&mut self, at: Timestamp) {
        self.register(TimeDomain::Event, at);
    }

    /// [`register`](Self::register) in processing time.
    pub fn register_processing(&mut self, at: Timestamp) {
        self.register(TimeDomain::Processing, at);
    }

    /// How far event time has come here; in an event timer the watermark that fires it.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The clock, read once for a batch of elements.
    pub fn processing_time(&self) -> Timestamp {
        self.now
    }
}

/// Which part of an operator this is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtaskInfo {
    /// The operator's uid.
    pub operator: String,
    /// From 0.
    pub subtask: usize,
    /// How many there are.
    pub parallelism: usize,
}

/// The current key's state and timers during a call.
#[derive(Debug)]
pub struct OperatorContext<'a> {
    /// The current key: state handles take it.
    pub state: KeyScope<'a>,
    /// Its timers.
    pub timers: Timers<'a>,
    pub(crate) sides: &'a mut SideOutputs,
    pub(crate) info: &'a SubtaskInfo,
}

impl OperatorContext<'_> {
    /// The current key, decoded. Costs a decoding: on an element its value usually has the key.
    ///
    /// # Errors
    /// The key is of another type.
    pub fn key<K: StateKey>(&self) -> Result<K> {
        Ok(K::decode(&mut &*self.state.key_bytes())?)
    }

    /// Emits to a side output; see [`crate::Stream::side_output`]. Dropped when nobody takes it.
    pub fn side_output<T: Send + 'static>(&mut self, tag: &OutputTag<T>, element: Element<T>) {
        self.sides.emit(tag, element);
    }

    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }
}
