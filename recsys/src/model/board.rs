use serde::{Deserialize, Serialize};

use crate::model::handle::Handle;

/// The best of all items by a key that only grows, kept exactly and without sweeps.
///
/// Exponentially decayed counters fit this: `log2(count) + time / half_life` does not change while
/// nothing happens, and orders items at any instant as their decayed counts do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Board {
    /// Largest key first, ties by handle.
    entries: Vec<(f64, Handle)>,
}

fn order(a: &(f64, Handle), b: &(f64, Handle)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

impl Board {
    /// Moves an item from its old key to a new, larger one.
    #[inline]
    pub(crate) fn update(&mut self, item: Handle, old: f64, new: f64, cap: usize) {
        // Most items are behind the last of a full board, and stay there.
        let behind = |last| order(last, &(new, item)).is_lt();
        if self.entries.len() < cap || !self.entries.last().is_some_and(behind) {
            self.place(item, old, new, cap);
        }
    }

    fn place(&mut self, item: Handle, old: f64, new: f64, cap: usize) {
        let is_first = self
            .entries
            .first()
            .is_none_or(|first| order(&(new, item), first).is_lt());
        let to = match is_first {
            true => 0,
            false => self
                .entries
                .partition_point(|e| order(e, &(new, item)).is_lt()),
        };
        // A key behind the last one is not there.
        let behind = |last: &(f64, Handle)| order(last, &(old, item)).is_lt();
        let was = match self.entries.last().is_none_or(behind) {
            true => Err(self.entries.len()),
            false => self.entries.binary_search_by(|e| order(e, &(old, item))),
        };
        match was {
            Ok(from) if to <= from => {
                self.entries[to..=from].rotate_right(1);
                self.entries[to] = (new, item);
            }
            Ok(from) => {
                self.entries.remove(from);
                self.insert((new, item), cap);
            }
            Err(_) if to < cap => self.insert((new, item), cap),
            Err(_) => {}
        }
    }

    fn insert(&mut self, entry: (f64, Handle), cap: usize) {
        if self.entries.len() >= cap {
            self.entries.truncate(cap.saturating_sub(1));
        }
        let to = self.entries.partition_point(|e| order(e, &entry).is_lt());
        self.entries.insert(to, entry);
    }

    pub(crate) fn remove(&mut self, item: Handle) {
        self.entries.retain(|e| e.1 != item);
    }

    /// Largest key first.
    pub(crate) fn entries(&self) -> &[(f64, Handle)] {
        &self.entries
    }

    pub(crate) fn largest(&self) -> Option<f64> {
        self.entries.first().map(|e| e.0)
    }
}

/// The key of a decayed counter after adding `weight` at `at_ms`.
pub(crate) fn grow(key: f64, weight: f64, at_ms: i64, half_life_ms: f64) -> f64 {
    let base = at_ms as f64 / half_life_ms;
    let log_count = key - base; // log2 of the count, decayed to `at_ms`
    if log_count > 50.0 {
        return key; // too large for the weight to make a difference
    }
    // exp2 of a very negative number is 0: an item not seen for long starts anew.
    base + (log_count.exp2() + weight).log2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_board_equals_a_sort() {
        let (mut board, mut keys) = (Board::default(), vec![f64::NEG_INFINITY; 50]);
        let mut x = 7_u64;
        for _ in 0..5_000 {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let i = (x >> 33) as usize % keys.len();
            let old = keys[i];
            keys[i] = keys[i].max(0.0) + ((x >> 50) % 7) as f64;
            board.update(Handle::new(i as u32, 0), old, keys[i], 10);
            let mut all: Vec<_> = (0..50)
                .map(|i| (keys[i as usize], Handle::new(i, 0)))
                .collect();
            all.sort_by(order);
            all.retain(|e| e.0.is_finite());
            all.truncate(10);
            assert_eq!(board.entries, all);
        }
    }

    #[test]
    fn a_counter_decays() {
        let key = grow(f64::NEG_INFINITY, 1.0, 0, 1000.0);
        let key = grow(key, 1.0, 1000, 1000.0);
        assert!(((key - 1.0).exp2() - 1.5).abs() < 1e-9);
    }
}
