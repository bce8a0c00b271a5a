//! What fires, and when.

use super::{SharedWindows, cascade::Cascade, grid::Grid, slices::Slices, state::SharedState};
use crate::{
    TimeDomain, Timestamp,
    window::{Aggregate, Fired, WindowContext, plain::Panes},
};

/// Below so many slices a window is put together directly.
const FEW: usize = 8;

impl<A: Aggregate> SharedWindows<A> {
    /// Fires one sliced window directly from its slices.
    pub(super) fn fire<C: WindowContext<A::Acc>>(
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
        let window = sliced.grid.window(end);
        let slices = state.slices.between(start, end).len();
        match slices {
            0 => {}
            1 => {
                if let Some(only) = state.slices.between(start, end).next() {
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
            _ if !self.invertible && state.slices.has_tree() => {
                let whole = state.slices.aggregate_by_tree(&self.aggregate, start, end);
                if let Some(contents) = &whole {
                    cx.emit(Fired {
                        spec,
                        window,
                        contents,
                    });
                }
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

    pub(super) fn next_due(&self, state: &SharedState<A::Acc>) -> Option<i64> {
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
    pub(super) fn fire_instant<C: WindowContext<A::Acc>>(
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

    pub(super) fn fire_panes<C: WindowContext<A::Acc>>(
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
    pub(super) fn drop_closed(&self, state: &mut SharedState<A::Acc>) {
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

    pub(super) fn tidy(&self, state: &mut SharedState<A::Acc>) {
        if let Some(rest) = &state.rest
            && rest.again.is_empty()
            && rest.panes.iter().all(Panes::is_empty)
        {
            state.rest = None;
        }
    }

    /// Asks to be called when the next thing is due: in event time at `due`.
    pub(super) fn want_calls<C: WindowContext<A::Acc>>(
        &self,
        state: &mut SharedState<A::Acc>,
        due: Option<i64>,
        cx: &mut C,
    ) {
        let due = due.map(Timestamp::from_millis);
        state.wake.want(TimeDomain::Event, due, cx);
        let panes = state.rest.iter().flat_map(|rest| &rest.panes);
        let due = panes
            .filter_map(|panes| panes.next_timer(TimeDomain::Processing))
            .min();
        state.wake.want(TimeDomain::Processing, due, cx);
    }
}
