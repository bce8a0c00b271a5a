//! From the hash of a key to the place of its row.
//!
//! Open addressing with linear probing over words of eight bytes, each half a hash and a place: a look-up reads one
//! cache line of it, seldom two, and what only has the slot in common is told apart without reading a row. That half of
//! the hash is also all that is needed to move a word, so neither growth nor removal touches rows.

/// Where rows are, by half of their hash.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// `upper half of the hash << 32 | place + 1`, or 0 where there is none. Their number is a power of two, or zero.
    slots: Box<[u64]>,
    /// Bits that half a hash has more than the number of a slot.
    shift: u32,
    len: usize,
}

/// Places are below this.
pub(super) const MOST: usize = u32::MAX as usize;

const FEWEST_SLOTS: usize = 8;

impl Index {
    /// The place of the row with this hash for which `is` is true.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, mut is: impl FnMut(usize) -> bool) -> Option<usize> {
        let slots = &*self.slots;
        if slots.is_empty() {
            return None;
        }
        let half = upper(hash);
        let mut at = home(half, self.shift);
        loop {
            let slot = slots[at & (slots.len() - 1)];
            if slot == 0 {
                return None;
            }
            if slot >> 32 == u64::from(half) && is(place_of(slot)) {
                return Some(place_of(slot));
            }
            at += 1;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether one more goes in without growing.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.len < most_in(self.slots.len())
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.slots) as u64
    }

    /// What [`bytes`](Self::bytes) is once there is room for so many in all.
    pub(super) fn bytes_for(&self, len: usize) -> u64 {
        let slots = slots_for(len).max(self.slots.len());
        (slots * size_of::<u64>()) as u64
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, len: usize) {
        let slots = slots_for(len);
        if slots > self.slots.len() {
            self.resize(slots);
        }
    }

    /// Gives memory back if less than a quarter of what is there is needed.
    pub(super) fn shrink(&mut self) {
        let slots = slots_for(self.len);
        if slots * 4 <= self.slots.len() {
            self.resize(slots);
        }
    }

    /// In the order of the slots, so that it goes through old and new memory once from front to back.
    fn resize(&mut self, slots: usize) {
        let old = std::mem::replace(&mut self.slots, vec![0; slots].into());
        self.shift = u32::BITS - slots.trailing_zeros().min(u32::BITS);
        for slot in old.into_iter().filter(|slot| *slot != 0) {
            self.put(slot);
        }
    }

    fn put(&mut self, slot: u64) {
        let mask = self.slots.len() - 1;
        let mut at = home(upper(slot), self.shift) & mask;
        while self.slots[at] != 0 {
            at = (at + 1) & mask;
        }
        self.slots[at] = slot;
    }

    /// Adds a row that is not there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, place: usize) {
        if !self.has_room() {
            self.reserve(self.len + 1);
        }
        self.put(slot_of(hash, place));
        self.len += 1;
    }

    /// The row that is in one place goes to another.
    pub(super) fn repoint(&mut self, hash: u64, from: usize, to: usize) {
        if let Some(at) = self.slot_at(hash, from) {
            self.slots[at] = slot_of(hash, to);
        }
    }

    /// Takes a row out, and moves those up that would not be found behind a gap (Knuth, volume 3, 6.4, algorithm R).
    pub(super) fn remove(&mut self, hash: u64, place: usize) {
        let Some(mut gap) = self.slot_at(hash, place) else {
            return;
        };
        let mask = self.slots.len() - 1;
        let mut at = gap;
        loop {
            at = (at + 1) & mask;
            let slot = self.slots[at];
            if slot == 0 {
                break;
            }
            let from_home = at.wrapping_sub(home(upper(slot), self.shift)) & mask;
            if from_home >= (at.wrapping_sub(gap) & mask) {
                self.slots[gap] = slot;
                gap = at;
            }
        }
        self.slots[gap] = 0;
        self.len -= 1;
    }

    fn slot_at(&self, hash: u64, place: usize) -> Option<usize> {
        let mask = self.slots.len().checked_sub(1)?;
        let wanted = slot_of(hash, place);
        let mut at = home(upper(hash), self.shift) & mask;
        while self.slots[at] != wanted {
            if self.slots[at] == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
        Some(at)
    }
}

/// Three quarters: beyond, a look-up in vain goes through ever longer runs.
#[inline]
fn most_in(slots: usize) -> usize {
    slots / 4 * 3
}

fn slots_for(len: usize) -> usize {
    match len {
        0 => 0,
        _ => (len + len.div_ceil(3))
            .next_power_of_two()
            .max(FEWEST_SLOTS),
    }
}

#[inline(always)]
fn upper(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[inline(always)]
fn home(half: u32, shift: u32) -> usize {
    (half >> shift) as usize
}

#[inline(always)]
fn place_of(slot: u64) -> usize {
    (slot as u32).wrapping_sub(1) as usize
}

fn slot_of(hash: u64, place: usize) -> u64 {
    debug_assert!(place < MOST, "places fit 32 bits");
    (u64::from(upper(hash)) << 32) | (place as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(prop::sample::Index),
        Repoint(prop::sample::Index),
        Shrink,
    }

    /// Hashes at both ends of the range, many of them alike: runs that wrap around.
    fn hash() -> impl Strategy<Value = u64> {
        (0_u64..6, any::<bool>()).prop_map(|(near, end)| {
            let half = if end {
                u64::from(u32::MAX) - near
            } else {
                near
            };
            half << 32
        })
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            5 => prop_oneof![hash(), any::<u64>()].prop_map(Op::Insert),
            3 => any::<prop::sample::Index>().prop_map(Op::Remove),
            1 => any::<prop::sample::Index>().prop_map(Op::Repoint),
            1 => Just(Op::Shrink),
        ]
    }

    proptest! {
        #[test]
        fn finds_what_is_there(ops in prop::collection::vec(op(), 0..120)) {
            let (mut index, mut model, mut next) = (Index::default(), BTreeMap::new(), 0);
            for op in ops {
                let chosen = |at: prop::sample::Index, model: &BTreeMap<usize, u64>| {
                    let at = at.get(model.keys().collect::<Vec<_>>().as_slice()).to_owned();
                    (*at, model[at])
                };
                match op {
                    Op::Insert(hash) => {
                        index.insert(hash, next);
                        model.insert(next, hash);
                        next += 1;
                    }
                    Op::Shrink => index.shrink(),
                    _ if model.is_empty() => {}
                    Op::Remove(at) => {
                        let (place, hash) = chosen(at, &model);
                        index.remove(hash, place);
                        model.remove(&place);
                    }
                    Op::Repoint(at) => {
                        let (place, hash) = chosen(at, &model);
                        index.repoint(hash, place, next);
                        model.remove(&place);
                        model.insert(next, hash);
                        next += 1;
                    }
                }
                prop_assert_eq!(index.len(), model.len());
                prop_assert!(index.len() <= most_in(index.slots.len()));
                for (&place, &hash) in &model {
                    prop_assert_eq!(index.find(hash, |found| found == place), Some(place));
                    prop_assert_eq!(index.find(hash, |_| false), None);
                }
                prop_assert_eq!(index.find(0x0123_4567_89ab_cdef, |_| true), None);
            }
        }
    }
}
