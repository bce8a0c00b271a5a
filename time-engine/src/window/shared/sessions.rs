//! Sessions of one key, each in one accumulator.

use crate::{
    Error, Result, Timestamp,
    window::{Aggregate, Window},
};
use std::collections::VecDeque;

/// A session under the default trigger.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Session<Acc> {
    window: Window,
    acc: Acc,
    /// It will fire at its end. A fired one waits for late elements, and its clean-up.
    armed: bool,
}

impl<Acc> Session<Acc> {
    const fn last(&self) -> i64 {
        self.window.max_timestamp().as_millis()
    }

    const fn cleanup(&self, lateness: i64) -> i64 {
        self.last().saturating_add(lateness)
    }
}

/// The live sessions of a key in the order of time. They neither overlap nor touch, and none wraps
/// round the end of time.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Sessions<Acc>(VecDeque<Session<Acc>>);

impl<Acc> Default for Sessions<Acc> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

/// What became of an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placed {
    /// In a session that will fire.
    Waiting,
    /// In a session that is past its end: it fires now.
    Fires(Window),
    /// Its session is too old.
    Late,
}

impl<Acc: Clone> Sessions<Acc> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds an element whose own window is `new`, merging what it connects. The merge comes before the
    /// test for lateness.
    pub(super) fn add<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        new: Window,
        (at, value): (Timestamp, &A::In),
        (watermark, lateness): (i64, i64),
        mut fires: impl FnMut(Window, &Acc),
    ) -> Result<Placed> {
        let mut merged = new;
        let next = self.0.partition_point(|session| session.window < new);
        let mut from = next;
        if let Some(before) = next.checked_sub(1).and_then(|i| self.0.get(i))
            && before.window.intersects(merged)
        {
            merged = merged.cover(before.window);
            from -= 1;
        }
        let mut to = next;
        while let Some(after) = self.0.get(to)
            && after.window.intersects(merged)
        {
            merged = merged.cover(after.window);
            to += 1;
        }

        let last = merged.max_timestamp().as_millis();
        let changes = match self.0.get(from) {
            Some(first) if from < to => to - from > 1 || first.window != merged,
            _ => false,
        };
        if changes {
            // Wraps round, as Java's sum does.
            if last.wrapping_add(lateness) <= watermark {
                return Err(Error::MergedWindowInPast {
                    max_timestamp: merged.max_timestamp(),
                    now: Timestamp::from_millis(watermark),
                });
            }
            let rest: Vec<Session<Acc>> = self.0.drain(from + 1..to).collect();
            if let Some(first) = self.0.get_mut(from) {
                for part in rest {
                    aggregate.merge(&mut first.acc, &part.acc);
                }
                first.window = merged;
                first.armed = last > watermark;
            }
        }
        if last.saturating_add(lateness) <= watermark {
            // Only one without an end can still be there.
            if from < to {
                self.0.remove(from);
            }
            return Ok(Placed::Late);
        }
        if from == to {
            if self.0.capacity() == 0 {
                // Most keys have one session; the usual first step is room for four.
                self.0.reserve_exact(1);
            }
            self.0.insert(
                from,
                Session {
                    window: merged,
                    acc: aggregate.create(),
                    armed: false,
                },
            );
        }
        let Some(session) = self.0.get_mut(from) else {
            return Ok(Placed::Late);
        };
        aggregate.add(&mut session.acc, value, at);
        if last <= watermark {
            fires(merged, &session.acc);
            return Ok(Placed::Fires(merged));
        }
        session.armed = true;
        Ok(Placed::Waiting)
    }

    /// When the next session fires or goes.
    pub(super) fn next_due(&self, lateness: i64) -> Option<i64> {
        let armed = self.0.iter().find(|session| session.armed);
        let fired = self.0.iter().find(|session| !session.armed);
        let cleanup = fired.map(|session| session.cleanup(lateness));
        // One that lives to the end of time is never cleaned up.
        let cleanup = cleanup.filter(|at| *at != i64::MAX);
        match (armed.map(Session::last), cleanup) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// Fires and drops what is due up to `at`.
    pub(super) fn advance(&mut self, at: i64, lateness: i64, mut fires: impl FnMut(Window, &Acc)) {
        let mut index = 0;
        while let Some(session) = self.0.get_mut(index)
            && session.last() <= at
        {
            if std::mem::take(&mut session.armed) {
                fires(session.window, &session.acc);
            }
            let cleanup = session.cleanup(lateness);
            if cleanup <= at && cleanup != i64::MAX {
                self.0.remove(index);
            } else {
                index += 1;
            }
        }
    }
}
