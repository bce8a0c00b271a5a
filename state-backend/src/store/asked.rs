//! Rows that are about to be looked up.
//!
//! A look-up waits for main memory twice, for a line of the index and then for the row that it names, and a
//! processor begins only one or two look-ups more before the first is done. So of the rows of several keys the lines
//! are asked for first, all of them, and then the rows. Asking waits for nothing.

use super::StateStore;

/// Rows whose lines of the index have been asked for, and that have yet to be asked for themselves.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    rows: Vec<Row>,
}

#[derive(Clone, Copy, Debug)]
struct Row {
    /// Position of the table.
    slot: usize,
    /// Position of the key group.
    group: usize,
    hash: u64,
}

/// About as many lines as a processor fetches at a time.
const MOST: usize = 32;

impl Asked {
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl StateStore {
    /// Notes a row of which the line of the index has been asked for.
    #[inline]
    pub(crate) fn ask(&mut self, slot: usize, group: usize, hash: u64) {
        if self.asked.rows.len() == MOST {
            self.ask_rows();
        }
        self.asked.rows.push(Row { slot, group, hash });
    }

    /// Asks for the rows that were noted: just before the first look-up.
    #[cold]
    #[inline(never)]
    pub(crate) fn ask_rows(&mut self) {
        for row in self.asked.rows.drain(..) {
            if let Some(table) = self.tables.get(row.slot) {
                table.prefetch_row(row.group, row.hash);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        KeyGroup, KeyGroupRange, MapDef, MaxParallelism, Result, StateStore, StoreOptions, ValueDef,
    };

    #[test]
    fn asking_changes_nothing_and_is_forgotten_at_the_next_access() -> Result<()> {
        let max = MaxParallelism::default();
        let range = KeyGroupRange::new(KeyGroup::new(0), KeyGroup::new(63))?;
        let options = StoreOptions::new().with_key_groups(max, range);
        let mut store = StateStore::open(options)?;
        let value = store.value(&ValueDef::<u64>::new("value"))?;
        let map = store.map(&MapDef::<u64, u64>::new("map"))?;
        let ours =
            |key: &u64| range.contains(crate::key_group_of((*key as i32).wrapping_abs(), max));
        let mine: Vec<u64> = (0..200).filter(ours).collect();
        for key in &mine {
            if key % 2 == 0 {
                value.set(&mut store.scope(key), *key)?;
                map.put(&mut store.scope(key), key, *key)?;
            }
        }
        let before = store.stats();
        // absent ones, ones of other subtasks, and more than are noted at a time
        for key in 0..200_u64 {
            let mut scope = store.scope(&key);
            scope.prefetch();
            map.prefetch(&mut scope, &[key, key + 1])?;
        }
        assert_eq!(store.stats(), before);
        assert!(!store.asked.is_empty() && store.asked.rows.len() <= super::MOST);
        for key in &mine {
            let there = (key % 2 == 0).then_some(*key);
            assert_eq!(value.get(&mut store.scope(key))?.copied(), there);
            assert_eq!(map.get(&mut store.scope(key), key)?.copied(), there);
        }
        assert!(store.asked.is_empty());
        Ok(())
    }
}
