//! Memory reused from query to query; none of it outlives one call in meaning.

use crate::model::handle::Handle;
use crate::model::options::{KNN_ITEMS, KNN_PROBES};

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

    #[inline]
    pub(crate) fn set(&mut self, slot: u32, value: u32) {
        let at = slot as usize;
        if at >= self.values.len() {
            self.values.resize(at + 1, (0, 0));
        }
        self.values[at] = (self.epoch, value);
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<u32> {
        match self.values.get(slot as usize) {
            Some((epoch, value)) if *epoch == self.epoch => Some(*value),
            _ => None,
        }
    }
}

/// Items that are left out of a query.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    marks: Marks,
    items: Vec<Handle>,
}

impl Left {
    pub(crate) fn clear(&mut self) {
        self.marks.clear();
        self.items.clear();
    }

    pub(crate) fn push(&mut self, item: Handle) {
        if !self.contains(item) {
            self.marks.set(item.slot(), item.bits());
            self.items.push(item);
        }
    }

    #[inline]
    pub(crate) fn contains(&self, item: Handle) -> bool {
        self.marks.get(item.slot()) == Some(item.bits())
    }

    /// In the order they came, some perhaps more than once.
    pub(crate) fn items(&self) -> &[Handle] {
        &self.items
    }
}

/// The `n` largest of many positive scores with a number each, ties to the smaller number: what is surely not among them costs one
/// comparison.
#[derive(Clone, Debug, Default)]
pub(crate) struct Top {
    /// Positive floats are ordered as their bits are, so one integer holds score and tie-break.
    keys: Vec<u64>,
    n: usize,
    floor: f32,
}

impl Top {
    pub(crate) fn start(&mut self, n: usize) {
        self.keys.clear();
        (self.n, self.floor) = (n.max(1), f32::MIN_POSITIVE);
    }

    /// The smallest score that can still be among them.
    #[inline]
    pub(crate) fn floor(&self) -> f32 {
        self.floor
    }

    /// The bits of some of the scores, or of no more than some are: what is below the `n`th of them is
    /// not wanted.
    pub(crate) fn raise(&mut self, some: &mut [u32]) {
        if let Some(at) = some.len().checked_sub(self.n) {
            let (_, nth, _) = some.select_nth_unstable(at);
            self.floor = self.floor.max(f32::from_bits(*nth));
        }
    }

    #[inline]
    pub(crate) fn push(&mut self, score: f32, number: u32) {
        if score >= self.floor {
            self.keys
                .push(u64::from(score.to_bits()) << 32 | u64::from(!number));
            if self.keys.len() >= 3 * self.n {
                self.select();
            }
        }
    }

    #[cold]
    fn select(&mut self) {
        if self.keys.len() > self.n {
            let (_, last, _) = self
                .keys
                .select_nth_unstable_by(self.n - 1, |a, b| b.cmp(a));
            self.floor = f32::from_bits((*last >> 32) as u32);
            self.keys.truncate(self.n);
        }
    }

    /// The numbers of the largest, in no order.
    pub(crate) fn chosen(&mut self) -> impl Iterator<Item = u32> {
        self.select();
        self.keys.iter().map(|key| !(*key as u32))
    }

    /// Puts the largest into `list`, largest first.
    pub(crate) fn finish(&mut self, list: &mut Vec<(f32, u32)>) {
        self.select();
        self.keys.sort_unstable_by(|a, b| b.cmp(a));
        list.clear();
        list.extend(self.keys.iter().map(|key| {
            let score = f32::from_bits((key >> 32) as u32);
            (score, !(*key as u32))
        }));
    }
}

/// Somebody who has an item in common with a query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Neighbour {
    pub(crate) who: Handle,
    /// The item in common that is most recent in the query.
    pub(crate) shared: Handle,
    pub(crate) people: f32,
    pub(crate) session: f32,
}

/// Neighbours by handle, in the order they were first met.
#[derive(Clone, Debug)]
pub(crate) struct Neighbours {
    met: Vec<Neighbour>,
    /// Open addressing, place in `met` plus one, 0 is free: as many users as a query meets need no
    /// array over all users.
    places: Vec<u16>,
    top: Top,
}

/// At least twice as many as a query can meet.
const PLACES: usize = 4096;
const _: () = assert!(2 * KNN_ITEMS * KNN_PROBES <= PLACES);

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            met: Vec::new(),
            places: vec![0; PLACES],
            top: Top::default(),
        }
    }
}

impl Neighbours {
    pub(crate) fn clear(&mut self) {
        self.met.clear();
        self.places.fill(0);
    }

    /// Adds to somebody's sums. Items come in the order of the query, so the first is the most
    /// recent one.
    #[inline]
    pub(crate) fn add(&mut self, who: Handle, shared: Handle, people: f32, session: f32) {
        const SHIFT: u32 = 32 - PLACES.trailing_zeros();
        let mut at = (who.bits().wrapping_mul(0x9E37_79B1) >> SHIFT) as usize;
        loop {
            let place = self.places[at & (PLACES - 1)];
            if place == 0 {
                break;
            }
            if let Some(known) = self.met.get_mut(usize::from(place) - 1)
                && known.who == who
            {
                known.people += people;
                known.session += session;
                return;
            }
            at += 1;
        }
        if self.met.len() < PLACES / 2 {
            self.met.push(Neighbour {
                who,
                shared,
                people,
                session,
            });
            self.places[at & (PLACES - 1)] = self.met.len() as u16;
        }
    }

    /// Puts the `n` nearest into `list`, in the order of their slots; ties go to who was met first.
    pub(crate) fn nearest(&mut self, n: usize, list: &mut Vec<Neighbour>) {
        list.clear();
        if self.met.len() <= n {
            list.extend_from_slice(&self.met);
        } else {
            self.top.start(n);
            for (met, at) in self.met.iter().zip(0..) {
                self.top.push(met.people + met.session, at);
            }
            let chosen = self.top.chosen();
            list.extend(chosen.filter_map(|at| self.met.get(at as usize)));
        }
        list.sort_unstable_by_key(|n| n.who.slot());
    }
}

/// Keeps the `n` largest, largest first, ties by handle.
pub(crate) fn keep_top(list: &mut Vec<(f32, Handle)>, n: usize) {
    let order =
        |a: &(f32, Handle), b: &(f32, Handle)| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1));
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
                let entry = (1.0 + (x >> 55) as f32, Handle::new(slot, 0));
                top.push(entry.0, entry.1.bits());
                all.push(entry);
            }
            keep_top(&mut all, n);
            let mut list = Vec::new();
            top.finish(&mut list);
            let all: Vec<_> = all.iter().map(|(x, item)| (*x, item.bits())).collect();
            assert_eq!(list, all);
        }
    }

    #[test]
    fn neighbours_are_summed_and_the_nearest_kept() {
        let (mut people, mut list) = (Neighbours::default(), Vec::new());
        let item = |slot| Handle::new(slot, 3);
        for round in 0..2 {
            people.clear();
            for n in 0..3_000_u32 {
                people.add(Handle::new(n * 64, 1), item(n), 1.0, 0.5);
            }
            people.add(Handle::new(64 * 70, 1), item(9), 1.0, 2.0);
            people.nearest(2, &mut list);
            let known: Vec<_> = list.iter().map(|n| (n.who.slot(), n.people)).collect();
            // The nearest, and the first met of those alike.
            assert_eq!(known, [(0, 1.0), (64 * 70, 2.0)], "{round}");
            assert_eq!(list[1].shared, item(70));
        }
    }
}
