//! The rows of one key group, and what changed in it.

use super::{
    Addr,
    entry::{Entry, Ghost},
    slab::Slab,
};
use crate::{KeyWords, row_key::RowKey};
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Group<P> {
    pub(crate) rows: Slab<Entry<P>>,
    pub(crate) ghosts: Slab<Ghost>,
    pub(crate) dirty: DirtyList,
    pub(crate) tombstones: usize,
    /// Place that the clock hand points at.
    pub(crate) hand: usize,
    /// The backend may hold rows that are not here.
    pub(crate) beneath: bool,
    /// Keys of the live rows in order: made when rows of the group are first iterated by prefix, kept up
    /// from then on. Most maps are only ever looked up in.
    pub(crate) order: Option<BTreeSet<RowKey>>,
}

/// What an entry of `order` costs, about.
pub(crate) const ORDER_BYTES: u64 = 36;

impl<P> Group<P> {
    pub(crate) fn new() -> Self {
        Self {
            rows: Slab::new(),
            ghosts: Slab::new(),
            dirty: DirtyList::default(),
            tombstones: 0,
            hand: 0,
            beneath: false,
            order: None,
        }
    }

    #[inline(always)]
    pub(crate) fn place_at(&self, addr: Addr<'_>) -> Option<usize> {
        self.rows.find(addr.hash, |entry| addr.is(&entry.key))
    }

    /// As [`place_at`](Self::place_at), of a key in bytes.
    pub(crate) fn place_of(&self, hash: u64, key: &[u8]) -> Option<usize> {
        match KeyWords::of(key) {
            Some(words) => self.rows.find(hash, |entry| entry.key.is(words)),
            None => self.rows.find(hash, |entry| entry.key.bytes() == key),
        }
    }

    /// Makes `order` if it is not there; returns the memory it took.
    pub(crate) fn list_in_order(&mut self) -> u64 {
        if self.order.is_some() {
            return 0;
        }
        let live = self.rows.iter().filter(|entry| entry.value.is_some());
        let order: BTreeSet<RowKey> = live.map(|entry| entry.key.clone()).collect();
        let bytes = order.iter().map(|key| ORDER_BYTES + key.heap_bytes()).sum();
        self.order = Some(order);
        bytes
    }

    /// The entry in a place known to be taken.
    #[inline]
    pub(crate) fn entry(&self, place: usize) -> &Entry<P> {
        self.rows.get(place).expect(FULL)
    }

    /// The entry in a place known to be taken.
    #[inline]
    pub(crate) fn entry_mut(&mut self, place: usize) -> &mut Entry<P> {
        self.rows.get_mut(place).expect(FULL)
    }

    /// Takes the entry out of a place known to be taken.
    pub(crate) fn take(&mut self, place: usize) -> Entry<P> {
        self.rows.take(place).expect(FULL)
    }

    pub(crate) fn live(&self) -> usize {
        self.rows.len() - self.tombstones
    }

    pub(crate) fn ghost_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Ghost> {
        let place = self.ghosts.find(hash, |ghost| ghost.key.bytes() == key)?;
        self.ghosts.get_mut(place)
    }

    pub(crate) fn take_ghost(&mut self, addr: Addr<'_>) -> Option<Ghost> {
        let place = self.ghosts.find(addr.hash, |ghost| addr.is(&ghost.key))?;
        self.ghosts.take(place)
    }

    /// Adds or replaces; returns the memory it took.
    pub(crate) fn put_ghost(&mut self, hash: u64, ghost: Ghost) -> i64 {
        if let Some(old) = self.ghost_mut(hash, ghost.key.bytes()) {
            *old = ghost;
            return 0;
        }
        let grown = if self.ghosts.has_room() {
            0
        } else {
            self.ghosts.grow()
        };
        let heap = ghost.key.heap_bytes();
        self.ghosts.insert(hash, ghost);
        (grown + heap) as i64
    }
}

const FULL: &str = "a place that was found is taken until its row is removed";

/// Which places were changed in which epoch, while that is few: beyond a share of the table going through all of it
/// is cheaper than a list. A row that has moved since is listed once more; what is listed is where to look.
#[derive(Debug, Default)]
pub(crate) struct DirtyList {
    /// Epoch and place of each first change in an epoch.
    events: Vec<(u32, u32)>,
    /// Changes in epochs up to this one may be missing.
    lost_upto: u32,
}

impl DirtyList {
    #[inline]
    pub(crate) fn push(&mut self, epoch: u32, place: usize, places: usize) {
        if epoch <= self.lost_upto {
            return;
        }
        if self.events.len() >= 64 + places / 16 {
            // Not all are of this epoch: a row may come back, or move, that was changed long ago.
            let newest = self.events.iter().map(|&(listed, _)| listed).max();
            self.lost_upto = newest.unwrap_or_default().max(epoch);
            self.events = Vec::new();
            return;
        }
        self.events.push((epoch, place as u32));
    }

    /// Whether every change after epoch `base` is listed.
    pub(crate) fn is_complete_since(&self, base: u32) -> bool {
        self.lost_upto <= base
    }

    pub(crate) fn get(&self, index: usize) -> Option<(u32, u32)> {
        self.events.get(index).copied()
    }

    /// Takes out the places changed up to `settled`.
    pub(crate) fn drain_upto(&mut self, settled: u32, mut take: impl FnMut(usize)) {
        self.events.retain(|&(epoch, place)| {
            if epoch <= settled {
                take(place as usize);
            }
            epoch > settled
        });
        if self.events.capacity() > 64 && self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to_fit();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_became_too_long_owns_to_every_epoch_it_had() {
        let mut dirty = DirtyList::default();
        for place in 0..64 {
            dirty.push(7, place, 0);
        }
        assert!(dirty.is_complete_since(0));
        // A row comes back that was changed before.
        dirty.push(5, 64, 0);
        assert!(!dirty.is_complete_since(6));
        assert!(dirty.is_complete_since(7));
        assert_eq!(dirty.get(0), None);
        dirty.push(7, 1, 0);
        assert_eq!(dirty.get(0), None);
        dirty.push(8, 1, 0);
        assert_eq!(dirty.get(0), Some((8, 1)));
    }
}
