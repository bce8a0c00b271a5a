//! What a table holds for one row.

use super::slab::Keyed;
use crate::row_key::RowKey;

/// One row, decoded. In this order, so that an access that hits touches one piece of memory: key, marks, value.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Entry<P> {
    pub(crate) key: RowKey,
    /// Epoch of the last change; 0 if it is as restored.
    pub(crate) modified: u32,
    /// Epoch of the newest snapshot that has this row, or had it before it was changed.
    pub(crate) captured: u32,
    /// Memory outside the table that this row holds, as last measured.
    pub(crate) heap: u32,
    /// Changes in place since `heap` was measured.
    pub(crate) writes: u16,
    pub(crate) flags: u8,
    /// Time of the last renewal, for states with a time to live.
    pub(crate) written: i64,
    /// `None` is a tombstone: the row is deleted, and somebody has yet to be told.
    pub(crate) value: Option<P>,
}

/// Used since the clock hand came by.
pub(crate) const REFERENCED: u8 = 1;
/// The backend does not have it as it is here.
pub(crate) const UNSAVED: u8 = 2;
/// An older version may exist in the backend or in the checkpoint restored from, so that a
/// deletion must be handed on.
pub(crate) const BENEATH: u8 = 4;

impl<P> Entry<P> {
    #[inline]
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Whether it may leave the table without anybody missing it.
    pub(crate) fn is_spent_tombstone(&self, settled: u32, pinned: bool) -> bool {
        self.value.is_none() && self.modified <= settled && (pinned || !self.has(UNSAVED))
    }
}

/// A row that changed since the last acknowledged snapshot and was then evicted: its value is in the
/// backend (or is not, if it was deleted), and the next delta must still have it.
#[derive(Debug)]
pub(crate) struct Ghost {
    pub(crate) key: RowKey,
    pub(crate) modified: u32,
    pub(crate) captured: u32,
}

impl<P> Keyed for Entry<P> {
    #[inline]
    fn key(&self) -> &RowKey {
        &self.key
    }
}

impl Keyed for Ghost {
    fn key(&self) -> &RowKey {
        &self.key
    }
}
