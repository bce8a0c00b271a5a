//! The rows of one instant, for another thread to read while the owner goes on.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use super::Lock;
use super::memtable::{Memtable, row_name};
use super::scan;
use super::tree::{Tree, View};
use crate::{Error, FrozenRows, Result, StateId, Visit};

/// Shut when the file is opened a second time: what is written from then on knows nothing of the views
/// of the first, and takes pages that they read.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<RwLock<Shut>>);

#[derive(Debug, Default)]
struct Shut(bool);

impl Gate {
    /// Waits for readers that are in it.
    pub(super) fn shut(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).0 = true;
    }

    fn pass(&self) -> Option<RwLockReadGuard<'_, Shut>> {
        let guard = self.0.read().unwrap_or_else(PoisonError::into_inner);
        (!guard.0).then_some(guard)
    }
}

/// Write buffers, newest first, and the tree as it was beneath them.
#[derive(Debug)]
pub(super) struct Frozen {
    pub(super) buffers: Vec<Arc<Memtable>>,
    // Declared before the tree: dropped before it.
    pub(super) view: View,
    pub(super) tree: Arc<Tree>,
    pub(super) gate: Gate,
    /// The file is not opened by others while this reads it.
    pub(super) _lock: Lock,
}

impl Frozen {
    fn pass(&self) -> Result<RwLockReadGuard<'_, Shut>> {
        self.gate.pass().ok_or_else(|| {
            let full = std::io::ErrorKind::StorageFull.into();
            Error::io("go on reading", self.tree.storage.path(), full)
        })
    }
}

impl FrozenRows for Frozen {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let _guard = self.pass()?;
        let mut row = Vec::with_capacity(key.len() + 2);
        row_name(state, key, &mut row);
        if let Some(change) = self.buffers.iter().find_map(|table| table.get(&row)) {
            return Ok(change.map(&mut *found).is_some());
        }
        let value = self.view.rows.get(row.as_slice());
        let value = value.map_err(|error| self.tree.failed("read", error.into()))?;
        Ok(value.map(|value| found(value.value())).is_some())
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let _guard = self.pass()?;
        let tables: Vec<_> = self.buffers.iter().map(|table| &**table).collect();
        scan::scan_after(&tables, &self.view.rows, (state, prefix), after, visit)
            .map_err(|error| self.tree.failed("scan", error))
    }
}
