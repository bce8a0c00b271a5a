//! Where the window logic of one key meets the loop that runs it.

use super::{Aggregate, Window};
use crate::{Result, TimeDomain, Timestamp};

/// A window that fires: lent to [`WindowContext::emit`].
#[derive(Debug)]
pub struct Fired<'a, Acc> {
    /// Which of the specifications, counted from 0.
    pub spec: usize,
    /// The window; its results carry [`Window::max_timestamp`].
    pub window: Window,
    /// What it holds.
    pub contents: &'a Acc,
}

/// What the logic of one key's windows needs from the loop: the time, a call back, and a way out for
/// results and late elements. The loop knows which key it is about.
pub trait WindowContext<Acc> {
    /// The current watermark; while a watermark is being processed, that one. [`Timestamp::MIN`]
    /// before the first.
    fn watermark(&self) -> Timestamp;

    /// The clock.
    fn processing_time(&self) -> Timestamp;

    /// Asks for [`KeyedWindows::on_timer`] at an instant. A key has at most one call pending in a
    /// domain.
    fn schedule(&mut self, domain: TimeDomain, at: Timestamp);

    /// Takes the pending call back.
    fn cancel(&mut self, domain: TimeDomain, at: Timestamp);

    /// A window fires. Called in the order the results must have.
    fn emit(&mut self, fired: Fired<'_, Acc>);

    /// The element in hand came too late for `spec` and is in none of its windows: for the late output,
    /// or to be counted and dropped.
    fn late(&mut self, spec: usize);
}

/// The windows of one key as a function over a plain state: [`super::PlainWindows`] and
/// [`super::SharedWindows`].
///
/// The loop keeps a `State` for each key, wherever it likes: in a hash map ([`super::WindowEngine`]) or
/// in checkpointed keyed state. It calls [`KeyedWindows::on_element`] for each element, and
/// [`KeyedWindows::on_timer`] when a call asked for by [`WindowContext::schedule`] is due
/// ([`TimeDomain::is_due`]), all due calls of all keys in the order of their instants, before the
/// watermark goes on. A state with [`KeyedWindows::is_empty`] may be thrown away.
///
/// After a restore the state and the pending calls must be from the same snapshot;
/// [`KeyedWindows::next_call`] tells what a state waits for.
pub trait KeyedWindows {
    /// What the windows compute.
    type Aggregate: Aggregate;
    /// What is kept for a key.
    type State: Default;

    /// The aggregate.
    fn aggregate(&self) -> &Self::Aggregate;

    /// Takes an element of the key in. `at` is its timestamp, [`Timestamp::MIN`] if it has none.
    ///
    /// # Errors
    /// An element that cannot be placed (see [`crate::Error`]); it is in no window then.
    fn on_element<C: WindowContext<AccOf<Self>>>(
        &self,
        state: &mut Self::State,
        at: Timestamp,
        value: &<Self::Aggregate as Aggregate>::In,
        cx: &mut C,
    ) -> Result<()>;

    /// Does what is due for the key in `domain` up to `at`. A call that nobody asked for is harmless.
    fn on_timer<C: WindowContext<AccOf<Self>>>(
        &self,
        state: &mut Self::State,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut C,
    );

    /// Whether nothing is left: no contents, nothing pending.
    fn is_empty(&self, state: &Self::State) -> bool;

    /// The call the state waits for in a domain, as last asked for.
    fn next_call(&self, state: &Self::State, domain: TimeDomain) -> Option<Timestamp>;
}

/// The accumulator of a window logic.
pub type AccOf<W> = <<W as KeyedWindows>::Aggregate as Aggregate>::Acc;
