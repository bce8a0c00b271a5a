//! A write buffer: changes in order, until they go to the tree in one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::short_key::ShortKey;
use crate::{Change, StateId};

/// The newest change of each row, by state and key.
///
/// Values lie in one allocation: a value of its own for each, freed a buffer at a time between the
/// allocations of others, would leave holes that the allocator does not give back.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    rows: Rows,
    /// Values one after the other; one that was replaced by a longer one stays as a gap.
    values: Vec<u8>,
    /// Of keys too long to lie in the tree.
    key_bytes: usize,
    /// Rows that are written, less rows that are deleted.
    balance: i64,
}

/// Rows in ascending order of their names.
#[derive(Debug)]
enum Rows {
    /// As long as each came behind all before it, as those of a restore do: nothing is searched for.
    Run(Vec<(ShortKey, Place)>),
    Tree(BTreeMap<ShortKey, Place>),
}

impl Default for Rows {
    fn default() -> Self {
        Self::Run(Vec::new())
    }
}

impl Rows {
    fn len(&self) -> usize {
        match self {
            Self::Run(rows) => rows.len(),
            Self::Tree(rows) => rows.len(),
        }
    }

    fn get(&self, row: &[u8]) -> Option<&Place> {
        match self {
            Self::Run(rows) => {
                let found = rows.binary_search_by(|(other, _)| other.as_bytes().cmp(row));
                found.ok().map(|at| &rows[at].1)
            }
            Self::Tree(rows) => rows.get(row),
        }
    }

    fn get_mut(&mut self, row: &[u8]) -> Option<&mut Place> {
        match self {
            Self::Run(rows) => {
                if rows.last().is_none_or(|(last, _)| last.as_bytes() < row) {
                    return None;
                }
                let found = rows.binary_search_by(|(other, _)| other.as_bytes().cmp(row));
                found.ok().map(|at| &mut rows[at].1)
            }
            Self::Tree(rows) => rows.get_mut(row),
        }
    }

    /// Adds a row that is not there.
    fn insert(&mut self, row: &[u8], place: Place) {
        let row = ShortKey::new(row);
        if let Self::Run(rows) = self {
            if rows.last().is_none_or(|(last, _)| *last < row) {
                if rows.len() == rows.capacity() {
                    // By less than double: a row must not take more than it is said to.
                    rows.reserve_exact((rows.len() / 2).max(64));
                }
                rows.push((row, place));
                return;
            }
            *self = Self::Tree(std::mem::take(rows).into_iter().collect());
        }
        if let Self::Tree(rows) = self {
            rows.insert(row, place);
        }
    }

    fn range<'a>(
        &'a self,
        from: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'a ShortKey, &'a Place)> + use<'a> {
        let (run, tree) = match self {
            Self::Run(rows) => {
                let before = rows.partition_point(|(row, _)| match from {
                    Bound::Included(from) => row.as_bytes() < from,
                    Bound::Excluded(from) => row.as_bytes() <= from,
                    Bound::Unbounded => false,
                });
                (&rows[before..], None)
            }
            Self::Tree(rows) => {
                let rows = rows.range::<[u8], _>((from, Bound::Unbounded));
                (&[][..], Some(rows))
            }
        };
        let run = run.iter().map(|(row, place)| (row, place));
        run.chain(tree.into_iter().flatten())
    }
}

/// Where a value lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    /// `None`: the row is deleted.
    len: Option<u32>,
}

impl Place {
    fn balance(self) -> i64 {
        if self.len.is_some() { 1 } else { -1 }
    }
}

impl Memtable {
    /// An empty one that has place for so many bytes of values, to be touched only as they come.
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self {
            values: Vec::with_capacity(bytes),
            ..Self::default()
        }
    }

    /// Empties it; what was allocated for values is used again.
    pub(super) fn clear(&mut self) {
        self.rows = Rows::default();
        self.values.clear();
        self.key_bytes = 0;
        self.balance = 0;
    }

    pub(super) fn insert(&mut self, row: &[u8], value: Option<&[u8]>) {
        let found = self.rows.get_mut(row);
        let place = match (&found, value) {
            (_, None) => Place {
                start: 0,
                len: None,
            },
            (
                Some(Place {
                    start,
                    len: Some(len),
                }),
                Some(value),
            ) if value.len() <= *len as usize => {
                self.values[*start..*start + value.len()].copy_from_slice(value);
                Place {
                    start: *start,
                    len: Some(value.len() as u32),
                }
            }
            (_, Some(value)) => {
                let start = self.values.len();
                self.values.extend_from_slice(value);
                Place {
                    start,
                    len: Some(value.len() as u32),
                }
            }
        };
        self.balance += place.balance();
        if let Some(found) = found {
            self.balance -= found.balance();
            *found = place;
            return;
        }
        self.rows.insert(row, place);
        self.key_bytes += ShortKey::heap_bytes(row.len()) as usize;
    }

    /// The longest value that has a place here; the tree takes none that long.
    pub(super) const MAX_VALUE: usize = u32::MAX as usize;

    /// A row beside its value: the entry in a B-tree node that is somewhat over half full, or in a run that has just
    /// grown by half.
    const ROW: usize = 72;

    /// Memory taken, about.
    pub(super) fn bytes(&self) -> usize {
        self.rows.len() * Self::ROW + self.key_bytes + self.values.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Memory the changes will take at most.
    pub(super) fn cost(changes: &[Change<'_>]) -> usize {
        changes
            .iter()
            .map(|c| Self::ROW + c.key.len() + c.value.map_or(0, <[u8]>::len))
            .sum()
    }

    /// Outer `None`: nothing known of the row. Inner `None`: it is deleted.
    pub(super) fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.rows.get(row).map(|place| self.value(*place))
    }

    fn value(&self, place: Place) -> Option<&[u8]> {
        let len = place.len? as usize;
        Some(&self.values[place.start..place.start + len])
    }

    pub(super) fn range<'a>(
        &'a self,
        from: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a {
        let rows = self.rows.range(from);
        rows.map(|(row, place)| (row.as_bytes(), self.value(*place)))
    }

    /// Rows that are written, less rows that are deleted.
    pub(super) fn balance(&self) -> i64 {
        self.balance
    }
}

/// The name of a row in the one table of the file: the state, then the key.
pub(super) fn row_name(state: StateId, key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&state.get().to_be_bytes());
    out.extend_from_slice(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// A value that is replaced by a shorter or longer one, or deleted, is nobody else's.
        #[test]
        fn holds_the_newest_of_each_row(
            changes in prop::collection::vec((0u8..12, prop::option::of(prop::collection::vec(any::<u8>(), 0..9))), 0..80),
            cleared_at in 0usize..80,
            ascending in any::<bool>(),
        ) {
            let mut changes = changes;
            if ascending {
                changes.sort_by_key(|(key, _)| *key % 2 * 40 + *key);
            }
            let mut table = Memtable::with_capacity(64);
            let mut model = BTreeMap::new();
            for (at, (key, value)) in changes.iter().enumerate() {
                if at == cleared_at {
                    table.clear();
                    model.clear();
                }
                // Some keys lie outside the tree.
                let row = vec![*key; if *key % 2 == 0 { 5 } else { 40 }];
                table.insert(&row, value.as_deref());
                model.insert(row, value.clone());
                prop_assert!(table.bytes() >= model.len() * Memtable::ROW);
                let balance = model.values().map(|value| if value.is_some() { 1 } else { -1 });
                prop_assert_eq!(table.balance(), balance.sum::<i64>());
            }
            let rows: Vec<_> = table.range(Bound::Unbounded).collect();
            let expected: Vec<_> = model.iter().map(|(k, v)| (&k[..], v.as_deref())).collect();
            prop_assert_eq!(rows, expected);
            for (row, value) in &model {
                prop_assert_eq!(table.get(row), Some(value.as_deref()));
            }
            prop_assert_eq!(table.get(b"absent"), None);
            for bound in [0u8, 5, 11] {
                let row = vec![bound; 5];
                let rows: Vec<_> = table.range(Bound::Excluded(&row)).map(|(k, _)| k.to_vec()).collect();
                let expected: Vec<_> = model.keys().filter(|key| **key > row).cloned().collect();
                prop_assert_eq!(rows, expected);
            }
        }
    }
}
