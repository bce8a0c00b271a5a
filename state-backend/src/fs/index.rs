//! Where each row lies: the keys of the log in memory, in order.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::StateId;
use crate::short_key::ShortKey;

/// Where a `Put` frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Of the whole frame.
    pub(super) len: u32,
}

/// The keys of all states. About 72 bytes a row with keys up to 22 bytes.
#[derive(Debug, Default)]
pub(super) struct Index {
    states: BTreeMap<StateId, BTreeMap<ShortKey, Location>>,
    rows: u64,
    heap_bytes: u64,
}

impl Index {
    pub(super) fn get(&self, state: StateId, key: &[u8]) -> Option<Location> {
        self.states.get(&state)?.get(key).copied()
    }

    /// Returns where the row lay before.
    pub(super) fn insert(&mut self, state: StateId, key: &[u8], at: Location) -> Option<Location> {
        let rows = self.states.entry(state).or_default();
        // Looking first spares a rewrite the making of a key.
        if let Some(found) = rows.get_mut(key) {
            return Some(std::mem::replace(found, at));
        }
        rows.insert(ShortKey::new(key), at);
        self.rows += 1;
        self.heap_bytes += ShortKey::heap_bytes(key.len());
        None
    }

    pub(super) fn remove(&mut self, state: StateId, key: &[u8]) -> Option<Location> {
        let rows = self.states.get_mut(&state)?;
        let found = rows.remove(key)?;
        if rows.is_empty() {
            self.states.remove(&state);
        }
        self.rows -= 1;
        self.heap_bytes -= ShortKey::heap_bytes(key.len());
        Some(found)
    }

    /// The rows under `prefix` behind `after`, ascending.
    pub(super) fn range<'a>(
        &'a self,
        state: StateId,
        prefix: &'a [u8],
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Location)> + 'a {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.states
            .get(&state)
            .into_iter()
            .flat_map(move |rows| rows.range::<[u8], _>((from, Bound::Unbounded)))
            .map(|(key, at)| (key.as_bytes(), *at))
            .take_while(move |(key, _)| key.starts_with(prefix))
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Nodes of std's B-tree hold 11 entries and are a little over half full where keys come in runs, two
    /// thirds where they come in no order.
    pub(super) fn memory_bytes(&self) -> u64 {
        let entry = size_of::<(ShortKey, Location)>() as u64;
        self.rows * entry * 2 + self.heap_bytes
    }
}
