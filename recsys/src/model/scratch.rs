//! Memory reused from query to query; none of it outlives one call in meaning.

use crate::model::handle::Handle;

/// Sums by slot, with the list of slots that have one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    values: Vec<Sum>,
    touched: Vec<u32>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    holder: Option<Handle>,
    sums: [f32; 2],
}

impl Sums {
    pub(crate) fn clear(&mut self) {
        for slot in self.touched.drain(..) {
            self.values[slot as usize] = Sum::default();
        }
    }

    /// Whatever is added to the item from now on, it will not be among the results: nothing
    /// finite brings a sum back from negative infinity, so the many additions need no test.
    pub(crate) fn block(&mut self, handle: Handle) {
        self.add(handle, [f32::NEG_INFINITY; 2]);
    }

    /// Where references of two generations meet in one slot, the younger ones count.
    #[inline]
    pub(crate) fn add(&mut self, handle: Handle, by: [f32; 2]) {
        let at = handle.slot() as usize;
        match self.values.get_mut(at) {
            Some(Sum {
                holder: Some(holder),
                sums,
            }) if *holder == handle => {
                sums[0] += by[0];
                sums[1] += by[1];
            }
            _ => self.add_first(handle, by),
        }
    }

    fn add_first(&mut self, handle: Handle, by: [f32; 2]) {
        let at = handle.slot() as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, Sum::default());
        }
        let sum = &mut self.values[at];
        match sum.holder {
            Some(other) if other.is_younger(handle) => return,
            Some(_) => {}
            None => self.touched.push(handle.slot()),
        }
        *sum = Sum {
            holder: Some(handle),
            sums: by,
        };
    }

    /// How many slots have a sum.
    pub(crate) fn len(&self) -> usize {
        self.touched.len()
    }

    /// In the order of first touch.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, [f32; 2])> {
        self.touched.iter().filter_map(|slot| {
            let Sum { holder, sums } = &self.values[*slot as usize];
            holder.map(|holder| (holder, *sums))
        })
    }
}

/// A number by slot, forgotten all at once.
#[derive(Clone, Debug, Default)]
pub(crate) struct Marks {
    values: Vec<(u32, u32)>,
    epoch: u32,
}

impl Marks {
    pub(crate) fn clear(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.values.clear();
            self.epoch = 1;
        }
    }

    pub(crate) fn set(&mut self, slot: u32, value: u32) {
        let at = slot as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, (0, 0));
        }
        self.values[at] = (self.epoch, value);
    }

    pub(crate) fn get(&self, slot: u32) -> Option<u32> {
        match self.values.get(slot as usize) {
            Some((epoch, value)) if *epoch == self.epoch => Some(*value),
            _ => None,
        }
    }
}

/// The `n` largest of many, ties by handle: what is surely not among them costs one comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Top {
    list: Vec<(f32, Handle)>,
    n: usize,
    /// The smallest that can still be among them.
    floor: f32,
}

fn order(a: &(f32, Handle), b: &(f32, Handle)) -> std::cmp::Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1))
}

impl Top {
    pub(crate) fn start(&mut self, n: usize) {
        self.list.clear();
        (self.n, self.floor) = (n.max(1), f32::NEG_INFINITY);
    }

    #[inline]
    pub(crate) fn push(&mut self, score: f32, handle: Handle) {
        if score < self.floor {
            return;
        }
        self.list.push((score, handle));
        if self.list.len() >= 4 * self.n {
            self.select();
        }
    }

    #[cold]
    fn select(&mut self) {
        if self.list.len() > self.n {
            let (_, last, _) = self.list.select_nth_unstable_by(self.n - 1, order);
            self.floor = last.0;
            self.list.truncate(self.n);
        }
    }

    /// The largest, largest first.
    pub(crate) fn finish(&mut self) -> &[(f32, Handle)] {
        self.select();
        self.list.sort_unstable_by(order);
        &self.list
    }
}

/// Keeps the `n` largest, largest first, ties by handle.
pub(crate) fn keep_top(list: &mut Vec<(f32, Handle)>, n: usize) {
    if list.len() > n {
        list.select_nth_unstable_by(n, order);
        list.truncate(n);
    }
    list.sort_unstable_by(order);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_top_equals_a_sort() {
        let (mut top, mut x) = (Top::default(), 5_u64);
        for n in [1, 3, 50] {
            let mut all = Vec::new();
            top.start(n);
            for slot in 0..2_000 {
                x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let entry = ((x >> 55) as f32, Handle::new(slot, 0));
                top.push(entry.0, entry.1);
                all.push(entry);
            }
            all.sort_by(order);
            all.truncate(n);
            assert_eq!(top.finish(), all);
        }
    }
}
