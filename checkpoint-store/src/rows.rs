//! Rows in memory until there are enough of them to sort and write.

mod order;

use order::{Order, Prefixed};
use state_backend::DeltaChunk;
use std::ops::Range;

/// Rows of one state in the order they came, in one arena.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    bytes: Vec<u8>,
    rows: Vec<RowSpan>,
    /// Each key group that rows came for, and the first of them: they come in runs.
    runs: Vec<(u16, usize)>,
}

#[derive(Debug, Clone, Copy)]
struct RowSpan {
    start: usize,
    key_len: u32,
    /// `NONE` for a deletion.
    value_len: u32,
}

const NONE: u32 = u32::MAX;

impl RowSpan {
    fn new(start: usize, key: &[u8], value: Option<&[u8]>) -> Self {
        let len = |len: usize| u32::try_from(len).unwrap_or(NONE - 1);
        Self {
            start,
            key_len: len(key.len()),
            value_len: value.map_or(NONE, |value| len(value.len())),
        }
    }
}

impl RowBuffer {
    /// Memory in use, roughly.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<RowSpan>()
    }

    /// Adds a row; the caller has checked that its size is below 1 GiB.
    pub(crate) fn push(&mut self, group: u16, key: &[u8], value: Option<&[u8]>) {
        self.run_of(group);
        self.rows.push(RowSpan::new(self.bytes.len(), key, value));
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
    }

    /// Adds the rows of a chunk, each of a size below 1 GiB.
    pub(crate) fn push_chunk(&mut self, chunk: &DeltaChunk) {
        self.run_of(chunk.group.get());
        let mut start = self.bytes.len();
        self.rows.extend(chunk.iter().map(|(key, value)| {
            let row = RowSpan::new(start, key, value);
            start += key.len() + value.map_or(0, <[u8]>::len);
            row
        }));
        self.bytes.extend_from_slice(chunk.data());
    }

    fn run_of(&mut self, group: u16) {
        if self.runs.last().is_none_or(|(last, _)| *last != group) {
            self.runs.push((group, self.rows.len()));
        }
    }

    /// Visits the rows in ascending order of key group and key, of equal keys only the last one
    /// that was pushed, and empties the buffer.
    pub(crate) fn drain_sorted<E>(
        &mut self,
        mut visit: impl FnMut(u16, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { bytes, rows, runs } = std::mem::take(self);
        let key = |row: usize| {
            let row = &rows[row];
            &bytes[row.start..][..row.key_len as usize]
        };
        let mut order = Order::default();
        for (group, runs) in by_group(&runs, rows.len()) {
            let sorted = order.sort(runs.iter().cloned().flatten(), key);
            for (at, Prefixed { prefix, row }) in sorted.iter().copied().enumerate() {
                let superseded = sorted
                    .get(at + 1)
                    .is_some_and(|next| next.prefix == prefix && key(next.row) == key(row));
                if superseded {
                    continue;
                }
                let span = &rows[row];
                let value_start = span.start + span.key_len as usize;
                let value = (span.value_len != NONE)
                    .then(|| &bytes[value_start..][..span.value_len as usize]);
                visit(group, key(row), value)?;
            }
        }
        Ok(())
    }
}

/// The rows of each key group in ascending order of it, as the runs that they came in.
fn by_group(runs: &[(u16, usize)], rows: usize) -> Vec<(u16, Vec<Range<usize>>)> {
    let ends = runs.iter().skip(1).map(|(_, start)| *start).chain([rows]);
    let mut ranges: Vec<_> = runs
        .iter()
        .zip(ends)
        .map(|((group, start), end)| (*group, *start..end))
        .collect();
    ranges.sort_by_key(|(group, _)| *group);
    ranges
        .chunk_by(|(a, _), (b, _)| a == b)
        .map(|runs| {
            let ranges = runs.iter().map(|(_, range)| range.clone());
            (runs[0].0, ranges.collect())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use state_backend::{KeyGroup, StateId};
    use std::collections::BTreeMap;

    /// One row of a key group: its key, and a value unless it is a deletion.
    type Change = (u16, Vec<u8>, Option<[u8; 2]>);

    /// A row in order: key group and key, and its value.
    type Sorted = ((u16, Vec<u8>), Option<Vec<u8>>);

    fn changes() -> impl Strategy<Value = Vec<Change>> {
        let key = prop_oneof![
            prop::collection::vec(0u8..3, 0..12),
            (0u32..5_000).prop_map(|n| format!("a longer key {n}").into_bytes()),
            (0u64..50_000).prop_map(|n| n.to_be_bytes().to_vec()),
        ];
        let change = (0u16..3, key, prop::option::of(any::<[u8; 2]>()));
        prop::collection::vec(change, 0..200)
    }

    fn model(changes: &[Change]) -> Vec<Sorted> {
        let mut model = BTreeMap::new();
        for (group, key, value) in changes {
            model.insert((*group, key.clone()), value.map(|value| value.to_vec()));
        }
        model.into_iter().collect()
    }

    fn drained(buffer: &mut RowBuffer) -> Vec<Sorted> {
        let mut drained = Vec::new();
        buffer
            .drain_sorted(|group, key, value| {
                drained.push(((group, key.to_vec()), value.map(<[u8]>::to_vec)));
                Ok::<_, ()>(())
            })
            .unwrap();
        assert_eq!(buffer.size(), 0);
        drained
    }

    proptest! {
        #[test]
        fn drains_like_a_sorted_map(changes in changes()) {
            let mut buffer = RowBuffer::default();
            for (group, key, value) in &changes {
                buffer.push(*group, key, value.as_ref().map(|value| &value[..]));
            }
            prop_assert_eq!(drained(&mut buffer), model(&changes));
        }

        #[test]
        fn a_chunk_is_its_rows(changes in changes()) {
            let mut buffer = RowBuffer::default();
            for run in changes.chunk_by(|a, b| a.0 == b.0) {
                let mut chunk = DeltaChunk::new(StateId::new(0), KeyGroup::new(run[0].0));
                for (_, key, value) in run {
                    chunk.push(key, value.as_ref().map(|value| &value[..]));
                }
                buffer.push_chunk(&chunk);
            }
            prop_assert_eq!(drained(&mut buffer), model(&changes));
        }
    }

    #[test]
    fn many_rows_of_one_group_are_sorted() {
        for keys in [
            |n: u64| (n * 7_919 % 10_007).to_be_bytes().to_vec(),
            |n: u64| format!("user-{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15)).into_bytes(),
            |n: u64| [b"12345678".repeat(2), (n % 3_001).to_be_bytes().to_vec()].concat(),
        ] {
            let mut buffer = RowBuffer::default();
            let changes: Vec<Change> = (0..10_000).map(|n| (7, keys(n), None)).collect();
            for (group, key, value) in &changes {
                buffer.push(*group, key, value.as_ref().map(|value| &value[..]));
            }
            assert_eq!(drained(&mut buffer), model(&changes));
        }
    }
}
