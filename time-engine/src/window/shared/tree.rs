//! Aggregates of any run of slices in logarithmic time.

use crate::window::Aggregate;

/// A perfect binary tree of partial aggregates over the slices of a key: FlatFAT (Tangwongsan, Hirzel,
/// Schneider, Wu: "General Incremental Sliding-Window Aggregation", VLDB 2015).
///
/// It exists only where late elements make windows in the past fire: with it such an element costs
/// O(log n), not O(n). Order is kept, so aggregates need not commute. Not part of a checkpoint.
#[derive(Debug, Clone)]
pub(super) struct Tree<Acc> {
    /// Heap order: the root at 1, the leaves from `width` on.
    nodes: Vec<Option<Acc>>,
    width: usize,
    /// The leaf of the oldest slice that is still there. Leaves before it are stale; no run that is
    /// asked for has them, and so no node above them is used.
    base: usize,
    /// One past the last leaf in use.
    end: usize,
    /// Runs asked for since a leaf last changed.
    idle: usize,
}

impl<Acc: Clone> Tree<Acc> {
    /// Over these slices, oldest first.
    pub(super) fn new<'a, A>(aggregate: &A, slices: impl ExactSizeIterator<Item = &'a Acc>) -> Self
    where
        A: Aggregate<Acc = Acc>,
        Acc: 'a,
    {
        // Room for as many again, so that growing is amortized.
        let width = (slices.len() * 2).next_power_of_two().max(16);
        let end = slices.len();
        let mut nodes: Vec<Option<Acc>> = vec![None; width];
        nodes.extend(slices.cloned().map(Some));
        nodes.resize(2 * width, None);
        let mut tree = Self {
            nodes,
            width,
            base: 0,
            end,
            idle: 0,
        };
        for node in (1..width).rev() {
            tree.combine(aggregate, node);
        }
        tree
    }

    /// How many slices, from the oldest, it knows.
    pub(super) const fn len(&self) -> usize {
        self.end - self.base
    }

    /// The oldest slice is gone; `false` when so many are that a new tree is due.
    pub(super) const fn forget_oldest(&mut self) -> bool {
        if self.base < self.end {
            self.base += 1;
        }
        self.base <= self.width / 2
    }

    /// A slice it knows has changed.
    pub(super) fn change<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        index: usize,
        acc: &Acc,
    ) {
        self.idle = 0;
        self.set(aggregate, self.base + index, acc);
    }

    /// Learns the next slice; `false` if it is full.
    pub(super) fn push<A: Aggregate<Acc = Acc>>(&mut self, aggregate: &A, acc: &Acc) -> bool {
        if self.end == self.width {
            return false;
        }
        self.end += 1;
        self.set(aggregate, self.end - 1, acc);
        true
    }

    fn set<A: Aggregate<Acc = Acc>>(&mut self, aggregate: &A, leaf: usize, acc: &Acc) {
        let mut node = self.width + leaf;
        if let Some(slot) = self.nodes.get_mut(node) {
            *slot = Some(acc.clone());
        }
        while node > 1 {
            node /= 2;
            self.combine(aggregate, node);
        }
    }

    fn combine<A: Aggregate<Acc = Acc>>(&mut self, aggregate: &A, node: usize) {
        self.nodes[node] = match (&self.nodes[2 * node], &self.nodes[2 * node + 1]) {
            (Some(earlier), Some(later)) => {
                let mut whole = earlier.clone();
                aggregate.merge(&mut whole, later);
                Some(whole)
            }
            (earlier, later) => earlier.as_ref().or(later.as_ref()).cloned(),
        };
    }

    /// Whether late elements have become so rare that the tree does not pay.
    pub(super) const fn is_idle(&self) -> bool {
        self.idle > self.width
    }

    /// The aggregate of the slices `from..to`, all of them known.
    pub(super) fn aggregate<A: Aggregate<Acc = Acc>>(
        &mut self,
        aggregate: &A,
        from: usize,
        to: usize,
    ) -> Option<Acc> {
        self.idle += 1;
        let (mut left, mut right) = (self.width + self.base + from, self.width + self.base + to);
        let (mut head, mut tail): (Option<Acc>, Option<Acc>) = (None, None);
        let join = |earlier: Option<Acc>, later: Option<&Acc>| match (earlier, later) {
            (Some(mut earlier), Some(later)) => {
                aggregate.merge(&mut earlier, later);
                Some(earlier)
            }
            (earlier, later) => earlier.or_else(|| later.cloned()),
        };
        while left < right {
            if left % 2 == 1 {
                head = join(head, self.nodes[left].as_ref());
                left += 1;
            }
            if right % 2 == 1 {
                right -= 1;
                tail = join(self.nodes[right].clone(), tail.as_ref());
            }
            left /= 2;
            right /= 2;
        }
        join(head, tail.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Timestamp, window::Collect};

    #[test]
    fn runs_keep_their_order_through_growth_and_loss() {
        let aggregate = Collect::new();
        let list = |n: usize| {
            let mut acc = aggregate.create();
            aggregate.add(&mut acc, &n, Timestamp::EPOCH);
            acc
        };
        let mut accs: Vec<_> = (0..20).map(list).collect();
        let mut tree = Tree::new(&aggregate, accs.iter());
        let mut first = 0;
        for step in 20..60 {
            accs.push(list(step));
            if !tree.push(&aggregate, &accs[step]) {
                tree = Tree::new(&aggregate, accs[first..].iter());
            }
            if step % 2 == 0 {
                first += 1;
                if !tree.forget_oldest() {
                    tree = Tree::new(&aggregate, accs[first..].iter());
                }
            }
            if step % 3 == 0 {
                aggregate.add(&mut accs[step - 5], &(1_000 + step), Timestamp::EPOCH);
                tree.change(&aggregate, step - 5 - first, &accs[step - 5]);
            }
            assert_eq!(tree.len(), accs.len() - first);
            for (from, to) in [(0, tree.len()), (1, 9), (7, 8), (3, tree.len() - 2), (4, 4)] {
                let expected: Vec<_> = accs[first + from..first + to].concat();
                let got = tree.aggregate(&aggregate, from, to).unwrap_or_default();
                assert_eq!(got, expected);
            }
        }
    }
}
