use serde::{Deserialize, Serialize};

use crate::model::handle::Handle;

/// Co-interaction counts of one item with its neighbours: at most twice `cap` of them, pruned to
/// the `cap` strongest when full (the pruning of TencentRec, SIGMOD 2015).
///
/// Each neighbour has two counts, weighted by nearness in the history: steeply (what comes right
/// before and after) and gently (what the same people like).
///
/// An open-addressed table of powers of two with linear probing: a bump touches one cache line.
/// Its encoding is sorted by neighbour, so that equal contents have equal bytes.
#[derive(Clone, Debug, Default)]
pub struct Row {
    slots: Vec<Entry>,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    neighbour: Option<Handle>,
    counts: [f32; 2],
}

const EMPTY: Entry = Entry {
    neighbour: None,
    counts: [0.0; 2],
};

impl Row {
    /// Adds to the counts with `other`.
    pub(crate) fn bump(&mut self, other: Handle, by: [f32; 2], cap: usize) {
        if let Some(entry) = self.find(other).and_then(|at| self.slots.get_mut(at))
            && entry.neighbour.is_some()
        {
            entry.counts[0] += by[0];
            entry.counts[1] += by[1];
            return;
        }
        if self.len as usize >= 2 * cap {
            self.prune(cap);
        } else if (self.len as usize + 1) * 5 > self.slots.len() * 4 {
            let entries: Vec<_> = self.iter().collect();
            self.rebuild(entries, self.slots.len() * 2);
        }
        self.insert(other, by);
    }

    fn home(&self, other: Handle) -> usize {
        // Fibonacci hashing; the table's size is a power of two.
        let shift = 64 - self.slots.len().trailing_zeros();
        (u64::from(other.bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (shift & 63)) as usize
    }

    /// Where `other` is, or the free slot where it would go; `None` without slots.
    fn find(&self, other: Handle) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mask = self.slots.len() - 1;
        let mut at = self.home(other) & mask;
        // At least a fifth of the slots is free, so that this ends.
        while self.slots[at].neighbour.is_some_and(|n| n != other) {
            at = (at + 1) & mask;
        }
        Some(at)
    }

    fn insert(&mut self, other: Handle, counts: [f32; 2]) {
        if let Some(entry) = self.find(other).and_then(|at| self.slots.get_mut(at)) {
            *entry = Entry {
                neighbour: Some(other),
                counts,
            };
            self.len += 1;
        }
    }

    fn rebuild(&mut self, entries: Vec<(Handle, [f32; 2])>, slots: usize) {
        self.slots.clear();
        self.slots.resize(slots.next_power_of_two().max(4), EMPTY);
        self.slots.shrink_to_fit();
        self.len = 0;
        for (neighbour, counts) in entries {
            self.insert(neighbour, counts);
        }
    }

    fn prune(&mut self, cap: usize) {
        let mut entries: Vec<_> = self.iter().collect();
        if cap < entries.len() {
            entries.select_nth_unstable_by(cap, |a, b| {
                b.1[1].total_cmp(&a.1[1]).then_with(|| a.0.cmp(&b.0))
            });
            entries.truncate(cap);
        }
        self.rebuild(entries, self.slots.len());
    }

    /// The counts with `other`, 0 where they never met.
    pub(crate) fn counts(&self, other: Handle) -> [f32; 2] {
        self.find(other)
            .and_then(|at| self.slots.get(at))
            .map_or([0.0; 2], |e| e.counts)
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, [f32; 2])> {
        self.slots
            .iter()
            .filter_map(|e| e.neighbour.map(|n| (n, e.counts)))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Entry>() + size_of::<Self>()
    }

    fn sorted(&self) -> Vec<(Handle, [f32; 2])> {
        let mut entries: Vec<_> = self.iter().collect();
        entries.sort_unstable_by_key(|e| e.0);
        entries
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.sorted() == other.sorted()
    }
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.sorted().serialize(to)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let entries: Vec<(Handle, [f32; 2])> = Deserialize::deserialize(from)?;
        let mut row = Self::default();
        let slots = entries.len() * 5 / 4 + 1;
        row.rebuild(entries, slots);
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_counts_and_stays_bounded() {
        let mut row = Row::default();
        for n in 0..10_000_u32 {
            row.bump(Handle::new(n % 7, 0), [1.0, 2.0], 50);
            row.bump(Handle::new(1000 + n, 0), [0.5, 0.5], 50);
        }
        assert!(row.len as usize <= 100 && row.slots.len() <= 128);
        // 10,000 / 7: the strong ones survive every pruning.
        assert_eq!(row.counts(Handle::new(1, 0)), [1429.0, 2858.0]);
        assert_eq!(row.counts(Handle::new(99, 0)), [0.0, 0.0]);
    }

    #[test]
    fn the_encoding_depends_on_the_contents_alone() {
        let (mut a, mut b) = (Row::default(), Row::default());
        for n in 0..40 {
            a.bump(Handle::new(n, 1), [1.0, 1.0], 100);
            b.bump(Handle::new(39 - n, 1), [1.0, 1.0], 100);
        }
        let bytes = postcard::to_stdvec(&a).unwrap();
        assert_eq!(bytes, postcard::to_stdvec(&b).unwrap());
        assert_eq!(postcard::from_bytes::<Row>(&bytes).unwrap(), a);
    }
}
