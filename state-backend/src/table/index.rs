//! From the hash of a key to the place of its row.
//!
//! Open addressing over cache lines of eight slots each: a look-up compares the halves of the hash in a line at once
//! and nearly always ends in the first. That matters more than it looks: slots gone through one by one end after a number
//! of steps that a processor cannot guess, and a wrong guess is found out only when the line has come from main memory, until
//! when no other look-up is begun.
//!
//! What only has the line in common is told apart without reading a row, and half a hash is also all that is needed to
//! move a slot, so neither growth nor removal touches rows.

use super::prefetch::prefetch;

/// Where rows are, by half of their hash.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// A power of two, or none. A row is in the first line from its own on that had a free slot.
    lines: Box<[Line]>,
    /// Bits that half a hash has more than the number of a line.
    shift: u32,
    len: usize,
}

/// Places are below this.
pub(super) const MOST: usize = u32::MAX as usize;

const SLOTS: usize = 8;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line {
    /// The upper half of the hash, its last bit set; 0 is free.
    marks: [u32; SLOTS],
    /// The place, and one; 0 is free.
    places: [u32; SLOTS],
}

impl Line {
    const EMPTY: Self = Self {
        marks: [0; SLOTS],
        places: [0; SLOTS],
    };

    /// The place, and one, of the row with this mark, or 0. Nonsense if there are several, so it has to be looked
    /// at; but without a branch.
    #[inline(always)]
    fn only(&self, mark: u32) -> u32 {
        let slots = self.marks.iter().zip(&self.places);
        slots.fold(0, |found, (&own, &place)| {
            found | if own == mark { place } else { 0 }
        })
    }

    #[inline]
    fn free(&self) -> Option<usize> {
        self.marks.iter().position(|&mark| mark == 0)
    }

    fn set(&mut self, slot: usize, mark: u32, place: u32) {
        self.marks[slot] = mark;
        self.places[slot] = place;
    }
}

impl Index {
    /// The place of the row with this hash for which `is` is true. `is` may be asked about any place.
    #[inline(always)]
    pub(super) fn find(&self, hash: u64, is: impl Fn(usize) -> bool) -> Option<usize> {
        let mark = mark_of(hash);
        let mut place = self.lines.get(self.home(mark))?.only(mark);
        let mut next = 0;
        // One call of `is` in the program text, so that it is inlined.
        loop {
            if let Some(place) = (place as usize).checked_sub(1)
                && is(place)
            {
                return Some(place);
            }
            (place, next) = self.further(mark, next)?;
        }
    }

    /// The place, and one, of a row with this mark, from a slot on that is counted from the mark's own line on; and
    /// where to go on.
    #[cold]
    #[inline(never)]
    fn further(&self, mark: u32, from: usize) -> Option<(u32, usize)> {
        let mask = self.lines.len() - 1;
        let home = self.home(mark);
        let line = |number| &self.lines[(home + number) & mask];
        for at in from.. {
            let (number, slot) = (at / SLOTS, at % SLOTS);
            // Asked at the start of a line, not at the end of the one before: that may have ended with what was found.
            if slot == 0 && number > 0 && line(number - 1).free().is_some() {
                return None;
            }
            if line(number).marks[slot] == mark {
                return Some((line(number).places[slot], at + 1));
            }
        }
        None
    }

    /// Asks for the line that a look-up of this hash begins with, and does not wait for it.
    #[inline(always)]
    pub(super) fn prefetch(&self, hash: u64) {
        prefetch(&self.lines, self.home(mark_of(hash)));
    }

    /// Where the row with this hash lies in nearly every case.
    #[inline(always)]
    pub(super) fn guess(&self, hash: u64) -> Option<usize> {
        let mark = mark_of(hash);
        let place = self.lines.get(self.home(mark))?.only(mark);
        (place as usize).checked_sub(1)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether one more goes in without growing.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        self.len < most_in(self.lines.len())
    }

    pub(super) fn bytes(&self) -> u64 {
        size_of_val(&*self.lines) as u64
    }

    /// What [`bytes`](Self::bytes) is once there is room for so many in all.
    pub(super) fn bytes_for(&self, len: usize) -> u64 {
        (lines_for(len).max(self.lines.len()) * size_of::<Line>()) as u64
    }

    /// Makes room for so many in all.
    pub(super) fn reserve(&mut self, len: usize) {
        let lines = lines_for(len);
        if lines > self.lines.len() {
            self.resize(lines);
        }
    }

    /// Gives memory back if less than a quarter of what is there is needed.
    pub(super) fn shrink(&mut self) {
        let lines = lines_for(self.len);
        if lines * 4 <= self.lines.len() {
            self.resize(lines);
        }
    }

    /// In the order of the lines, so that it goes through old and new memory once from front to back.
    fn resize(&mut self, lines: usize) {
        let old = std::mem::replace(&mut self.lines, vec![Line::EMPTY; lines].into());
        self.shift = u32::BITS - lines.trailing_zeros().min(u32::BITS - 1);
        for line in &old {
            for (&mark, &place) in line.marks.iter().zip(&line.places) {
                if mark != 0 {
                    self.put(mark, place);
                }
            }
        }
    }

    /// The line that a row is in if there is a free slot.
    #[inline(always)]
    fn home(&self, mark: u32) -> usize {
        // of a single line the shift is 32
        (u64::from(mark) >> self.shift) as usize
    }

    fn put(&mut self, mark: u32, place: u32) {
        let mask = self.lines.len() - 1;
        let mut at = self.home(mark);
        loop {
            let line = &mut self.lines[at & mask];
            if let Some(slot) = line.free() {
                line.set(slot, mark, place);
                return;
            }
            at += 1;
        }
    }

    /// Adds a row that is not there.
    #[inline]
    pub(super) fn insert(&mut self, hash: u64, place: usize) {
        debug_assert!(place < MOST, "places fit 32 bits");
        if !self.has_room() {
            self.reserve(self.len + 1);
        }
        self.put(mark_of(hash), place as u32 + 1);
        self.len += 1;
    }

    /// The row that is in one place goes to another.
    pub(super) fn repoint(&mut self, hash: u64, from: usize, to: usize) {
        if let Some((line, slot)) = self.slot_of(hash, from) {
            self.lines[line].places[slot] = to as u32 + 1;
        }
    }

    /// Takes a row out, and puts one into the gap that would not be found behind it (after Knuth, volume 3, 6.4,
    /// algorithm R).
    pub(super) fn remove(&mut self, hash: u64, place: usize) {
        let Some((mut line, mut slot)) = self.slot_of(hash, place) else {
            return;
        };
        let mask = self.lines.len() - 1;
        // Only rows that found every line from their own on full are in a later one.
        let mut was_full = self.lines[line].free().is_none();
        let mut at = line;
        while was_full {
            at = (at + 1) & mask;
            let next = self.lines[at];
            was_full = next.free().is_none();
            let from_gap = at.wrapping_sub(line) & mask;
            let moves = |&other: &usize| {
                let mark = next.marks[other];
                mark != 0 && (at.wrapping_sub(self.home(mark)) & mask) >= from_gap
            };
            if let Some(other) = (0..SLOTS).find(moves) {
                self.lines[line].set(slot, next.marks[other], next.places[other]);
                (line, slot) = (at, other);
            }
        }
        self.lines[line].set(slot, 0, 0);
        self.len -= 1;
    }

    fn slot_of(&self, hash: u64, place: usize) -> Option<(usize, usize)> {
        let mask = self.lines.len().checked_sub(1)?;
        let mark = mark_of(hash);
        let mut at = self.home(mark);
        loop {
            let line = &self.lines[at];
            let is = |&slot: &usize| line.places[slot] as usize == place + 1;
            if let Some(slot) = (0..SLOTS).find(is) {
                return Some((at, slot));
            }
            if line.free().is_some() {
                return None;
            }
            at = (at + 1) & mask;
        }
    }
}

/// Three quarters: beyond, more and more lines are full.
#[inline]
fn most_in(lines: usize) -> usize {
    lines * (SLOTS / 4 * 3)
}

fn lines_for(len: usize) -> usize {
    match len {
        0 => 0,
        _ => len.div_ceil(most_in(1)).next_power_of_two(),
    }
}

#[inline(always)]
fn mark_of(hash: u64) -> u32 {
    (hash >> 32) as u32 | 1
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
        (0_u64..24, any::<bool>()).prop_map(|(near, end)| {
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
            9 => prop_oneof![hash(), any::<u64>()].prop_map(Op::Insert),
            3 => any::<prop::sample::Index>().prop_map(Op::Remove),
            1 => any::<prop::sample::Index>().prop_map(Op::Repoint),
            1 => Just(Op::Shrink),
        ]
    }

    /// A last slot that is taken must not hide that its line has a free one: the search went around for ever when
    /// all other lines were full.
    #[test]
    fn a_search_ends_where_a_line_has_a_free_slot() {
        let (first, second) = (0_u64, u64::from(u32::MAX) << 32);
        let mut index = Index::default();
        for place in 0..8 {
            index.insert(first, place);
        }
        for place in 0..4 {
            index.remove(first, place);
        }
        for place in 8..16 {
            index.insert(second, place);
        }
        assert_eq!((index.lines.len(), index.len()), (2, 12));
        assert_eq!(index.find(first, |_| false), None);
        assert_eq!(index.find(second, |_| false), None);
    }

    proptest! {
        #[test]
        fn finds_what_is_there(ops in prop::collection::vec(op(), 0..300)) {
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
                prop_assert!(index.len() <= most_in(index.lines.len()));
                for (&place, &hash) in &model {
                    prop_assert_eq!(index.find(hash, |found| found == place), Some(place));
                    prop_assert_eq!(index.find(hash, |_| false), None);
                }
                prop_assert_eq!(index.find(0x0123_4567_89ab_cdef, |_| true), None);
            }
        }
    }
}
