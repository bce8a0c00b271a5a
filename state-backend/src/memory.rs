//! The backend of which nothing lies beneath: rows in memory, in order.

use crate::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, Result, StateId, Visit,
};
use std::{
    collections::BTreeMap,
    ops::{Bound, ControlFlow},
};

/// Rows in ordered maps, one a state.
///
/// Under a [`StateStore`](crate::StateStore) it is nearly always empty: the tables keep all state
/// decoded, and only the rows of states that were restored but not registered yet wait here.
#[derive(Debug, Default)]
pub struct MemoryBackend {
    states: BTreeMap<StateId, Rows>,
    bytes: u64,
    accepted: u64,
}

type Rows = BTreeMap<Box<[u8]>, Box<[u8]>>;

/// What an entry of the map costs beyond its bytes, about.
const ENTRY_OVERHEAD: u64 = 64;

impl MemoryBackend {
    /// No rows.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl KeyedStateBackend for MemoryBackend {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.states.get(&state).and_then(|rows| rows.get(key));
        if let Some(value) = value {
            found(value);
        }
        Ok(value.is_some())
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let Some(rows) = self.states.get(&state) else {
            return Ok(());
        };
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        for (key, value) in rows.range::<[u8], _>((start, Bound::Unbounded)) {
            if !key.starts_with(prefix) || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        for change in changes {
            let rows = self.states.entry(change.state).or_default();
            let size = |value: &[u8]| (change.key.len() + value.len()) as u64 + ENTRY_OVERHEAD;
            let old = match change.value {
                Some(value) => {
                    self.bytes += size(value);
                    self.accepted += (change.key.len() + value.len()) as u64;
                    rows.insert(change.key.into(), value.into())
                }
                None => rows.remove(change.key),
            };
            if let Some(old) = old {
                self.bytes -= size(&old);
            }
            if rows.is_empty() {
                self.states.remove(&change.state);
            }
        }
        Ok(())
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    fn clear(&mut self) -> Result<()> {
        self.states.clear();
        self.bytes = 0;
        Ok(())
    }

    fn flush(&mut self, _: Durability) -> Result<()> {
        Ok(())
    }

    fn maintain(&mut self, _: u64) -> Result<Maintenance> {
        Ok(Maintenance::Idle)
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            rows: self.states.values().map(|rows| rows.len() as u64).sum(),
            memory_bytes: self.bytes,
            accepted_bytes: self.accepted,
            ..BackendStats::default()
        }
    }
}
