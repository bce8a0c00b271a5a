//! Where the rows of a restored store come from.

use crate::{Error, KeyGroup, KeyGroupRange, Result};
use std::{fmt::Debug, ops::ControlFlow};

/// Takes the rows of a [`RestoreSource`], a run at a time; breaking ends the reading.
pub type TakeRows<'a> = &'a mut dyn FnMut(RestoredRows<'_>) -> ControlFlow<()>;

/// The rows of a checkpoint, to be read a state at a time: what a store that is restored takes them from
/// when the states are registered, so that they need not wait in memory.
///
/// `OperatorRows` of the crate `checkpoint-store` is one.
pub trait RestoreSource: Debug + Send + Sync {
    /// About how many rows of the state there are in these key groups, at most.
    fn rows(&self, state: &str, groups: KeyGroupRange) -> u64;

    /// Hands over the rows of a state in these key groups until `take` breaks, which is no error: ascending
    /// by key group and key, each key once, no deletions. Called from several threads at once, each with
    /// key groups of its own; a state may be read again.
    ///
    /// # Errors
    /// [`Error::Corrupted`] for damaged rows, [`Error::Backend`] when the storage failed. Some rows may
    /// have been handed over.
    fn read(&self, state: &str, groups: KeyGroupRange, take: TakeRows<'_>) -> Result<()>;
}

/// A run of rows of one key group, borrowed from where they were read to.
///
/// Keys and values lie one after the other in a block of bytes each; of `n` rows there are `n + 1` offsets into
/// it. (An Arrow array of type `Binary` is just that.)
#[derive(Clone, Copy, Debug)]
pub struct RestoredRows<'a> {
    group: KeyGroup,
    keys: Column<'a>,
    values: Column<'a>,
    group_rows: u64,
}

/// Offsets that ascend, none beyond the bytes.
#[derive(Clone, Copy, Debug)]
struct Column<'a> {
    offsets: &'a [i32],
    bytes: &'a [u8],
}

impl<'a> RestoredRows<'a> {
    /// Rows from the offsets and bytes of their keys (without key group) and of their values.
    ///
    /// # Errors
    /// [`Error::Corrupted`] for offsets that descend or lie outside the bytes, or when there are not as many
    /// values as keys.
    pub fn new(
        group: KeyGroup,
        (key_offsets, keys): (&'a [i32], &'a [u8]),
        (value_offsets, values): (&'a [i32], &'a [u8]),
    ) -> Result<Self> {
        if key_offsets.len() != value_offsets.len() {
            return Err(damaged("there are not as many values as keys"));
        }
        Ok(Self {
            group,
            keys: Column::new(key_offsets, keys)?,
            values: Column::new(value_offsets, values)?,
            group_rows: 0,
        })
    }

    /// Says about how many rows the key group has in all, so that room is made for them at once.
    #[must_use]
    pub fn with_group_rows(mut self, rows: u64) -> Self {
        self.group_rows = rows;
        self
    }

    /// Key group of all rows.
    #[must_use]
    pub fn group(&self) -> KeyGroup {
        self.group
    }

    /// Number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.offsets.len().saturating_sub(1)
    }

    /// Key and value bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.len() + self.values.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// At least how many rows the key group has, as far as anybody knows.
    pub(crate) fn group_rows(&self) -> usize {
        usize::try_from(self.group_rows).map_or(self.len(), |rows| rows.max(self.len()))
    }

    /// Key and value of each row.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        self.keys.iter().zip(self.values.iter())
    }
}

impl<'a> Column<'a> {
    fn new(offsets: &'a [i32], bytes: &'a [u8]) -> Result<Self> {
        let bounds = offsets.first().zip(offsets.last());
        let inside = bounds.is_none_or(|(first, last)| {
            *first >= 0 && usize::try_from(*last).is_ok_and(|last| last <= bytes.len())
        });
        if !inside || !offsets.is_sorted() {
            return Err(damaged("offsets of rows do not ascend or leave the bytes"));
        }
        Ok(Self { offsets, bytes })
    }

    fn len(&self) -> usize {
        let bounds = self.offsets.first().zip(self.offsets.last());
        bounds.map_or(0, |(first, last)| (last - first) as usize)
    }

    fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        let rows = self.offsets.windows(2);
        rows.map(move |pair| &self.bytes[pair[0] as usize..pair[1] as usize])
    }
}

fn damaged(reason: &str) -> Error {
    Error::corrupted("rows to be restored", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_what_the_offsets_say_and_bad_offsets_are_refused() {
        let group = KeyGroup::new(3);
        let rows = RestoredRows::new(group, (&[1, 2, 4], b"xabb"), (&[0, 0, 1], b"v")).unwrap();
        let found: Vec<_> = rows.iter().collect();
        assert_eq!(found, [(&b"a"[..], &b""[..]), (b"bb", b"v")]);
        assert_eq!((rows.len(), rows.group_rows()), (2, 2));
        assert_eq!(rows.with_group_rows(9).group_rows(), 9);
        assert!(
            RestoredRows::new(group, (&[], b""), (&[], b""))
                .unwrap()
                .is_empty()
        );
        for bad in [&[0, 2, 1][..], &[-1, 0, 1], &[0, 1, 9]] {
            let error = RestoredRows::new(group, (bad, b"abc"), (&[0, 0, 0], b"")).unwrap_err();
            assert!(error.is_corruption(), "{bad:?}");
        }
        assert!(RestoredRows::new(group, (&[0, 1], b"a"), (&[0], b"")).is_err());
    }
}
