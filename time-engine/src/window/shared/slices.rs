//! The slices of one key: what all overlapping windows are put together from.

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
pub(super) struct Slices<Acc>(VecDeque<Slice<Acc>>);

impl<Acc> Default for Slices<Acc> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

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
        self.0.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
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
        if let Some(last) = self.0.back_mut()
            && last.start <= ms
        {
            if ms < last.end {
                aggregate.add(&mut last.acc, value, at);
                return Took::Known(last.start);
            }
            return self.insert(self.0.len(), aggregate, at, value, borders());
        }
        let index = self.0.partition_point(|slice| slice.start <= ms);
        if let Some(slice) = index.checked_sub(1).and_then(|i| self.0.get_mut(i))
            && ms < slice.end
        {
            aggregate.add(&mut slice.acc, value, at);
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
        self.0.insert(index, Slice { start, end, acc });
        Took::New(start)
    }

    fn range(&self, start: i64, end: i64) -> std::ops::Range<usize> {
        let from = self.0.partition_point(|slice| slice.start < start);
        // Windows that end with the newest slice are the usual ones.
        let to = match self.0.back() {
            Some(last) if last.start < end => self.0.len(),
            _ => self.0.partition_point(|slice| slice.start < end),
        };
        from..to.max(from)
    }

    /// The slices of `[start, end)`, both of them borders.
    pub(super) fn between(
        &self,
        start: i64,
        end: i64,
    ) -> impl ExactSizeIterator<Item = &Slice<Acc>> + DoubleEndedIterator {
        self.0.range(self.range(start, end))
    }

    /// The first slice that starts at or after an instant, and those after it.
    pub(super) fn since(&self, start: i64) -> impl Iterator<Item = &Slice<Acc>> {
        let from = self.0.partition_point(|slice| slice.start < start);
        self.0.range(from..)
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
        while let Some(first) = self.0.front()
            && first.start < start
        {
            dropped(first);
            self.0.pop_front();
        }
    }

    /// The aggregates of windows that all have the slice of one late element in them, newest first.
    ///
    /// Each is a run of slices up to that one and a run from it on, so all of them together cost one
    /// pass over the slices and one operation each.
    pub(super) fn around<A: Aggregate<Acc = Acc>>(
        &self,
        aggregate: &A,
        at: i64,
        windows: impl Iterator<Item = (i64, i64)> + Clone,
        mut found: impl FnMut((i64, i64), &Acc),
    ) {
        let (mut newest, mut oldest) = (None, None);
        for window in windows.clone() {
            newest.get_or_insert(window.1);
            oldest = Some(window.0);
        }
        let (Some(newest), Some(oldest)) = (newest, oldest) else {
            return;
        };
        let few = windows.clone().nth(1).is_none();
        if few || self.between(oldest, newest).len() <= 2 {
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
        let middle = self.0.partition_point(|slice| slice.start <= at);
        let range = self.range(oldest, newest);
        for slice in self.0.range(range.start..middle.max(range.start)).rev() {
            let mut acc = slice.acc.clone();
            if let Some((_, later)) = upto.last() {
                aggregate.merge(&mut acc, later);
            }
            upto.push((slice.start, acc));
        }
        for slice in self.0.range(middle.min(range.end)..range.end) {
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
