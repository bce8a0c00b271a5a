use prefetch_index::prefetch_index;
use serde::{Deserialize, Serialize};

use crate::model::handle::Handle;
use crate::model::packed;

/// Co-interaction counts of one item with its neighbours: at most twice `cap` of them, pruned to
/// the `cap` strongest when full (the pruning of TencentRec, SIGMOD 2015).
///
/// Each neighbour has two counts, weighted by nearness in the history: steeply (what comes right
/// before and after) and gently (what the same people like).
///
/// Entries lie densely in the order they came, so that a query reads them in one run and the encoding
/// needs no sorting; an open-addressed table of 16-bit places finds them.
#[derive(Clone, Debug, Default)]
pub struct Row {
    entries: Vec<Entry>,
    /// Places in `entries` plus one, 0 where free, below six bits of the hash: an entry that is not the one
    /// looked for is hardly ever read. A power of two, at least two fifths free: searches are short.
    places: Vec<u16>,
}

pub(crate) type Entry = (Handle, [f32; 2]);

/// What `places` can tell apart: twice the largest cap of [`Options`](super::Options) is 800.
const MAX_ENTRIES: usize = PLACE as usize;
/// The bits of a place, below those of the hash.
const PLACE: u16 = (1 << 10) - 1;

impl Row {
    /// Adds to the counts with `other`.
    #[inline]
    pub(crate) fn bump(&mut self, other: Handle, by: [f32; 2], cap: usize) {
        if let Some((_, counts)) = self.find(other).and_then(|at| self.entries.get_mut(at)) {
            counts[0] += by[0];
            counts[1] += by[1];
            return;
        }
        self.add(other, by, cap);
    }

    #[cold]
    fn add(&mut self, other: Handle, by: [f32; 2], cap: usize) {
        if self.entries.len() >= (2 * cap).min(MAX_ENTRIES) {
            self.prune(cap);
        }
        if self.entries.len() == self.entries.capacity() {
            // By a half: doubling would leave more unused than is used.
            self.entries.reserve_exact(4 + self.entries.len() / 2);
        }
        self.entries.push((other, by));
        if self.entries.len() * 5 > self.places.len() * 3 {
            self.index();
        } else {
            self.place(other, self.entries.len());
        }
    }

    /// Where a search begins, and the bits that go with the place.
    #[inline]
    fn home(&self, other: Handle) -> (usize, u16) {
        // Fibonacci hashing; the table's size is a power of two.
        let shift = 64 - self.places.len().trailing_zeros();
        let hash = u64::from(other.bits()).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (
            (hash >> (shift & 63)) as usize,
            (hash >> 20) as u16 & !PLACE,
        )
    }

    /// Where in `entries` it is.
    #[inline]
    fn find(&self, other: Handle) -> Option<usize> {
        let mask = self.places.len().checked_sub(1)?;
        let (mut at, bits) = self.home(other);
        loop {
            let place = self.places[at & mask];
            if place & !PLACE == bits {
                // 0, a free place, ends the search: there are many.
                let place = usize::from(place & PLACE).checked_sub(1)?;
                if self.entries.get(place).is_some_and(|e| e.0 == other) {
                    return Some(place);
                }
            } else if place == 0 {
                return None;
            }
            at += 1;
        }
    }

    fn place(&mut self, other: Handle, place: usize) {
        let mask = self.places.len() - 1;
        let (mut at, bits) = self.home(other);
        while self.places[at & mask] != 0 {
            at += 1;
        }
        self.places[at & mask] = bits | place as u16;
    }

    /// Builds the table anew, as large as the entries need.
    fn index(&mut self) {
        let places = (self.entries.len() * 2).next_power_of_two().max(4);
        self.places.clear();
        self.places.shrink_to(places);
        self.places.resize(places, 0);
        for at in 0..self.entries.len() {
            self.place(self.entries[at].0, at + 1);
        }
    }

    fn prune(&mut self, cap: usize) {
        if cap < self.entries.len() {
            self.entries.select_nth_unstable_by(cap, |a, b| {
                b.1[1].total_cmp(&a.1[1]).then_with(|| a.0.cmp(&b.0))
            });
            self.entries.truncate(cap);
        }
        self.index();
    }

    /// The counts with `other`, 0 where they never met.
    pub(crate) fn counts(&self, other: Handle) -> [f32; 2] {
        self.find(other)
            .and_then(|at| self.entries.get(at))
            .map_or([0.0; 2], |e| e.1)
    }

    /// In no order that means anything.
    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Asks for the place where a search for `other` begins, and mostly ends, without waiting for it: what
    /// [`prefetch_entry`](Self::prefetch_entry) will read.
    #[inline]
    pub(crate) fn prefetch_place(&self, other: Handle) {
        if let Some(mask) = self.places.len().checked_sub(1) {
            prefetch_index(&self.places, self.home(other).0 & mask);
        }
    }

    /// Asks for the entry that [`bump`](Self::bump) will change.
    #[inline]
    pub(crate) fn prefetch_entry(&self, other: Handle) {
        // Without going on, that is, without a branch that waits for memory.
        if let Some(mask) = self.places.len().checked_sub(1) {
            let place = usize::from(self.places[self.home(other).0 & mask] & PLACE);
            prefetch_index(&self.entries, place.wrapping_sub(1));
        }
    }

    /// In no order that means anything.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Handle, [f32; 2])> {
        self.entries.iter().copied()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>()
            + self.places.capacity() * size_of::<u16>()
            + size_of::<Self>()
    }
}

impl PartialEq for Row {
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl Serialize for Row {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        packed::serialize(&self.entries, to)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let entries: Vec<Entry> = packed::deserialize(from)?;
        if entries.len() > MAX_ENTRIES {
            return Err(serde::de::Error::invalid_length(
                entries.len(),
                &"at most 1023 neighbours",
            ));
        }
        let places = Vec::new();
        let mut row = Self { entries, places };
        if !row.entries.is_empty() {
            row.index();
        }
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
        assert!(row.entries.len() <= 100 && row.places.len() <= 256);
        // 10,000 / 7: the strong ones survive every pruning.
        assert_eq!(row.counts(Handle::new(1, 0)), [1429.0, 2858.0]);
        assert_eq!(row.counts(Handle::new(99, 0)), [0.0, 0.0]);
    }

    #[test]
    fn a_row_survives_its_encoding() {
        let mut row = Row::default();
        for n in 0..40 {
            row.bump(Handle::new(n, 1), [1.0, n as f32], 100);
        }
        let bytes = postcard::to_stdvec(&row).unwrap();
        let back: Row = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back, row);
        assert_eq!(back.counts(Handle::new(7, 1)), [1.0, 7.0]);
        assert_eq!(back.counts(Handle::new(7, 0)), [0.0, 0.0]);
        let empty: Row =
            postcard::from_bytes(&postcard::to_stdvec(&Row::default()).unwrap()).unwrap();
        assert_eq!(empty.counts(Handle::new(7, 0)), [0.0, 0.0]);
    }
}
