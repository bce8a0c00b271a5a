//! The current key, as a borrow.

use crate::{
    Error, KeyBytes, KeyGroup, KeyLike, KeyWords, Result, StateKey, StateStore,
    engine::Engine,
    key::IN_NAMESPACE,
    row_key::{RowKey, hash_row, hash_words},
    table::{Addr, Table},
};
use std::any::Any;

/// One key of a store, perhaps in a namespace: what handles read and write.
///
/// It borrows the store, so no other key can be reached by mistake while it lives.
#[derive(Debug)]
pub struct KeyScope<'a> {
    store: &'a mut StateStore,
    /// The row without its group, if it is short; else it lies in the store's buffer.
    words: KeyWords,
    /// Where the row lies in the store's buffer if it is long: a scope within another comes after it.
    start: usize,
    /// Where it ends, and the next begins.
    end: usize,
    /// Bytes of the key alone, without the namespace mark that follows it.
    key_len: usize,
    hash: u64,
    key_group: KeyGroup,
    /// Position of the group in the store's range, or out of it.
    group: usize,
}

/// Some row's words and hash, and where it lies in the store's buffer if it is long.
#[derive(Clone, Copy)]
struct Place {
    words: KeyWords,
    hash: u64,
    start: usize,
    end: usize,
}

impl Place {
    #[inline(always)]
    fn short(words: KeyWords, at: usize) -> Self {
        Self {
            words,
            hash: hash_words(words),
            start: at,
            end: at,
        }
    }

    /// Of what was written into the buffer.
    #[inline(never)]
    fn written(row: &[u8], start: usize) -> Self {
        match KeyWords::of(&row[start + 2..]) {
            Some(words) => Self::short(words, start),
            None => Self {
                words: KeyWords::TOO_LONG,
                hash: hash_row(&row[start + 2..]),
                start,
                end: row.len(),
            },
        }
    }
}

impl<'a> KeyScope<'a> {
    /// A scope of a short row.
    #[inline(always)]
    pub(crate) fn short(
        store: &'a mut StateStore,
        words: KeyWords,
        hash: u64,
        group: KeyGroup,
    ) -> Self {
        let offset = store.engine.range.offset(group);
        Self {
            store,
            words,
            start: 0,
            end: 0,
            key_len: words.len() - 1,
            hash,
            key_group: group,
            group: offset,
        }
    }

    /// A scope of the row in the store's buffer.
    pub(crate) fn written(store: &'a mut StateStore, key_len: usize, group: KeyGroup) -> Self {
        let place = Place::written(&store.row, 0);
        let offset = store.engine.range.offset(group);
        Self {
            store,
            words: place.words,
            start: place.start,
            end: place.end,
            key_len,
            hash: place.hash,
            key_group: group,
            group: offset,
        }
    }

    /// The same key in a namespace: state of its own for, say, each window.
    #[inline]
    pub fn in_namespace<N: KeyLike + ?Sized>(&mut self, namespace: &N) -> KeyScope<'_> {
        let short = |words: KeyWords| {
            words
                .first(self.key_len)
                .with_u8(IN_NAMESPACE)?
                .then(namespace.key_words()?)
        };
        let place = match Some(self.words).filter(|words| words.is_short()) {
            Some(words) => short(words).map(|words| Place::short(words, self.end)),
            None => None,
        };
        let place = place.unwrap_or_else(|| {
            let start = self.write_own();
            let row = &mut self.store.row;
            row.truncate(start + 2 + self.key_len);
            row.push(IN_NAMESPACE);
            namespace.write_key(row);
            Place::written(row, start)
        });
        KeyScope {
            store: &mut *self.store,
            words: place.words,
            start: place.start,
            end: place.end,
            key_len: self.key_len,
            hash: place.hash,
            key_group: self.key_group,
            group: self.group,
        }
    }

    /// Writes the row into the store's buffer once more, behind what is in use; returns where.
    #[inline(never)]
    fn write_own(&mut self) -> usize {
        let row = &mut self.store.row;
        row.truncate(self.end);
        let start = row.len();
        if self.words.is_short() {
            row.extend_from_slice(&self.key_group.to_be_bytes());
            row.extend_from_slice(&KeyBytes::short(self.words));
        } else {
            row.extend_from_within(self.start..self.end);
        }
        start
    }

    /// Bytes of the row without its group.
    #[inline]
    fn row_len(&self) -> usize {
        if self.words.is_short() {
            self.words.len()
        } else {
            self.end - self.start - 2
        }
    }

    /// Has this key's rows, those of maps excepted, brought from main memory near to the processor, and does not wait
    /// for them.
    ///
    /// Changes nothing, and reads nothing that was evicted. Worth it for the keys of a small batch (16, say) before
    /// their elements are worked off, when the state [has outgrown](StateStore::outgrows_caches) the
    /// processor's caches: look-ups wait for memory one after the other, these reads at the same time.
    #[inline]
    pub fn prefetch(&mut self) {
        for slot in 0..self.store.tables.len() {
            if self.store.tables[slot].prefetch_index(self.group, self.hash) {
                self.store.ask(slot, self.group, self.hash);
            }
        }
    }

    /// What the store's clock shows.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.store.time()
    }

    /// The encoded key.
    #[must_use]
    pub fn key_bytes(&self) -> KeyBytes<'_> {
        if self.words.is_short() {
            KeyBytes::short(self.words.first(self.key_len))
        } else {
            let from = self.start + 2;
            KeyBytes::long(&self.store.row[from..from + self.key_len])
        }
    }

    /// The table of a handle, and where this key's row is in it.
    #[inline(always)]
    pub(crate) fn open<P: Send + 'static>(
        &mut self,
        slot: usize,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let place = Place {
            words: self.words,
            hash: self.hash,
            start: self.start,
            end: self.end,
        };
        self.open_at(slot, place)
    }

    /// Where the row of a map's entry is.
    #[inline(always)]
    fn entry_place<Q: KeyLike + ?Sized>(&mut self, map_key: &Q) -> Place {
        let words = if self.words.is_short() {
            map_key
                .key_words()
                .and_then(|map_key| self.words.then(map_key))
        } else {
            None
        };
        match words {
            Some(words) => Place::short(words, self.end),
            None => {
                let start = self.write_own();
                map_key.write_key(&mut self.store.row);
                Place::written(&self.store.row, start)
            }
        }
    }

    /// As [`prefetch`](Self::prefetch), the entry of a map.
    #[inline]
    pub(crate) fn prefetch_entry<P: Send + 'static, Q: KeyLike + ?Sized>(
        &mut self,
        slot: usize,
        map_key: &Q,
    ) -> Result<()> {
        let hash = self.entry_place(map_key).hash;
        let table = self.store.table::<P>(slot)?;
        if let Some(group) = table.groups.get(self.group) {
            group.rows.prefetch_index(hash);
            self.store.ask(slot, self.group, hash);
        }
        Ok(())
    }

    /// As [`open`](Self::open), at the entry of a map.
    #[inline(always)]
    pub(crate) fn open_entry<P: Send + 'static, Q: KeyLike + ?Sized>(
        &mut self,
        slot: usize,
        map_key: &Q,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let place = self.entry_place(map_key);
        self.open_at(slot, place)
    }

    /// As [`open`](Self::open), at a row found by a scan.
    pub(crate) fn open_row<P: Send + 'static>(
        &mut self,
        slot: usize,
        key: &RowKey,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let place = if let Some(words) = key.words() {
            Place::short(words, self.end)
        } else {
            let row = &mut self.store.row;
            row.truncate(self.end);
            let start = row.len();
            row.extend_from_slice(&self.key_group.to_be_bytes());
            row.extend_from_slice(key.bytes());
            Place::written(row, start)
        };
        self.open_at(slot, place)
    }

    #[inline(always)]
    fn open_at<P: Send + 'static>(
        &mut self,
        slot: usize,
        place: Place,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        if !self.store.asked.is_empty() {
            self.store.ask_rows();
        }
        self.store.hold_budget()?;
        let StateStore {
            tables,
            engine,
            row,
            ..
        } = &mut *self.store;
        // Not `ok_or`: it would build and drop an error with every access.
        let Some(table) = tables.get_mut(slot).and_then(|table| {
            let table: &mut dyn Any = &mut **table;
            table.downcast_mut::<Table<P>>()
        }) else {
            return Err(Error::ForeignHandle);
        };
        if table.steps_cleanup() {
            table.step_cleanup(engine)?;
        }
        let addr = Addr {
            words: place.words,
            long: &row[place.start..place.end],
            hash: place.hash,
            group: self.group,
            key_group: self.key_group,
        };
        Ok((table, engine, addr))
    }

    /// Keys of this scope's rows in a map state: a slice of them, after one.
    pub(crate) fn map_rows<P: Send + 'static>(
        &mut self,
        slot: usize,
        after: Option<&RowKey>,
    ) -> Result<Vec<RowKey>> {
        let (table, engine, addr) = self.open::<P>(slot)?;
        table.keys_under(engine, addr, after.map(RowKey::bytes))
    }

    /// The part of a row key that is the map key.
    pub(crate) fn map_key<UK: StateKey>(&self, row: &RowKey) -> Result<UK> {
        UK::decode(&mut &row.bytes()[self.row_len()..])
    }

    /// Deletes this scope's rows in a map state.
    pub(crate) fn clear_map<P: Send + 'static>(&mut self, slot: usize) -> Result<()> {
        loop {
            let rows = self.map_rows::<P>(slot, None)?;
            if rows.is_empty() {
                return Ok(());
            }
            for row in &rows {
                let (table, engine, addr) = self.open_row::<P>(slot, row)?;
                table.remove(engine, addr)?;
            }
        }
    }
}
