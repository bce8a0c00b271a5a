//! A write buffer: changes in order, until they go to the tree in one transaction.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::short_key::ShortKey;
use crate::{Change, StateId};

/// The newest change of each row, by state and key. `None` is a deletion.
#[derive(Debug, Default)]
pub(super) struct Memtable {
    rows: BTreeMap<ShortKey, Option<Box<[u8]>>>,
    bytes: usize,
}

impl Memtable {
    pub(super) fn insert(&mut self, row: &[u8], value: Option<&[u8]>) {
        let value = value.map(Box::from);
        let added = value_bytes(value.as_deref());
        if let Some(found) = self.rows.get_mut(row) {
            self.bytes -= value_bytes(found.as_deref());
            *found = value;
        } else {
            self.rows.insert(ShortKey::new(row), value);
            self.bytes += Self::ROW + ShortKey::heap_bytes(row.len()) as usize;
        }
        self.bytes += added;
    }

    /// A row beside its value: the entry in a B-tree node that is two thirds full.
    const ROW: usize = 60;

    /// Memory taken, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory the changes will take at most.
    pub(super) fn cost(changes: &[Change<'_>]) -> usize {
        changes
            .iter()
            .map(|c| Self::ROW + c.key.len() + c.value.map_or(0, |v| v.len() + 16))
            .sum()
    }

    /// Outer `None`: nothing known of the row. Inner `None`: it is deleted.
    pub(super) fn get(&self, row: &[u8]) -> Option<Option<&[u8]>> {
        self.rows.get(row).map(Option::as_deref)
    }

    pub(super) fn range<'a>(
        &'a self,
        from: Bound<&[u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + 'a {
        self.rows
            .range::<[u8], _>((from, Bound::Unbounded))
            .map(|(row, value)| (row.as_bytes(), value.as_deref()))
    }

    /// Rows that are written, less rows that are deleted.
    pub(super) fn balance(&self) -> i64 {
        self.rows
            .values()
            .map(|value| if value.is_some() { 1 } else { -1 })
            .sum()
    }
}

fn value_bytes(value: Option<&[u8]>) -> usize {
    value.map_or(0, |value| value.len() + 16)
}

/// The name of a row in the one table of the file: the state, then the key.
pub(super) fn row_name(state: StateId, key: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&state.get().to_be_bytes());
    out.extend_from_slice(key);
}
