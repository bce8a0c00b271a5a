//! The slices of one key: what all overlapping windows are put together from.

use super::tree::Tree;
use crate::{Timestamp, window::Aggregate};
use std::collections::VecDeque;

/// The elements between two neighbouring window borders.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Slice<Acc> {
    pub(super) start: i64,
    pub(super) end: i64,
    pub(super) acc: Acc,
}

/// The slices that have elements, in the order of time. No border of a window lies inside one.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "Acc: serde::Serialize",
        deserialize = "Acc: serde::Deserialize<'de>"
    ))
)]
pub(super) struct Slices<Acc> {
    list: VecDeque<Slice<Acc>>,
    /// Over the first slices of the list, where late elements come.
    #[cfg_attr(feature = "serde", serde(skip))]
    tree: Option<Box<Tree<Acc>>>,
}

impl<Acc> Default for Slices<Acc> {
    fn default() -> Self {
        Self {
            list: VecDeque::new(),
            tree: None,
        }
    }
}

/// Below so many slices a tree does not pay.
const FEW: usize = 16;

/// Which slice took an element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Took {
    /// One that was there; its start.
    Known(i64),
    /// A new one.
    New(i64),
}

impl<Acc: Clone> Slices<Acc> {
    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// Adds an element; `borders` gives those of a new slice.
    pub(super) fn add<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        at: Timestamp,
        value: &A::In,
        borders: impl FnOnce() -> (i64, i64),
    ) -> Took {
        let ms = at.as_millis();
        // Most elements are for the newest slice.
        let newest = self.list.len().wrapping_sub(1);
        if let Some(last) = self.list.back_mut()
            && last.start <= ms
        {
            if ms < last.end {
                aggregate.add(&mut last.acc, value, at);
                if let Some(tree) = &mut self.tree
                    && tree.len() > newest
                {
                    tree.change(aggregate, newest, &last.acc);
                }
                return Took::Known(last.start);
            }
            return self.insert(self.list.len(), aggregate, at, value, borders());
        }
        let index = self.list.partition_point(|slice| slice.start <= ms);
        if let Some(slice) = index.checked_sub(1).and_then(|i| self.list.get_mut(i))
            && ms < slice.end
        {
            aggregate.add(&mut slice.acc, value, at);
            if let Some(tree) = &mut self.tree
                && index <= tree.len()
            {
                tree.change(aggregate, index - 1, &slice.acc);
            }
            return Took::Known(slice.start);
        }
        self.insert(index, aggregate, at, value, borders())
    }

    fn insert<A: Aggregate<Acc = Acc>>(
        &mut self,
        index: usize,
        aggregate: &A,
        at: Timestamp,
        value: &A::In,
        (start, end): (i64, i64),
    ) -> Took {
        let mut acc = aggregate.create();
        aggregate.add(&mut acc, value, at);
        if self.tree.as_ref().is_some_and(|tree| index < tree.len()) {
            self.tree = None;
        }
        if self.list.capacity() == 0 {
            // Most keys have few slices; the usual first step is room for four.
            self.list.reserve_exact(1);
        }
        self.list.insert(index, Slice { start, end, acc });
        Took::New(start)
    }

    fn range(&self, start: i64, end: i64) -> std::ops::Range<usize> {
        let from = self.list.partition_point(|slice| slice.start < start);
        // Windows that end with the newest slice are the usual ones.
        let to = match self.list.back() {
            Some(last) if last.start < end => self.list.len(),
            _ => self.list.partition_point(|slice| slice.start < end),
        };
        from..to.max(from)
    }

    /// The slices of `[start, end)`, both of them borders.
    pub(super) fn between(
        &self,
        start: i64,
        end: i64,
    ) -> impl ExactSizeIterator<Item = &Slice<Acc>> + DoubleEndedIterator {
        self.list.range(self.range(start, end))
    }

    /// The first slice that starts at or after an instant, and those after it.
    pub(super) fn since(&self, start: i64) -> impl Iterator<Item = &Slice<Acc>> {
        let from = self.list.partition_point(|slice| slice.start < start);
        self.list.range(from..)
    }

    /// The aggregate of `[start, end)`, slice by slice; `None` if there are none.
    pub(super) fn aggregate<A: Aggregate<Acc = Acc>>(
        &self,
        aggregate: &A,
        start: i64,
        end: i64,
    ) -> Option<Acc> {
        let mut slices = self.between(start, end);
        let mut whole = slices.next()?.acc.clone();
        slices.for_each(|slice| aggregate.merge(&mut whole, &slice.acc));
        Some(whole)
    }

    /// Drops the slices that start before an instant, showing each.
    pub(super) fn drop_before(&mut self, start: i64, mut dropped: impl FnMut(&Slice<Acc>)) {
        while let Some(first) = self.list.front()
            && first.start < start
        {
            dropped(first);
            self.list.pop_front();
            if self.tree.as_mut().is_some_and(|tree| !tree.forget_oldest()) {
                self.tree = None;
            }
        }
    }

    /// Whether runs of slices come in logarithmic time: after late elements, for a while.
    pub(super) fn has_tree(&mut self) -> bool {
        if self.tree.as_ref().is_some_and(|tree| tree.is_idle()) {
            self.tree = None;
        }
        self.tree.is_some()
    }

    /// The aggregate of `[start, end)` by way of the tree, which is made if need be.
    pub(super) fn aggregate_by_tree<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        start: i64,
        end: i64,
    ) -> Option<Acc> {
        let range = self.range(start, end);
        let list = &self.list;
        let grown = self.tree.take().and_then(|mut tree| {
            let unknown = tree.len()..range.end;
            let fits = unknown.into_iter().all(|index| {
                list.get(index)
                    .is_some_and(|s| tree.push(aggregate, &s.acc))
            });
            fits.then_some(tree)
        });
        let tree = self.tree.insert(grown.unwrap_or_else(|| {
            let known = list.range(..range.end).map(|slice| &slice.acc);
            Box::new(Tree::new(aggregate, known))
        }));
        tree.aggregate(aggregate, range.start, range.end)
    }

    /// The aggregates of windows that all have the slice of one late element in them, newest first.
    ///
    /// A few of them come from the tree, O(log n) each. Many come from one pass over the slices, for each
    /// window is a run of slices up to that one and a run from it on.
    pub(super) fn around<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        at: i64,
        windows: impl ExactSizeIterator<Item = (i64, i64)> + DoubleEndedIterator + Clone,
        mut found: impl FnMut((i64, i64), &Acc),
    ) {
        let (newest, oldest) = (windows.clone().next(), windows.clone().next_back());
        let (Some((_, newest)), Some((oldest, _))) = (newest, oldest) else {
            return;
        };
        let slices = self.between(oldest, newest).len();
        let steps = 2 * slices.max(2).ilog2() as usize;
        if slices > FEW && windows.len().saturating_mul(steps) < slices {
            for window in windows {
                if let Some(whole) = self.aggregate_by_tree(aggregate, window.0, window.1) {
                    found(window, &whole);
                }
            }
            return;
        }
        if windows.len() == 1 || slices <= 2 {
            for window in windows {
                if let Some(whole) = self.aggregate(aggregate, window.0, window.1) {
                    found(window, &whole);
                }
            }
            return;
        }
        // Up to and with the element's slice, growing towards the past; from the next one on, growing
        // towards the future.
        let mut upto: Vec<(i64, Acc)> = Vec::new();
        let mut after: Vec<(i64, Acc)> = Vec::new();
        let middle = self.list.partition_point(|slice| slice.start <= at);
        let range = self.range(oldest, newest);
        for slice in self.list.range(range.start..middle.max(range.start)).rev() {
            let mut acc = slice.acc.clone();
            if let Some((_, later)) = upto.last() {
                aggregate.merge(&mut acc, later);
            }
            upto.push((slice.start, acc));
        }
        for slice in self.list.range(middle.min(range.end)..range.end) {
            let mut acc = match after.last() {
                Some((_, earlier)) => earlier.clone(),
                None => aggregate.create(),
            };
            aggregate.merge(&mut acc, &slice.acc);
            after.push((slice.start, acc));
        }
        for (start, end) in windows {
            let reach = upto.partition_point(|(from, _)| *from >= start);
            let ahead = after.partition_point(|(from, _)| *from < end);
            let mut whole = match reach.checked_sub(1).and_then(|i| upto.get(i)) {
                Some((_, acc)) => acc.clone(),
                None => continue,
            };
            if let Some((_, later)) = ahead.checked_sub(1).and_then(|i| after.get(i)) {
                aggregate.merge(&mut whole, later);
            }
            found((start, end), &whole);
        }
    }
}
