//! The aggregate of a window that slides over slices, in a few operations a step.

use super::slices::Slices;
use crate::{Timestamp, window::Aggregate};

/// What is known of the last window of one specification, to get at the next one faster. It can be
/// thrown away at any time, and is no part of a checkpoint.
#[derive(Debug, Clone)]
pub(super) enum Cascade<Acc> {
    /// The aggregate of the slices in `[from, to)`; what leaves is taken out of it.
    Running { whole: Acc, from: i64, to: i64 },
    /// Two stacks (Tangwongsan, Hirzel, Schneider: "Low-Latency Sliding-Window Aggregation in
    /// Worst-Case Constant Time", 2017, section 3): for what cannot be taken out again. `front` has,
    /// oldest last, the aggregate from each slice up to `split`; `back` the one from `split` to `to`.
    /// A slice is moved to the front once: constant amortized.
    Stacks {
        front: Vec<(i64, Acc)>,
        split: i64,
        back: Option<Acc>,
        to: i64,
    },
}

impl<Acc: Clone> Cascade<Acc> {
    /// The aggregate of `[start, end)`, which has at least one slice; `None` is no cascade yet.
    pub(super) fn aggregate<A: Aggregate<Acc = Acc>>(
        this: &mut Option<Self>,
        aggregate: &A,
        invertible: bool,
        slices: &Slices<Acc>,
        start: i64,
        end: i64,
    ) -> Option<Acc> {
        match this {
            Some(Self::Running { whole, from, to })
                if start >= *from && start < *to && end >= *to =>
            {
                for slice in slices.between(*from, start) {
                    aggregate.retract(whole, &slice.acc);
                }
                for slice in slices.between(*to, end) {
                    aggregate.merge(whole, &slice.acc);
                }
                (*from, *to) = (start, end);
                Some(whole.clone())
            }
            Some(Self::Stacks {
                front,
                split,
                back,
                to,
            }) if start < *split && end >= *to => {
                while front.last().is_some_and(|(oldest, _)| *oldest < start) {
                    front.pop();
                }
                for slice in slices.between(*to, end) {
                    match back {
                        Some(back) => aggregate.merge(back, &slice.acc),
                        None => *back = Some(slice.acc.clone()),
                    }
                }
                *to = end;
                match (front.last(), back.as_ref()) {
                    (Some((_, front)), Some(back)) => {
                        let mut whole = front.clone();
                        aggregate.merge(&mut whole, back);
                        Some(whole)
                    }
                    (Some((_, part)), None) => Some(part.clone()),
                    (None, part) => part.cloned(),
                }
            }
            _ => {
                let (next, whole) = Self::start(aggregate, invertible, slices, start, end)?;
                *this = Some(next);
                Some(whole)
            }
        }
    }

    fn start<A: Aggregate<Acc = Acc>>(
        aggregate: &A,
        invertible: bool,
        slices: &Slices<Acc>,
        start: i64,
        end: i64,
    ) -> Option<(Self, Acc)> {
        if invertible {
            let whole = slices.aggregate(aggregate, start, end)?;
            let running = Self::Running {
                whole: whole.clone(),
                from: start,
                to: end,
            };
            return Some((running, whole));
        }
        let mut front: Vec<(i64, Acc)> = Vec::new();
        for slice in slices.between(start, end).rev() {
            let mut acc = slice.acc.clone();
            if let Some((_, later)) = front.last() {
                aggregate.merge(&mut acc, later);
            }
            front.push((slice.start, acc));
        }
        let whole = front.last()?.1.clone();
        let stacks = Self::Stacks {
            front,
            split: end,
            back: None,
            to: end,
        };
        Some((stacks, whole))
    }

    /// A slice is about to be dropped: nothing will ask for it again.
    pub(super) fn forget<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        start: i64,
        end: i64,
        acc: &Acc,
    ) {
        if let Self::Running { whole, from, to } = self
            && (*from..*to).contains(&start)
        {
            aggregate.retract(whole, acc);
            *from = end;
        }
    }

    /// An element came into the slice that starts at `start`. Gives whether what is known still holds.
    pub(super) fn take_in<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        start: i64,
        value: &A::In,
        at: Timestamp,
    ) -> bool {
        match self {
            Self::Running { whole, from, to } => {
                if (*from..*to).contains(&start) {
                    aggregate.add(whole, value, at);
                }
                true
            }
            Self::Stacks { to, .. } => start >= *to,
        }
    }
}
