use prefetch_index::prefetch_index;

use crate::model::handle::{Handle, MAX_SLOTS};
use crate::model::records::UserRecord;

/// Bytes of histories kept at most.
const BYTES: usize = 16 << 20;
const MAX_CELLS: usize = 1 << 14;

/// Histories as a query reads them: a hundred users' items and weights, without four waits for memory
/// each.
///
/// Derived from the users' records and kept for those that were nearest neighbours lately: a user has
/// one place, where the next user of that place follows. A change to a record is told, and forgets it here,
/// so this never says anything else than the records do.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    cells: Vec<Peer>,
    mask: usize,
}

/// A user's history.
#[derive(Clone, Debug, Default)]
pub(crate) struct Peer {
    /// Bits of the user's handle, 0: nobody.
    who: u32,
    pub(crate) last_ms: i64,
    /// Bits of the items, most recent last, then those of as many weights.
    words: Vec<u32>,
}

impl Default for Peers {
    fn default() -> Self {
        Self::of_histories(100)
    }
}

impl Peers {
    /// For histories of so many items at most.
    pub(crate) fn of_histories(items: usize) -> Self {
        let cells = BYTES / (8 * items.max(1));
        let cells = (cells.clamp(256, MAX_CELLS) + 1).next_power_of_two() / 2;
        Self {
            cells: Vec::new(),
            mask: cells - 1,
        }
    }

    #[inline]
    pub(crate) fn get(&self, who: Handle) -> Option<&Peer> {
        let cell = self.cells.get(who.slot() as usize & self.mask);
        cell.filter(|cell| cell.who == who.bits())
    }

    /// Keeps a user's history.
    pub(crate) fn put(&mut self, who: Handle, record: &UserRecord) {
        let at = who.slot() as usize & self.mask;
        if at >= self.cells.len() {
            // Slots are used from 0 on: who has few users has few places.
            self.cells
                .resize((at + 1).next_power_of_two(), Peer::default());
        }
        if let Some(cell) = self.cells.get_mut(at) {
            cell.who = who.bits();
            cell.last_ms = record.last_ms;
            let items = record.history.items();
            cell.words.clear();
            cell.words.reserve_exact(2 * items.len());
            cell.words.extend(items.iter().map(|(item, _)| item.bits()));
            let weights = items.iter().map(|(_, weight)| weight.to_bits());
            cell.words.extend(weights);
        }
    }

    /// The record of the user in a slot has changed.
    pub(crate) fn forget(&mut self, slot: u32) {
        if let Some(cell) = self.cells.get_mut(slot as usize & self.mask)
            && cell.who & MAX_SLOTS == slot + 1
        {
            cell.who = 0;
        }
    }

    /// Asks for what a run over somebody's items will read, without waiting for it.
    #[inline]
    pub(crate) fn prefetch(&self, who: Handle) {
        const PER_LINE: usize = 64 / size_of::<u32>();
        if let Some(peer) = self.get(who) {
            for at in (0..peer.words.len()).step_by(PER_LINE) {
                prefetch_index(&peer.words, at);
            }
        }
    }
}

impl Peer {
    /// Bits of the items, most recent last, and of their weights.
    #[inline]
    pub(crate) fn history(&self) -> (&[u32], &[u32]) {
        self.words.split_at(self.words.len() / 2)
    }
}

/// Where in a list without repetitions it is.
#[inline]
pub(crate) fn position(list: &[u32], wanted: u32) -> Option<usize> {
    // Sixteen at a time: without a branch for each, vector registers compare them.
    let (chunks, rest) = list.as_chunks::<16>();
    for (n, chunk) in chunks.iter().enumerate() {
        if chunk.iter().fold(false, |met, x| met | (*x == wanted)) {
            let at = chunk.iter().position(|x| *x == wanted)?;
            return Some(n * 16 + at);
        }
    }
    let at = rest.iter().position(|x| *x == wanted)?;
    Some(list.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::history::Touch;

    fn record(items: u32) -> UserRecord {
        let mut record = UserRecord::default();
        for n in 0..items {
            let item = Handle::new(n, 1);
            let (weight, at_ms) = (n as f32, 0);
            record.history.push(
                Touch {
                    item,
                    weight,
                    at_ms,
                },
                1000,
            );
        }
        record
    }

    #[test]
    fn each_has_one_place() {
        let mut peers = Peers::of_histories(100);
        let (ann, bob) = (Handle::new(3, 0), Handle::new(3 + MAX_CELLS as u32, 0));
        assert!(peers.get(ann).is_none());
        peers.put(ann, &record(2));
        peers.put(ann, &record(3));
        assert_eq!(peers.cells.len(), 4, "as many places as slots are used");
        let (items, weights) = peers.get(ann).unwrap().history();
        assert_eq!(items, [0, 1, 2].map(|n| Handle::new(n, 1).bits()));
        assert_eq!(weights, [0.0_f32, 1.0, 2.0].map(f32::to_bits));
        peers.forget(bob.slot());
        assert!(peers.get(ann).is_some() && peers.get(Handle::new(3, 1)).is_none());
        peers.put(bob, &record(1));
        assert!(peers.get(ann).is_none() && peers.get(bob).is_some());
        peers.forget(bob.slot());
        assert!(peers.get(bob).is_none());
        assert_eq!(Peers::of_histories(1000).mask, 2047);
    }

    #[test]
    fn a_position_is_found() {
        let list: Vec<u32> = (0..40).collect();
        for n in 0..40 {
            assert_eq!(position(&list, n), Some(n as usize));
        }
        assert_eq!((position(&list, 40), position(&[], 0)), (None, None));
    }
}
