//! Where an element goes.

use super::{Kind, SharedWindows, Sliced, sessions::Placed, state::SharedState};
use crate::{
    Error, Result, Timestamp,
    window::{
        Aggregate, Fired, Window, WindowContext,
        assigner::{Assigner, Gap},
        plain::Taken,
    },
};

impl<A: Aggregate> SharedWindows<A> {
    /// Puts an element that is not ahead of everything into the sliced windows.
    pub(super) fn place<C: WindowContext<A::Acc>>(
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
                    // At most a million: checked when the specification was.
                    let steps = (newest - oldest) / grid.slide() + 1;
                    let steps = i32::try_from(steps).unwrap_or(i32::MAX);
                    let windows = (0..steps).map(|step| {
                        let end = newest - i64::from(step) * grid.slide();
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

    /// Sessions and what is evaluated window by window; before the slices, because it can fail.
    pub(super) fn place_apart<C: WindowContext<A::Acc>>(
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
