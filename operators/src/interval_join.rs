//! Joining two streams by key and nearness in time.

use crate::connect::Either;
use crate::element::{Collector, Element};
use crate::error::{Error, Result};
use crate::operator::{Operator, OperatorContext};
use crate::side_output::OutputTag;
use serde::{Serialize, de::DeserializeOwned};
use state_backend::{MapDef, MapState, StateStore};
use std::fmt;
use time_engine::{TimeDomain, Timestamp};

/// Pairs each element of one stream with those of another that have its key and lie near it in time (Flink's
/// `intervalJoin`, `IntervalJoinOperator`): `b` with `a` when `a.time + lower <= b.time <= a.time + upper`.
///
/// It is the operator of two connected streams. A pair has the later of the two timestamps. Elements wait in
/// state, by key and time, until event time says that nothing can join them any more; one behind the watermark
/// joins nothing, and goes to the side output [`late_left`] or [`late_right`]. One exactly at the watermark is not
/// late, but what waited for that instant alone is gone: as in Flink.
///
/// ```
/// # use operators::{IntervalJoin, JobConfig, StreamEnvironment, VecSource};
/// # use time_engine::{Timestamp, watermark::Monotonous};
/// let env = StreamEnvironment::new();
/// let at = |(_, at): &(u64, i64)| Timestamp::from_millis(*at);
/// let orders = env.source("orders", VecSource::new([(1, 0), (2, 500)]));
/// let payments = env.source("payments", VecSource::new([(2, 700), (1, 9_000)]));
/// let paid = orders
///     .assign_timestamps(at, Monotonous::new)
///     .key_by(|(id, _)| *id)
///     .connect(payments.assign_timestamps(at, Monotonous::new).key_by(|(id, _)| *id))
///     // paid within five seconds
///     .process("paid", || IntervalJoin::new(0, 5_000, |order: &(u64, i64), _: &(u64, i64)| order.0))
///     .collect("out");
/// env.execute(JobConfig::default())?.wait()?;
/// assert_eq!(paid.take(), [2]);
/// # Ok::<(), operators::Error>(())
/// ```
///
/// Cost: an element reads all that waits on the other side under its key.
pub struct IntervalJoin<A, B, F> {
    lower_ms: i64,
    upper_ms: i64,
    join: F,
    left: MapState<i64, Vec<A>>,
    right: MapState<i64, Vec<B>>,
}

impl<A, B, F> fmt::Debug for IntervalJoin<A, B, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IntervalJoin")
            .field("lower_ms", &self.lower_ms)
            .field("upper_ms", &self.upper_ms)
            .finish_non_exhaustive()
    }
}

/// The side output of an [`IntervalJoin`] for elements of the first stream that came behind the watermark.
pub const fn late_left<A>() -> OutputTag<A> {
    OutputTag::new("late-left")
}

/// The side output of an [`IntervalJoin`] for elements of the second stream that came behind the watermark.
pub const fn late_right<B>() -> OutputTag<B> {
    OutputTag::new("late-right")
}

impl<A, B, F> IntervalJoin<A, B, F> {
    /// Joins elements of the second stream from `lower_ms` to `upper_ms` after one of the first, both included;
    /// negative is before. `join` makes the result of a pair.
    ///
    /// The job fails when it starts if `lower_ms` is above `upper_ms`.
    pub fn new<C>(lower_ms: i64, upper_ms: i64, join: F) -> Self
    where
        F: Fn(&A, &B) -> C,
    {
        Self {
            lower_ms,
            upper_ms,
            join,
            left: MapState::default(),
            right: MapState::default(),
        }
    }
}

impl<A, B, C, F> Operator for IntervalJoin<A, B, F>
where
    A: Serialize + DeserializeOwned + Send + 'static,
    B: Serialize + DeserializeOwned + Send + 'static,
    C: Send + 'static,
    F: Fn(&A, &B) -> C + Send + 'static,
{
    type In = Either<A, B>;
    type Out = C;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        if self.lower_ms > self.upper_ms {
            return Err(Error::invalid(format!(
                "an interval join from {} ms to {} ms holds nothing",
                self.lower_ms, self.upper_ms
            )));
        }
        self.left = store.map(&MapDef::new("left"))?;
        self.right = store.map(&MapDef::new("right"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Either<A, B>>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<C>,
    ) -> Result<()> {
        let Some(at) = element.event_time() else {
            return Err(Error::user(
                "an interval join needs event time: assign_timestamps before key_by",
            ));
        };
        let late = at < cx.timers.watermark().timestamp();
        let ms = at.as_millis();
        match element.value {
            Either::Left(a) if late => cx.side_output(&late_left(), Element::at(a, at)),
            Either::Right(b) if late => cx.side_output(&late_right(), Element::at(b, at)),
            Either::Left(a) => {
                let (from, to) = (
                    ms.saturating_add(self.lower_ms),
                    ms.saturating_add(self.upper_ms),
                );
                self.right.for_each(&mut cx.state, |other, bs| {
                    if (from..=to).contains(&other) {
                        let at = Timestamp::from_millis(ms.max(other));
                        bs.iter()
                            .for_each(|b| out.collect_at((self.join)(&a, b), at));
                    }
                })?;
                self.left
                    .update_or_insert_with(&mut cx.state, &ms, Vec::new, |bucket| bucket.push(a))?;
                cx.timers
                    .register_event(Timestamp::from_millis(self.left_until(ms)));
            }
            Either::Right(b) => {
                let (from, to) = (
                    ms.saturating_sub(self.upper_ms),
                    ms.saturating_sub(self.lower_ms),
                );
                self.left.for_each(&mut cx.state, |other, as_| {
                    if (from..=to).contains(&other) {
                        let at = Timestamp::from_millis(ms.max(other));
                        as_.iter()
                            .for_each(|a| out.collect_at((self.join)(a, &b), at));
                    }
                })?;
                self.right
                    .update_or_insert_with(&mut cx.state, &ms, Vec::new, |bucket| bucket.push(b))?;
                cx.timers
                    .register_event(Timestamp::from_millis(self.right_until(ms)));
            }
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: TimeDomain,
        at: Timestamp,
        cx: &mut OperatorContext<'_>,
        _: &mut dyn Collector<C>,
    ) -> Result<()> {
        // All that waits until now, of either side: a timer does not say which of them it was set for.
        let now = at.as_millis();
        let left = now.saturating_sub(self.upper_ms.max(0));
        let right = now.saturating_add(self.lower_ms.min(0));
        self.left.remove(&mut cx.state, &left)?;
        self.right.remove(&mut cx.state, &right)?;
        Ok(())
    }
}

impl<A, B, F> IntervalJoin<A, B, F> {
    /// When nothing can join an element of the first stream any more.
    fn left_until(&self, ms: i64) -> i64 {
        ms.saturating_add(self.upper_ms.max(0))
    }

    /// When nothing can join an element of the second stream any more.
    fn right_until(&self, ms: i64) -> i64 {
        ms.saturating_sub(self.lower_ms.min(0))
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests;
