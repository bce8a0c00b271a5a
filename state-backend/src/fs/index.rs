//! Where each row lies: the keys of the log in memory, in order.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::StateId;

/// Where a `Put` frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Of the whole frame.
    pub(super) len: u32,
}

/// A key, without an allocation up to 22 bytes: most keys are a group, a short id and a namespace.
#[derive(Clone, Debug)]
enum Key {
    Inline { len: u8, bytes: [u8; Self::INLINE] },
    Heap(Box<[u8]>),
}

impl Key {
    const INLINE: usize = 22;

    fn new(key: &[u8]) -> Self {
        if key.len() > Self::INLINE {
            return Self::Heap(key.into());
        }
        let mut bytes = [0; Self::INLINE];
        bytes[..key.len()].copy_from_slice(key);
        Self::Inline {
            len: key.len() as u8,
            bytes,
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }

    fn heap_bytes(len: usize) -> u64 {
        if len > Self::INLINE { len as u64 } else { 0 }
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

/// The keys of all states. About 55 bytes a row with keys up to 22 bytes.
#[derive(Debug, Default)]
pub(super) struct Index {
    states: BTreeMap<StateId, BTreeMap<Key, Location>>,
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
        rows.insert(Key::new(key), at);
        self.rows += 1;
        self.heap_bytes += Key::heap_bytes(key.len());
        None
    }

    pub(super) fn remove(&mut self, state: StateId, key: &[u8]) -> Option<Location> {
        let rows = self.states.get_mut(&state)?;
        let found = rows.remove(key)?;
        if rows.is_empty() {
            self.states.remove(&state);
        }
        self.rows -= 1;
        self.heap_bytes -= Key::heap_bytes(key.len());
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

    /// Nodes of std's B-tree hold 11 entries and are about two thirds full.
    pub(super) fn memory_bytes(&self) -> u64 {
        let entry = size_of::<(Key, Location)>() as u64;
        self.rows * entry * 3 / 2 + self.heap_bytes
    }
}
