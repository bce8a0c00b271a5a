//! Where each row lies: the keys of the log in memory, in order.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use super::key_block::{Inserted, KeyBlock, common};
use crate::short_key::ShortKey;
use crate::{Result, StateId};

/// Where a `Put` frame lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) segment: u32,
    pub(super) offset: u32,
    /// Of the whole frame.
    pub(super) len: u32,
}

/// The keys of all states. About 30 bytes a row with keys of 20 bytes that have little in common.
#[derive(Debug, Default)]
pub(super) struct Index {
    states: BTreeMap<StateId, Keys>,
    rows: u64,
}

/// The keys of one state: a B-tree whose leaves are packed.
#[derive(Debug, Default)]
struct Keys {
    /// By a key that is not above any in the block, and above all in the block before.
    blocks: BTreeMap<ShortKey, KeyBlock>,
    rows: u64,
    bytes: usize,
    /// The greatest key, if it is known. Keys that come in order, as those of a restore or a sealed log do, go behind
    /// it without a search.
    last: Option<Vec<u8>>,
}

/// Blocks beyond are cut in two. A look-up goes through half of one. The tests want to see it done.
const BLOCK_BYTES: usize = if cfg!(test) { 96 } else { 1024 };

/// What a block takes beside its rows: its entry in a node of std's B-tree, two thirds full, and what the allocator
/// adds.
const BESIDE: usize = size_of::<(ShortKey, KeyBlock)>() * 3 / 2 + 16;

impl Keys {
    fn get(&self, key: &[u8]) -> Option<Location> {
        let (_, block) = self.blocks.range::<[u8], _>(upto(key)).next_back()?;
        block.get(key)
    }

    fn insert(&mut self, key: &[u8], at: Location) -> Option<Location> {
        if let Some(last) = self.last.as_mut().filter(|last| key > last.as_slice())
            && let Some(mut block) = self.blocks.last_entry()
        {
            let shared = common(last, key);
            last.truncate(shared);
            last.extend_from_slice(&key[shared..]);
            let block = block.get_mut();
            let before = block.capacity();
            let start = block.push(key, shared, at);
            let split = Self::split(block, start, true);
            self.bytes = self.bytes + block.capacity() - before;
            self.count_new(split);
            return None;
        }
        let found = self.blocks.range_mut::<[u8], _>(upto(key)).next_back();
        let block = match found {
            Some((_, block)) => block,
            None => {
                self.bytes += BESIDE;
                self.blocks.entry(ShortKey::new(&[])).or_default()
            }
        };
        let before = block.capacity();
        let (start, is_last) = match block.insert(key, at) {
            Inserted::Over(old) => {
                self.bytes = self.bytes + block.capacity() - before;
                return Some(old);
            }
            Inserted::New { start, is_last } => (start, is_last),
        };
        let split = Self::split(block, start, is_last);
        self.bytes = self.bytes + block.capacity() - before;
        if self.last.is_none() && is_last {
            let above = (Bound::Excluded(key), Bound::Unbounded);
            if self.blocks.range::<[u8], _>(above).next().is_none() {
                self.last = Some(key.to_vec());
            }
        }
        self.count_new(split);
        None
    }

    fn relocate<E>(
        &mut self,
        key: &[u8],
        from: Location,
        to: impl FnOnce() -> Result<Location, E>,
    ) -> Result<bool, E> {
        let found = self.blocks.range_mut::<[u8], _>(upto(key)).next_back();
        let Some((_, block)) = found else {
            return Ok(false);
        };
        let before = block.capacity();
        let moved = block.relocate(key, from, to);
        self.bytes = self.bytes + block.capacity() - before;
        moved
    }

    /// Cuts a block that has become too large by the row at `start`.
    fn split(block: &mut KeyBlock, start: usize, is_last: bool) -> Option<(Vec<u8>, KeyBlock)> {
        if block.len() <= BLOCK_BYTES {
            return None;
        }
        // Keys that come in order leave full blocks behind.
        let cut = if is_last { Some(start) } else { block.middle() };
        cut.filter(|&cut| cut > 0)
            .and_then(|cut| block.split_off(cut))
    }

    /// Counts a new row, and adds the block that it made of another.
    fn count_new(&mut self, split: Option<(Vec<u8>, KeyBlock)>) {
        self.rows += 1;
        if let Some((from, right)) = split {
            self.bytes += right.capacity() + BESIDE + ShortKey::heap_bytes(from.len()) as usize;
            self.blocks.insert(ShortKey::new(&from), right);
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<Location> {
        let (from, block) = self.blocks.range_mut::<[u8], _>(upto(key)).next_back()?;
        let before = block.capacity();
        let old = block.remove(key)?;
        self.rows -= 1;
        if self.last.as_deref() == Some(key) {
            self.last = None;
        }
        self.bytes = self.bytes + block.capacity() - before;
        if block.len() < BLOCK_BYTES / 4 {
            let from = from.clone();
            self.merge(&from);
        }
        Some(old)
    }

    /// Joins a small block to the one before it, if there is place, and drops it if it is empty.
    fn merge(&mut self, from: &ShortKey) {
        let Some(block) = self.blocks.remove(from.as_bytes()) else {
            return;
        };
        let mut leaves = block.is_empty();
        let below = (Bound::Unbounded, Bound::Excluded(from.as_bytes()));
        if !leaves
            && let Some((_, other)) = self.blocks.range_mut::<[u8], _>(below).next_back()
            && other.len() + block.len() <= BLOCK_BYTES / 4 * 3
        {
            let before = other.capacity();
            other.append(&block);
            self.bytes = self.bytes + other.capacity() - before;
            leaves = true;
        }
        if leaves {
            let key_heap = ShortKey::heap_bytes(from.as_bytes().len()) as usize;
            self.bytes -= block.capacity() + BESIDE + key_heap;
        } else {
            self.blocks.insert(from.clone(), block);
        }
    }
}

fn upto(key: &[u8]) -> (Bound<&[u8]>, Bound<&[u8]>) {
    (Bound::Unbounded, Bound::Included(key))
}

impl Index {
    pub(super) fn get(&self, state: StateId, key: &[u8]) -> Option<Location> {
        self.states.get(&state)?.get(key)
    }

    /// Returns where the row lay before.
    pub(super) fn insert(&mut self, state: StateId, key: &[u8], at: Location) -> Option<Location> {
        let old = self.states.entry(state).or_default().insert(key, at);
        self.rows += u64::from(old.is_none());
        old
    }

    /// Says anew where a row lies if it lies at `from`; asks `to` only then. Returns whether it did.
    ///
    /// # Errors
    /// What `to` returns; the row lies where it lay.
    pub(super) fn relocate<E>(
        &mut self,
        state: StateId,
        key: &[u8],
        from: Location,
        to: impl FnOnce() -> Result<Location, E>,
    ) -> Result<bool, E> {
        match self.states.get_mut(&state) {
            Some(keys) => keys.relocate(key, from, to),
            None => Ok(false),
        }
    }

    pub(super) fn remove(&mut self, state: StateId, key: &[u8]) -> Option<Location> {
        let keys = self.states.get_mut(&state)?;
        let old = keys.remove(key)?;
        if keys.rows == 0 {
            self.states.remove(&state);
        }
        self.rows -= 1;
        Some(old)
    }

    /// Visits the rows under `prefix` behind `after`, ascending, until `visit` breaks.
    ///
    /// # Errors
    /// What `visit` returns.
    pub(super) fn visit(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], Location) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(keys) = self.states.get(&state) else {
            return Ok(());
        };
        let after = after.filter(|after| *after >= prefix);
        let from = after.unwrap_or(prefix);
        let first = keys.blocks.range::<[u8], _>(upto(from)).next_back();
        let start = first.map_or(Bound::Unbounded, |(key, _)| Bound::Included(key.as_bytes()));
        let mut key = Vec::new();
        for (_, block) in keys.blocks.range::<[u8], _>((start, Bound::Unbounded)) {
            for row in block.rows() {
                KeyBlock::advance(&mut key, &row);
                if key.as_slice() < from || after == Some(&key) {
                    continue;
                }
                if !key.starts_with(prefix) || visit(&key, row.at)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.states.values().map(|keys| keys.bytes as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(Vec<u8>, u32),
        Remove(Vec<u8>),
        RemoveNth(prop::sample::Index),
        Relocate(Vec<u8>, u32, u32),
        RelocateNth(prop::sample::Index, u32),
        Visit(Vec<u8>, Option<Vec<u8>>),
    }

    /// Few letters and short, so that keys are prefixes of one another, with some that fill a block alone.
    fn key() -> impl Strategy<Value = Vec<u8>> {
        let letter = || prop_oneof![Just(0_u8), Just(1), Just(255), Just(7)];
        prop_oneof![
            9 => prop::collection::vec(letter(), 0..6),
            2 => prop::collection::vec(letter(), 20..40),
            1 => (letter(), 90_usize..400).prop_map(|(letter, len)| vec![letter; len]),
        ]
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (key(), any::<u32>()).prop_map(|(key, n)| Op::Insert(key, n)),
            2 => key().prop_map(Op::Remove),
            4 => any::<prop::sample::Index>().prop_map(Op::RemoveNth),
            1 => (key(), any::<u32>(), any::<u32>()).prop_map(|(key, from, to)| Op::Relocate(key, from, to)),
            2 => (any::<prop::sample::Index>(), any::<u32>()).prop_map(|(nth, to)| Op::RelocateNth(nth, to)),
            1 => (key(), prop::option::of(key())).prop_map(|(key, after)| Op::Visit(key, after)),
        ]
    }

    fn at(n: u32) -> Location {
        Location {
            segment: n >> 16,
            offset: n,
            len: n >> 3,
        }
    }

    fn visited(index: &Index, prefix: &[u8], after: Option<&[u8]>) -> Vec<(Vec<u8>, Location)> {
        let mut rows = Vec::new();
        let outcome = index.visit(StateId::new(1), prefix, after, |key, at| {
            rows.push((key.to_vec(), at));
            Ok(ControlFlow::Continue(()))
        });
        assert!(outcome.is_ok());
        rows
    }

    fn check(index: &Index, model: &BTreeMap<Vec<u8>, Location>) {
        assert_eq!(index.rows(), model.len() as u64);
        let rows: Vec<_> = model.iter().map(|(key, at)| (key.clone(), *at)).collect();
        assert_eq!(visited(index, &[], None), rows);
        for last in index.states.values().filter_map(|keys| keys.last.as_ref()) {
            assert_eq!(Some(last), model.keys().next_back());
        }
        let bytes = index.states.values().flat_map(|keys| &keys.blocks);
        let bytes = bytes.map(|(from, block)| {
            let key = ShortKey::heap_bytes(from.as_bytes().len()) as usize;
            block.capacity() + BESIDE + key
        });
        assert_eq!(index.memory_bytes(), bytes.sum::<usize>() as u64);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn holds_what_a_map_holds(ops in prop::collection::vec(op(), 0..200)) {
            let (mut index, mut model) = (Index::default(), BTreeMap::new());
            let state = StateId::new(1);
            for op in ops {
                match op {
                    Op::Insert(key, n) => {
                        prop_assert_eq!(index.insert(state, &key, at(n)), model.insert(key.clone(), at(n)));
                        prop_assert_eq!(index.get(state, &key), Some(at(n)));
                    }
                    Op::Remove(key) => {
                        prop_assert_eq!(index.get(state, &key), model.get(&key).copied());
                        prop_assert_eq!(index.remove(state, &key), model.remove(&key));
                    }
                    Op::RemoveNth(nth) if !model.is_empty() => {
                        let keys: Vec<_> = model.keys().cloned().collect();
                        let key = nth.get(&keys);
                        prop_assert_eq!(index.remove(state, key), model.remove(key));
                    }
                    Op::Relocate(key, from, to) => {
                        let held = model.get(&key) == Some(&at(from));
                        let moved = index.relocate(state, &key, at(from), || Ok::<_, ()>(at(to)));
                        prop_assert_eq!(moved, Ok(held));
                        if held {
                            model.insert(key, at(to));
                        }
                    }
                    Op::RelocateNth(nth, to) if !model.is_empty() => {
                        let rows: Vec<_> = model.iter().map(|(key, at)| (key.clone(), *at)).collect();
                        let (key, from) = nth.get(&rows);
                        let refused = index.relocate(state, key, *from, || Err("refused"));
                        prop_assert_eq!(refused, Err("refused"));
                        prop_assert_eq!(index.get(state, key), Some(*from));
                        let moved = index.relocate(state, key, *from, || Ok::<_, ()>(at(to)));
                        prop_assert_eq!(moved, Ok(true));
                        model.insert(key.clone(), at(to));
                    }
                    Op::RemoveNth(_) | Op::RelocateNth(..) => {}
                    Op::Visit(prefix, after) => {
                        let behind = |key: &[u8]| after.as_deref().is_none_or(|after| key > after);
                        let rows: Vec<_> = model
                            .iter()
                            .filter(|(key, _)| key.starts_with(&prefix) && behind(key))
                            .map(|(key, at)| (key.clone(), *at))
                            .collect();
                        prop_assert_eq!(visited(&index, &prefix, after.as_deref()), rows);
                    }
                }
                check(&index, &model);
            }
        }
    }

    /// What a row takes, without the keys that tests make.
    #[test]
    fn keys_in_order_are_packed() {
        let (mut index, state) = (Index::default(), StateId::new(1));
        for n in 0..2_000_u32 {
            index.insert(state, &n.to_be_bytes(), at(n));
        }
        let greatest = 1_999_u32.to_be_bytes();
        let last = index.states.values().map(|keys| keys.last.as_deref());
        assert!(last.eq([Some(&greatest[..])]));
        // Four bytes of head and one of the key behind a full block's first.
        assert!(
            index.memory_bytes() < 2_000 * 30,
            "{} bytes",
            index.memory_bytes()
        );
        assert!(index.states.values().all(|keys| keys.blocks.len() < 300));
    }
}
