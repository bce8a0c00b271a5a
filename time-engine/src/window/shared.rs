//! Several windows over one stream that share their work: stream slicing.

mod cascade;
mod fire;
mod grid;
mod place;
mod sessions;
mod slices;
mod state;
mod tree;

pub use state::SharedState;

use super::{
    Aggregate, KeyedWindows, WindowContext, WindowSpec,
    assigner::Assigner,
    plain::{Panes, Rules},
};
use crate::{Error, Result, TimeDomain, Timestamp};
use grid::{Grid, LIMIT, MAX_SPAN};
use slices::Took;
use std::fmt;

/// The order in which one advance of the watermark fires the windows of different keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Firing {
    /// By time over all keys, as in Flink: results have non-decreasing timestamps.
    #[default]
    InTimeOrder,
    /// A key that is called fires everything the watermark has passed. The order by time then holds for
    /// each key only. What a watermark releases still comes before it, so nothing downstream that goes
    /// by watermarks sees a difference; a jump over many windows of a key costs one call, not one each.
    KeyByKey,
}

/// Windows that keep one set of slices for all specifications: general stream slicing (Traub,
/// Grulich, Rodríguez Cuéllar, Breß, Katsifodimos, Rabl, Markl: "Efficient Window Aggregation with General
/// Stream Slicing", EDBT 2019).
///
/// The borders of all windows cut time into slices. An element is added to the one slice it falls into,
/// whatever the number and overlap of the windows; a window's result is put together from its slices
/// when it fires. The results are those of [`super::PlainWindows`], lateness, out-of-order elements and
/// restored state included; the contents of a window are merged in the order of time, not of arrival.
///
/// * Event-time tumbling and sliding windows with the default trigger share slices.
/// * The first event-time session specification with the default trigger keeps one accumulator for
///   each session: there a slice is a session.
/// * Everything else (processing time, own triggers, evictors, global windows, further sessions) is
///   evaluated window by window within the same state.
///
/// Cost, for windows of `n` non-empty slices: an element costs O(1) in the newest slice, O(log n) in an
/// older one, independent of size / slide. The next result of a sliding window costs O(1) amortized. An element
/// behind the watermark but within the allowed lateness makes k windows fire at once; all together cost
/// O(k log n) or O(n + k), whichever is less. Memory is one accumulator for each non-empty slice, plus n for a sliding window of more
/// than 8 slices whose aggregate cannot [`Aggregate::retract`].
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Timestamp, Watermark};
/// use time_engine::window::{Count, Output, SharedWindows, WindowEngine, WindowSpec};
///
/// let minute = Duration::from_secs(60);
/// let specs = vec![
///     WindowSpec::tumbling(minute),
///     WindowSpec::tumbling(5 * minute),
///     WindowSpec::sliding(minute, minute / 2),
/// ];
/// let mut engine = WindowEngine::new(SharedWindows::new(Count::new(), specs)?);
/// for second in 0..300 {
///     let at = Timestamp::from_millis(second * 1_000);
///     engine.on_element(&"page", at, &(), |_| {})?;
/// }
/// let mut counts = [0; 3];
/// engine.on_watermark(Watermark::MAX, |output| {
///     if let Output::Result { spec, .. } = output {
///         counts[spec] += 1;
///     }
/// });
/// assert_eq!(counts, [5, 1, 11]);
/// # Ok::<(), time_engine::Error>(())
/// ```
pub struct SharedWindows<A: Aggregate> {
    aggregate: A,
    parts: Vec<Part<A>>,
    /// Those parts that share slices.
    grids: Vec<(usize, Sliced)>,
    session: Option<(usize, i64)>,
    invertible: bool,
    firing: Firing,
    /// Elements between these instants have no window near the limit, and none of them is in a gap:
    /// ahead of time they need nothing but their slice.
    inner: Option<(i64, i64)>,
    only_slices: bool,
}

#[derive(Debug, Clone, Copy)]
struct Sliced {
    grid: Grid,
    lateness: i64,
}

impl Sliced {
    /// The last instant of use of the window that ends at `end`; within the limit, no overflow.
    const fn cleanup(&self, end: i64) -> i64 {
        end - 1 + self.lateness
    }
}

struct Part<A: Aggregate> {
    /// The same windows one by one: for what is not sliced, and for the few windows of a sliced
    /// specification that cannot be.
    rules: Rules<A>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sliced,
    Session,
    Apart,
}

impl<A: Aggregate + fmt::Debug> fmt::Debug for SharedWindows<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedWindows")
            .field("aggregate", &self.aggregate)
            .field("specs", &self.specs().collect::<Vec<_>>())
            .field("firing", &self.firing)
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate> SharedWindows<A> {
    /// Windows of all `specs`, each computing `aggregate`. A result says which it is of by its number.
    ///
    /// # Errors
    /// A specification that cannot be, or more than a million windows for an element.
    pub fn new(aggregate: A, specs: Vec<WindowSpec<A>>) -> Result<Self> {
        let mut parts = Vec::with_capacity(specs.len());
        let (mut grids, mut session) = (Vec::new(), None);
        for (index, spec) in specs.into_iter().enumerate() {
            spec.check()?;
            spec.check_overlap()?;
            let kind = match Self::sliced(&spec) {
                Some(sliced) => {
                    grids.push((index, sliced));
                    Kind::Sliced
                }
                None if session.is_none() && Self::is_plain_session(&spec) => {
                    session = Some((index, spec.lateness));
                    Kind::Session
                }
                None => Kind::Apart,
            };
            parts.push(Part {
                rules: Rules::new(spec, index),
                kind,
            });
        }
        let (mut whole, part) = (aggregate.create(), aggregate.create());
        Ok(Self {
            invertible: aggregate.retract(&mut whole, &part),
            only_slices: parts.iter().all(|part| part.kind == Kind::Sliced),
            inner: Self::inner(&grids),
            aggregate,
            parts,
            grids,
            session,
            firing: Firing::default(),
        })
    }

    /// Another order of firing than Flink's.
    #[must_use]
    pub const fn with_firing(mut self, firing: Firing) -> Self {
        self.firing = firing;
        self
    }

    /// The specifications.
    pub fn specs(&self) -> impl Iterator<Item = &WindowSpec<A>> {
        self.parts.iter().map(|part| &part.rules.spec)
    }

    /// Whether every specification shares slices or is the one of sessions: nothing is evaluated window
    /// by window.
    pub fn shares_everything(&self) -> bool {
        self.parts.iter().all(|part| part.kind != Kind::Apart)
    }

    fn sliced(spec: &WindowSpec<A>) -> Option<Sliced> {
        match spec.assigner {
            Assigner::Sliding {
                domain: TimeDomain::Event,
                size,
                slide,
                offset,
            } if spec.trigger.is_none() && spec.evictor.is_none() && spec.lateness <= MAX_SPAN => {
                Some(Sliced {
                    grid: Grid::new(size, slide, offset)?,
                    lateness: spec.lateness,
                })
            }
            _ => None,
        }
    }

    fn is_plain_session(spec: &WindowSpec<A>) -> bool {
        spec.trigger.is_none()
            && spec.evictor.is_none()
            && matches!(
                spec.assigner,
                Assigner::Session {
                    domain: TimeDomain::Event,
                    ..
                }
            )
    }

    fn inner(grids: &[(usize, Sliced)]) -> Option<(i64, i64)> {
        if grids.iter().any(|(_, sliced)| sliced.grid.has_gaps()) {
            return None;
        }
        let inner = grids.iter().map(|(_, sliced)| sliced.grid.inner());
        inner.reduce(|(a, b), (c, d)| (a.max(c), b.min(d)))
    }

    /// The borders of the slice of an instant: the nearest of all specifications.
    fn borders(&self, at: i64) -> (i64, i64) {
        let (mut low, mut high) = (i64::MIN, i64::MAX);
        for (_, sliced) in &self.grids {
            let (below, above) = sliced.grid.borders(at);
            (low, high) = (low.max(below), high.min(above));
        }
        (low, high)
    }

    fn add_to_slice(&self, state: &mut SharedState<A::Acc>, at: Timestamp, value: &A::In) -> Took {
        let took = state
            .slices
            .add(&self.aggregate, at, value, || self.borders(at.as_millis()));
        let (Took::Known(start) | Took::New(start)) = took;
        for cascade in &mut state.cascades {
            if let Some(known) = cascade
                && !known.take_in(&self.aggregate, start, value, at)
            {
                *cascade = None;
            }
        }
        took
    }
}

impl<A: Aggregate> KeyedWindows for SharedWindows<A> {
    type Aggregate = A;
    type State = SharedState<A::Acc>;

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
        let ms = at.as_millis();
        let watermark = cx.watermark().as_millis();
        // Everything due up to the watermark has fired before an element is handed over.
        state.reached = state.reached.max(watermark);
        if ms > state.reached
            && let Some((from, to)) = self.inner
            && (from..to).contains(&ms)
        {
            // Ahead of everything: all its windows will fire in their time.
            if !self.only_slices {
                let done = self.place_apart(state, at, value, cx);
                self.tidy(state);
                let due = self.next_due(state);
                self.want_calls(state, due, cx);
                done?;
            }
            if let Took::New(_) = self.add_to_slice(state, at, value) {
                let ends = self.grids.iter().map(|(_, s)| s.grid.first_end_after(ms));
                let due = ends.min().map(|end| Timestamp::from_millis(end - 1));
                let pending = state.wake.at(TimeDomain::Event);
                if pending.is_none() || due < pending {
                    state.wake.want(TimeDomain::Event, due, cx);
                }
            }
            return Ok(());
        }
        if !self.grids.is_empty() && at == Timestamp::MIN {
            return Err(Error::MissingTimestamp);
        }
        let mut done = self.place_apart(state, at, value, cx);
        if done.is_ok() {
            done = self.place(state, at, value, cx);
        }
        self.tidy(state);
        let due = self.next_due(state);
        self.want_calls(state, due, cx);
        done
    }

    fn on_timer<C: WindowContext<A::Acc>>(
        &self,
        state: &mut Self::State,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut C,
    ) {
        state.wake.fired(domain, at);
        let due = match domain {
            TimeDomain::Processing => {
                self.fire_panes(state, domain, at, cx);
                self.next_due(state)
            }
            TimeDomain::Event => {
                let upto = match self.firing {
                    Firing::InTimeOrder => at,
                    Firing::KeyByKey => at.max(cx.watermark()),
                }
                .as_millis();
                let mut due = self.next_due(state);
                while let Some(at) = due.filter(|at| *at <= upto) {
                    self.fire_instant(state, at, cx);
                    self.drop_closed(state);
                    due = self.next_due(state);
                }
                // Nothing was due in between, so nothing becomes closed.
                state.reached = state.reached.max(upto);
                due
            }
        };
        self.tidy(state);
        self.want_calls(state, due, cx);
    }

    fn is_empty(&self, state: &Self::State) -> bool {
        state.slices.is_empty()
            && state.sessions.is_empty()
            && state
                .rest
                .as_ref()
                .is_none_or(|rest| rest.again.is_empty() && rest.panes.iter().all(Panes::is_empty))
    }

    fn next_call(&self, state: &Self::State, domain: TimeDomain) -> Option<Timestamp> {
        state.wake.at(domain)
    }
}

const _: () = assert!(LIMIT > MAX_SPAN);
