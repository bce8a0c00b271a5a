//! Rows in memory of states that were restored and nobody has registered yet.

use crate::{DeltaChunk, KeyGroup, StateId};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Rows that wait in a store in memory for their states to be registered: encoded, as they came, since a
/// registration takes them all at once and in any order.
#[derive(Debug, Default)]
pub(crate) struct Unclaimed {
    states: BTreeMap<StateId, BTreeMap<KeyGroup, Waiting>>,
}

/// Rows of one state and group.
#[derive(Debug, Default)]
struct Waiting {
    /// Of two rows for one key the later one counts.
    chunks: Vec<DeltaChunk>,
    /// How many chunks at the front are in ascending order, without deletions.
    settled: usize,
}

/// Size of the chunks that a group is put in order in.
const CHUNK_BYTES: usize = 1 << 20;

impl Unclaimed {
    pub(crate) fn push(&mut self, state: StateId, chunk: DeltaChunk) {
        if !chunk.is_empty() {
            let groups = self.states.entry(state).or_default();
            groups.entry(chunk.group).or_default().chunks.push(chunk);
        }
    }

    /// Takes out all rows of a state, the chunks of each group in the order in which they came.
    pub(crate) fn take(&mut self, state: StateId) -> Vec<DeltaChunk> {
        let groups = self.states.remove(&state).unwrap_or_default();
        groups.into_values().flat_map(|rows| rows.chunks).collect()
    }

    /// Visits the rows of a group in ascending order of their keys, those greater than `after` if that
    /// is given, until `visit` breaks. The first time after a [`push`](Self::push) takes a pass over the
    /// group.
    pub(crate) fn scan(
        &mut self,
        state: StateId,
        group: KeyGroup,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) {
        let groups = self.states.get_mut(&state);
        let Some(rows) = groups.and_then(|groups| groups.get_mut(&group)) else {
            return;
        };
        rows.settle(state, group);
        let passed = |key: &[u8]| after.is_some_and(|after| key <= after);
        let first = rows
            .chunks
            .partition_point(|chunk| passed(chunk.row(chunk.len() - 1).0));
        for chunk in &rows.chunks[first..] {
            for (key, value) in chunk.iter().skip(chunk.rows_upto(passed)) {
                if visit(key, value.unwrap_or_default()).is_break() {
                    return;
                }
            }
        }
    }

    /// Rows, and the memory that they take.
    pub(crate) fn size(&self) -> (u64, u64) {
        let groups = self.states.values().flat_map(BTreeMap::values);
        groups
            .flat_map(|rows| &rows.chunks)
            .fold((0, 0), |(rows, bytes), chunk| {
                let own = chunk.bytes() + chunk.len() * DeltaChunk::ROW_BYTES;
                (rows + chunk.len() as u64, bytes + own as u64)
            })
    }
}

impl Waiting {
    /// Sees to it that the rows ascend, and each key comes once and is alive.
    fn settle(&mut self, state: StateId, group: KeyGroup) {
        if self.settled == self.chunks.len() {
            return;
        }
        // The last row in order is compared with the first that is not known to be.
        let unknown = &self.chunks[self.settled.saturating_sub(1)..];
        let mut last: Option<&[u8]> = None;
        let ordered = unknown.iter().flat_map(DeltaChunk::iter).all(|row| {
            let (key, value) = row;
            let ascends = last.is_none_or(|last| last < key) && value.is_some();
            last = Some(key);
            ascends
        });
        if !ordered {
            self.chunks = merged(state, group, &self.chunks);
        }
        self.settled = self.chunks.len();
    }
}

fn merged(state: StateId, group: KeyGroup, chunks: &[DeltaChunk]) -> Vec<DeltaChunk> {
    let rows: BTreeMap<&[u8], Option<&[u8]>> = chunks.iter().flat_map(DeltaChunk::iter).collect();
    let mut merged: Vec<DeltaChunk> = Vec::new();
    for (key, value) in rows {
        let Some(value) = value else { continue };
        match merged.last_mut() {
            Some(chunk) if chunk.bytes() < CHUNK_BYTES => chunk.push(key, Some(value)),
            _ => {
                let mut chunk = DeltaChunk::new(state, group);
                chunk.push(key, Some(value));
                merged.push(chunk);
            }
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0_u8..3, 0..3)
    }

    proptest! {
        /// Whatever comes in whatever order is what a map would hold, from any key on.
        #[test]
        fn scans_like_a_sorted_map(
            pushes in prop::collection::vec(
                prop::collection::vec((key(), prop::option::of(any::<[u8; 2]>())), 0..8),
                0..6,
            ),
            after in prop::option::of(key()),
        ) {
            let (state, group) = (StateId::new(7), KeyGroup::new(3));
            let (mut unclaimed, mut model) = (Unclaimed::default(), BTreeMap::new());
            for rows in &pushes {
                let mut chunk = DeltaChunk::new(state, group);
                for (key, value) in rows {
                    chunk.push(key, value.as_ref().map(|value| &value[..]));
                    match value {
                        Some(value) => model.insert(key.clone(), value.to_vec()),
                        None => model.remove(key),
                    };
                }
                unclaimed.push(state, chunk);
                let mut found = Vec::new();
                unclaimed.scan(state, group, after.as_deref(), |key, value| {
                    found.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                });
                let rows = model.iter().filter(|(key, _)| after.as_ref().is_none_or(|k| *key > k));
                let expected: Vec<_> = rows.map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(found, expected);
            }
            let taken = unclaimed.take(state).len();
            prop_assert_eq!(unclaimed.size(), (0, 0));
            prop_assert!(taken <= pushes.len());
        }
    }
}
