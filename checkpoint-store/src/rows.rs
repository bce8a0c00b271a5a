//! Rows in memory until there are enough of them to sort and write.

/// Rows of one state in the order they came, in one arena.
#[derive(Debug, Default)]
pub(crate) struct RowBuffer {
    bytes: Vec<u8>,
    rows: Vec<RowSpan>,
}

#[derive(Debug, Clone, Copy)]
struct RowSpan {
    /// First eight bytes of the key, so that most comparisons need not go to the arena.
    prefix: u64,
    start: usize,
    key_len: u32,
    /// `NONE` for a deletion.
    value_len: u32,
    group: u16,
}

const NONE: u32 = u32::MAX;

impl RowBuffer {
    /// Memory in use, roughly.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len() + self.rows.len() * size_of::<RowSpan>()
    }

    /// Adds a row; the caller has checked that its size is below 1 GiB.
    pub(crate) fn push(&mut self, group: u16, key: &[u8], value: Option<&[u8]>) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value.unwrap_or_default());
        let len = |len: usize| u32::try_from(len).unwrap_or(NONE - 1);
        let mut prefix = [0; 8];
        let known = key.len().min(8);
        prefix[..known].copy_from_slice(&key[..known]);
        self.rows.push(RowSpan {
            prefix: u64::from_be_bytes(prefix),
            start,
            key_len: len(key.len()),
            value_len: value.map_or(NONE, |value| len(value.len())),
            group,
        });
    }

    /// Visits the rows in ascending order of key group and key, of equal keys only the last one
    /// that was pushed, and empties the buffer.
    pub(crate) fn drain_sorted<E>(
        &mut self,
        mut visit: impl FnMut(u16, &[u8], Option<&[u8]>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Self { bytes, rows } = std::mem::take(self);
        let mut rows = rows;
        let key = |row: &RowSpan| &bytes[row.start..][..row.key_len as usize];
        // Stable, and fast on runs that are sorted already.
        rows.sort_by(|a, b| {
            (a.group, a.prefix)
                .cmp(&(b.group, b.prefix))
                .then_with(|| key(a).cmp(key(b)))
        });
        for (at, row) in rows.iter().enumerate() {
            let superseded = rows
                .get(at + 1)
                .is_some_and(|next| next.group == row.group && key(next) == key(row));
            if superseded {
                continue;
            }
            let value_start = row.start + row.key_len as usize;
            let value =
                (row.value_len != NONE).then(|| &bytes[value_start..][..row.value_len as usize]);
            visit(row.group, key(row), value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn drains_like_a_sorted_map(
            rows in prop::collection::vec(
                (0u16..3, prop::collection::vec(0u8..3, 0..10), prop::option::of(any::<[u8; 2]>())),
                0..200,
            )
        ) {
            let mut buffer = RowBuffer::default();
            let mut model = BTreeMap::new();
            for (group, key, value) in &rows {
                buffer.push(*group, key, value.as_ref().map(|value| &value[..]));
                model.insert((*group, key.clone()), value.map(|value| value.to_vec()));
            }
            let mut drained = Vec::new();
            buffer
                .drain_sorted(|group, key, value| {
                    drained.push(((group, key.to_vec()), value.map(<[u8]>::to_vec)));
                    Ok::<_, ()>(())
                })
                .unwrap();
            prop_assert_eq!(drained, model.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(buffer.size(), 0);
        }
    }
}
