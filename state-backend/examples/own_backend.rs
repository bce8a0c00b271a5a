//! A backend of one's own, proven by the suite in one line.
//!
//! `cargo run -p state-backend --example own_backend --features conformance`, and
//! `cargo test -p state-backend --example own_backend --features conformance` for the proof.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use state_backend::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, Result, StateId, Visit,
};

/// All rows in one ordered map.
#[derive(Debug, Default)]
struct OneMap {
    rows: BTreeMap<(StateId, Vec<u8>), Vec<u8>>,
    accepted_bytes: u64,
}

impl KeyedStateBackend for OneMap {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.rows.get(&(state, key.to_vec()));
        Ok(value.map(|value| found(value)).is_some())
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded((state, after.to_vec())),
            _ => Bound::Included((state, prefix.to_vec())),
        };
        for ((of, key), value) in self.rows.range((from, Bound::Unbounded)) {
            let inside = *of == state && key.starts_with(prefix);
            if !inside || visit(key, value) == ControlFlow::Break(()) {
                break;
            }
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        for change in changes {
            let row = (change.state, change.key.to_vec());
            match change.value {
                Some(value) => self.rows.insert(row, value.to_vec()),
                None => self.rows.remove(&row),
            };
            self.accepted_bytes += (change.key.len() + change.value.map_or(0, <[u8]>::len)) as u64;
        }
        Ok(())
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    fn clear(&mut self) -> Result<()> {
        self.rows.clear();
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
            rows: self.rows.len() as u64,
            accepted_bytes: self.accepted_bytes,
            ..BackendStats::default()
        }
    }
}

impl state_backend::conformance::Target for OneMap {
    const DURABLE: bool = false;

    fn open(&mut self) -> Box<dyn KeyedStateBackend> {
        Box::new(Self::default())
    }
}

#[cfg(test)]
state_backend::conformance_tests!(OneMap::default());

fn main() {
    // Outside a test harness the cases are plain functions.
    state_backend::conformance::random_operations_match_a_map(&mut OneMap::default());
    println!("two thousand random operations came out as they should");
}
