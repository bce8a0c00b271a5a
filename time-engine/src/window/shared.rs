//! Several windows over one stream that share their work: stream slicing.

mod cascade;
mod grid;
mod sessions;
mod slices;

use super::{
    Aggregate, Fired, KeyedWindows, Window, WindowContext, WindowSpec,
    assigner::{Assigner, Gap},
    plain::{Panes, Rules, Taken, Wake},
};
use crate::{Error, Result, TimeDomain, Timestamp};
use cascade::Cascade;
use grid::{Grid, LIMIT, MAX_SPAN};
use sessions::{Placed, Sessions};
use slices::{Slices, Took};
use std::{collections::BTreeSet, fmt};

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
/// O(n + k). Memory is one accumulator for each non-empty slice, plus n for a sliding window of more
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

/// What [`SharedWindows`] keep for a key. Plain data: whoever holds it may write it down.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "Acc: serde::Serialize",
        deserialize = "Acc: serde::Deserialize<'de>"
    ))
)]
pub struct SharedState<Acc> {
    slices: Slices<Acc>,
    sessions: Sessions<Acc>,
    /// All sliced windows that were due up to this instant have fired, and those whose lateness was
    /// over are closed. After a restore the watermark starts below it.
    reached: i64,
    wake: Wake,
    /// Seldom there.
    rest: Option<Box<Rest<Acc>>>,
    /// Partial results, one for each sliced specification; nothing that could not be computed again.
    #[cfg_attr(feature = "serde", serde(skip))]
    cascades: Vec<Option<Cascade<Acc>>>,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Rest<Acc> {
    /// Sliced windows, by end and part, that have fired before and are due again: only when time was
    /// set back, by a restore.
    again: BTreeSet<(i64, usize)>,
    /// Windows evaluated one by one, for each part.
    panes: Vec<Panes<Acc>>,
}

impl<Acc> Default for SharedState<Acc> {
    fn default() -> Self {
        Self {
            slices: Slices::default(),
            sessions: Sessions::default(),
            reached: i64::MIN,
            wake: Wake::default(),
            rest: None,
            cascades: Vec::new(),
        }
    }
}

impl<Acc: Clone> SharedState<Acc> {
    /// How many accumulators are kept for slices and sessions.
    pub fn slices(&self) -> usize {
        self.slices.len() + self.sessions.len()
    }

    fn rest(&mut self, parts: usize) -> &mut Rest<Acc> {
        self.rest.get_or_insert_with(|| {
            Box::new(Rest {
                again: BTreeSet::new(),
                panes: (0..parts).map(|_| Panes::default()).collect(),
            })
        })
    }

    fn panes(&mut self, part: usize, parts: usize) -> Option<&mut Panes<Acc>> {
        self.rest(parts).panes.get_mut(part)
    }
}

/// Below so many slices a window is put together directly.
const FEW: usize = 8;

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

    /// Puts an element that is not ahead of everything into the sliced windows.
    fn place<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) -> Result<()> {
        let watermark = cx.watermark().as_millis();
        let reached = state.reached;
        let fates: Vec<Fate> = self
            .grids
            .iter()
            .map(|(index, sliced)| self.fate(*index, *sliced, reached, watermark, at, value, cx))
            .collect::<Result<_>>()?;
        if fates.iter().any(Fate::needs_slice) {
            self.add_to_slice(state, at, value);
        }
        for ((index, sliced), fate) in self.grids.iter().zip(fates) {
            let rules = &self.parts[*index].rules;
            match fate {
                Fate::Waits => {}
                Fate::Nowhere => {
                    if rules.is_element_late(at, cx.watermark()) {
                        cx.late(*index);
                    }
                }
                Fate::Fires { newest, oldest } => {
                    let grid = sliced.grid;
                    let steps = (newest - oldest) / grid.slide() + 1;
                    let windows = (0..steps).map(|step| {
                        let end = newest - step * grid.slide();
                        (end - grid.size, end)
                    });
                    let spec = *index;
                    state.slices.around(
                        &self.aggregate,
                        at.as_millis(),
                        windows,
                        |(_, end), contents| {
                            cx.emit(Fired {
                                spec,
                                window: grid.window(end),
                                contents,
                            });
                        },
                    );
                }
                Fate::OneByOne(windows) => {
                    for (window, fate) in windows {
                        let end = window.end().as_millis();
                        match fate {
                            WindowFate::Apart => {
                                if let Some(panes) = state.panes(*index, self.parts.len()) {
                                    rules.add(&self.aggregate, panes, window, at, value, cx);
                                }
                            }
                            WindowFate::Fires => {
                                self.fire(state, *index, sliced.grid, end, cx);
                            }
                            WindowFate::FiresAgain => {
                                let parts = self.parts.len();
                                state.rest(parts).again.insert((end, *index));
                            }
                            WindowFate::Waits => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "one element seen from all sides")]
    fn fate<C: WindowContext<A::Acc>>(
        &self,
        index: usize,
        sliced: Sliced,
        reached: i64,
        watermark: i64,
        at: Timestamp,
        value: &A::In,
        cx: &C,
    ) -> Result<Fate> {
        let grid = sliced.grid;
        let ms = at.as_millis();
        if watermark < reached || !grid.is_inner(ms) {
            let rules = &self.parts[index].rules;
            let mut windows = Vec::new();
            for window in rules
                .spec
                .assigner
                .assign(value, at, cx.processing_time())?
            {
                if rules.is_late(window, cx.watermark()) {
                    continue;
                }
                let end = window.end().as_millis();
                let fate = if !grid.is_within(window) || sliced.cleanup(end) <= reached {
                    // What is left of a closed window's slices is no business of its new life.
                    WindowFate::Apart
                } else if end - 1 <= watermark {
                    WindowFate::Fires
                } else if end - 1 <= reached {
                    WindowFate::FiresAgain
                } else {
                    WindowFate::Waits
                };
                windows.push((window, fate));
            }
            return Ok(if windows.is_empty() {
                Fate::Nowhere
            } else {
                Fate::OneByOne(windows)
            });
        }
        let last = grid.last_end_of(ms);
        // Open are the windows with `end - 1 + lateness > watermark`.
        let closed = watermark.saturating_add(1).saturating_sub(sliced.lateness);
        let first = grid.first_end_after(ms.max(closed));
        if first > last {
            return Ok(Fate::Nowhere);
        }
        // Past are those with `end - 1 <= watermark`; the first that is not comes after.
        let past = grid.first_end_after(watermark.saturating_add(1)) - grid.slide();
        let newest = last.min(past);
        Ok(if newest >= first {
            Fate::Fires {
                newest,
                oldest: first,
            }
        } else {
            Fate::Waits
        })
    }

    /// Fires one sliced window directly from its slices.
    fn fire<C: WindowContext<A::Acc>>(
        &self,
        state: &SharedState<A::Acc>,
        spec: usize,
        grid: Grid,
        end: i64,
        cx: &mut C,
    ) {
        if let Some(contents) = state
            .slices
            .aggregate(&self.aggregate, end - grid.size, end)
        {
            cx.emit(Fired {
                spec,
                window: grid.window(end),
                contents: &contents,
            });
        }
    }

    /// Fires the next window of a specification in the order of time.
    fn fire_next<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        number: usize,
        end: i64,
        cx: &mut C,
    ) {
        let (spec, sliced) = self.grids[number];
        let start = end - sliced.grid.size;
        let mut slices = state.slices.between(start, end);
        let window = sliced.grid.window(end);
        match slices.len() {
            0 => {}
            1 => {
                if let Some(only) = slices.next() {
                    let contents = &only.acc;
                    cx.emit(Fired {
                        spec,
                        window,
                        contents,
                    });
                }
            }
            2..=FEW => self.fire(state, spec, sliced.grid, end, cx),
            _ if sliced.grid.slide() >= sliced.grid.size => {
                self.fire(state, spec, sliced.grid, end, cx);
            }
            _ => {
                if state.cascades.is_empty() {
                    state.cascades = self.grids.iter().map(|_| None).collect();
                }
                let whole = Cascade::aggregate(
                    &mut state.cascades[number],
                    &self.aggregate,
                    self.invertible,
                    &state.slices,
                    start,
                    end,
                );
                if let Some(contents) = &whole {
                    cx.emit(Fired {
                        spec,
                        window,
                        contents,
                    });
                }
            }
        }
    }

    /// The end of the first window after `bound` that has elements.
    fn next_end(grid: Grid, slices: &Slices<A::Acc>, bound: i64) -> Option<i64> {
        let (lowest, highest) = grid.ends();
        let least = grid.first_end_after(bound).max(lowest);
        let end = slices.since(least - grid.size).find_map(|slice| {
            let end = if slice.start < least {
                least
            } else {
                grid.first_end_after(slice.start)
            };
            // Otherwise the slice is in a gap.
            (end - grid.size <= slice.start).then_some(end)
        })?;
        (end <= highest).then_some(end)
    }

    /// When the sliced windows next fire, or close.
    fn next_slice_due(&self, state: &SharedState<A::Acc>) -> Option<i64> {
        if state.slices.is_empty() {
            return None;
        }
        let mut due: Option<i64> = None;
        let mut earlier = |at: Option<i64>| {
            if let Some(at) = at {
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        };
        let next = state.reached.saturating_add(1);
        for (_, sliced) in &self.grids {
            let fires = Self::next_end(sliced.grid, &state.slices, next);
            earlier(fires.map(|end| end - 1));
            if sliced.lateness > 0 {
                let bound = next.saturating_sub(sliced.lateness);
                let closes = Self::next_end(sliced.grid, &state.slices, bound);
                earlier(closes.map(|end| sliced.cleanup(end)));
            }
        }
        due
    }

    fn next_due(&self, state: &SharedState<A::Acc>) -> Option<i64> {
        let mut due = self.next_slice_due(state);
        let mut earlier = |at: Option<i64>| {
            if let Some(at) = at {
                due = Some(due.map_or(at, |due| due.min(at)));
            }
        };
        if let Some((_, lateness)) = self.session {
            earlier(state.sessions.next_due(lateness));
        }
        if let Some(rest) = &state.rest {
            earlier(rest.again.first().map(|(end, _)| end - 1));
            for panes in &rest.panes {
                earlier(
                    panes
                        .next_timer(TimeDomain::Event)
                        .map(Timestamp::as_millis),
                );
            }
        }
        due
    }

    /// Does everything that is due at one instant.
    fn fire_instant<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        at: i64,
        cx: &mut C,
    ) {
        while let Some((end, part)) = state.rest.as_mut().and_then(|rest| {
            let first = rest.again.first().filter(|(end, _)| end - 1 <= at)?;
            let first = *first;
            rest.again.remove(&first);
            Some(first)
        }) {
            if let Some((_, sliced)) = self.grids.iter().find(|(index, _)| *index == part) {
                self.fire(state, part, sliced.grid, end, cx);
            }
        }
        if at > state.reached {
            if !state.slices.is_empty() {
                for number in 0..self.grids.len() {
                    if self.grids[number].1.grid.is_end(at.saturating_add(1)) {
                        self.fire_next(state, number, at + 1, cx);
                    }
                }
            }
            state.reached = at;
        }
        if let Some((spec, lateness)) = self.session {
            state.sessions.advance(at, lateness, |window, contents| {
                cx.emit(Fired {
                    spec,
                    window,
                    contents,
                });
            });
        }
        self.fire_panes(state, TimeDomain::Event, Timestamp::from_millis(at), cx);
    }

    fn fire_panes<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        domain: TimeDomain,
        at: Timestamp,
        cx: &mut C,
    ) {
        if let Some(rest) = &mut state.rest {
            for (part, panes) in self.parts.iter().zip(&mut rest.panes) {
                part.rules.on_timer(panes, domain, at, cx);
            }
        }
    }

    /// Drops the slices that no open window has.
    fn drop_closed(&self, state: &mut SharedState<A::Acc>) {
        if state.slices.is_empty() {
            return;
        }
        let next = state.reached.saturating_add(1);
        let needed = self.grids.iter().map(|(_, sliced)| {
            let open = sliced
                .grid
                .first_end_after(next.saturating_sub(sliced.lateness));
            open - sliced.grid.size
        });
        let Some(needed) = needed.min() else { return };
        let SharedState {
            slices, cascades, ..
        } = state;
        slices.drop_before(needed, |slice| {
            for cascade in cascades.iter_mut().flatten() {
                cascade.forget(&self.aggregate, slice.start, slice.end, &slice.acc);
            }
        });
        if slices.len() <= FEW {
            cascades.clear();
        }
    }

    fn tidy(&self, state: &mut SharedState<A::Acc>) {
        if let Some(rest) = &state.rest
            && rest.again.is_empty()
            && rest.panes.iter().all(Panes::is_empty)
        {
            state.rest = None;
        }
    }

    fn want_calls<C: WindowContext<A::Acc>>(&self, state: &mut SharedState<A::Acc>, cx: &mut C) {
        let due = self.next_due(state).map(Timestamp::from_millis);
        state.wake.want(TimeDomain::Event, due, cx);
        let panes = state.rest.iter().flat_map(|rest| &rest.panes);
        let due = panes
            .filter_map(|panes| panes.next_timer(TimeDomain::Processing))
            .min();
        state.wake.want(TimeDomain::Processing, due, cx);
    }

    /// Sessions and what is evaluated window by window; before the slices, because it can fail.
    fn place_apart<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) -> Result<()> {
        for (index, part) in self.parts.iter().enumerate() {
            let late = match part.kind {
                Kind::Sliced => continue,
                Kind::Session => self.place_in_session(state, index, at, value, cx)?,
                Kind::Apart => {
                    let Some(panes) = state.panes(index, self.parts.len()) else {
                        continue;
                    };
                    let taken = part
                        .rules
                        .on_element(&self.aggregate, panes, at, value, cx)?;
                    taken == Taken::Late
                }
            };
            if late {
                cx.late(index);
            }
        }
        Ok(())
    }

    fn place_in_session<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        index: usize,
        at: Timestamp,
        value: &A::In,
        cx: &mut C,
    ) -> Result<bool> {
        let rules = &self.parts[index].rules;
        let gap_ms = match &rules.spec.assigner {
            Assigner::Session {
                gap: Gap::Fixed(gap),
                ..
            } => *gap,
            Assigner::Session {
                gap: Gap::Dynamic(gap),
                ..
            } => gap(value),
            _ => return Ok(false),
        };
        if gap_ms <= 0 {
            return Err(Error::InvalidGap { gap_ms });
        }
        let Some(end) = at.as_millis().checked_add(gap_ms) else {
            // Its end wraps round: Flink's arithmetic, window by window.
            let Some(panes) = state.panes(index, self.parts.len()) else {
                return Ok(false);
            };
            let taken = rules.on_element(&self.aggregate, panes, at, value, cx)?;
            return Ok(taken == Taken::Late);
        };
        let time = (cx.watermark().as_millis(), rules.spec.lateness);
        let new = Window::new(at, Timestamp::from_millis(end));
        let placed = state.sessions.add(
            &self.aggregate,
            new,
            (at, value),
            time,
            |window, contents| {
                cx.emit(Fired {
                    spec: index,
                    window,
                    contents,
                });
            },
        )?;
        Ok(placed == Placed::Late && rules.is_element_late(at, cx.watermark()))
    }
}

/// What one element means for one sliced specification.
enum Fate {
    /// It is in no window.
    Nowhere,
    /// All its open windows are ahead.
    Waits,
    /// It is in windows that have passed, from the one with the `newest` end to the `oldest`: they fire
    /// now. It may be in later ones too.
    Fires { newest: i64, oldest: i64 },
    /// Time was set back, or its windows are near the end of time: the open ones, newest first.
    OneByOne(Vec<(Window, WindowFate)>),
}

impl Fate {
    fn needs_slice(&self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::Waits | Self::Fires { .. } => true,
            Self::OneByOne(windows) => windows.iter().any(|(_, fate)| *fate != WindowFate::Apart),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WindowFate {
    /// Kept by itself: it was closed before time was set back, or reaches beyond the limit.
    Apart,
    Fires,
    FiresAgain,
    Waits,
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
                self.want_calls(state, cx);
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
        self.want_calls(state, cx);
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
        match domain {
            TimeDomain::Processing => self.fire_panes(state, domain, at, cx),
            TimeDomain::Event => {
                let upto = match self.firing {
                    Firing::InTimeOrder => at,
                    Firing::KeyByKey => at.max(cx.watermark()),
                }
                .as_millis();
                while let Some(due) = self.next_due(state).filter(|due| *due <= upto) {
                    self.fire_instant(state, due, cx);
                    self.drop_closed(state);
                }
                state.reached = state.reached.max(upto);
                self.drop_closed(state);
            }
        }
        self.tidy(state);
        self.want_calls(state, cx);
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
