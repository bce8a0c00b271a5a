//! The current key, as a borrow.

use crate::{
    Error, KeyLike, Result, StateKey, StateStore,
    engine::Engine,
    key::{IN_NAMESPACE, RowKey, hash_row},
    table::{Addr, Table},
};

/// One key of a store, perhaps in a namespace: what handles read and write.
///
/// It borrows the store, so no other key can be reached by mistake while it lives.
#[derive(Debug)]
pub struct KeyScope<'a> {
    store: &'a mut StateStore,
    /// Where the row begins in the store's buffer: a scope within another comes after it.
    start: usize,
    /// Where the key ends, and its namespace mark is.
    key_end: usize,
    /// Where the namespace ends.
    end: usize,
    hash: u64,
    /// Position of the key's group in the store's range, or out of it.
    group: usize,
}

impl<'a> KeyScope<'a> {
    #[inline]
    pub(crate) fn new(store: &'a mut StateStore, key_end: usize, hash: u64, group: usize) -> Self {
        let end = store.row.len();
        Self {
            store,
            start: 0,
            key_end,
            end,
            hash,
            group,
        }
    }

    /// The same key in a namespace: state of its own for, say, each window.
    #[inline]
    pub fn in_namespace<N: KeyLike + ?Sized>(&mut self, namespace: &N) -> KeyScope<'_> {
        let row = &mut self.store.row;
        let start = self.end;
        row.truncate(start);
        row.extend_from_within(self.start..self.key_end);
        let key_end = row.len();
        row.push(IN_NAMESPACE);
        namespace.write_key(row);
        let hash = hash_row(&row[start + 2..]);
        let end = row.len();
        KeyScope {
            store: &mut *self.store,
            start,
            key_end,
            end,
            hash,
            group: self.group,
        }
    }

    /// Brings this key's rows, those of maps excepted, from main memory near to the processor.
    ///
    /// Changes nothing, and reads nothing that was evicted. Worth it for the keys of a small batch before
    /// their elements are worked off, when the state [has outgrown](StateStore::outgrows_caches) the
    /// processor's caches: look-ups wait for memory one after the other, these reads at the same time.
    #[inline]
    pub fn prefetch(&mut self) {
        for table in &self.store.tables {
            table.prefetch(self.group, self.hash);
        }
    }

    /// What the store's clock shows.
    #[must_use]
    pub fn time(&self) -> i64 {
        self.store.time()
    }

    /// The encoded key.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        &self.store.row[self.start + 2..self.key_end]
    }

    /// The table of a handle, and where this key's row is in it.
    #[inline]
    pub(crate) fn open<P: Send + 'static>(
        &mut self,
        slot: usize,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let (end, hash) = (self.end, self.hash);
        self.open_at(slot, end, hash)
    }

    /// As [`open`](Self::open), at the entry of a map.
    #[inline]
    pub(crate) fn open_entry<P: Send + 'static, Q: KeyLike + ?Sized>(
        &mut self,
        slot: usize,
        map_key: &Q,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let row = &mut self.store.row;
        row.truncate(self.end);
        map_key.write_key(row);
        let (end, hash) = (row.len(), hash_row(&row[self.start + 2..]));
        self.open_at(slot, end, hash)
    }

    /// As [`open`](Self::open), at a row found by a scan.
    pub(crate) fn open_row<P: Send + 'static>(
        &mut self,
        slot: usize,
        key: &RowKey,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        let row = &mut self.store.row;
        row.truncate(self.end);
        row.extend_from_slice(&key.bytes()[self.end - self.start - 2..]);
        let (end, hash) = (row.len(), hash_row(&row[self.start + 2..]));
        self.open_at(slot, end, hash)
    }

    #[inline]
    fn open_at<P: Send + 'static>(
        &mut self,
        slot: usize,
        end: usize,
        hash: u64,
    ) -> Result<(&mut Table<P>, &mut Engine, Addr<'_>)> {
        self.store.hold_budget()?;
        let StateStore {
            tables,
            engine,
            row,
            ..
        } = &mut *self.store;
        // Not `ok_or`: it would build and drop an error with every access.
        let Some(table) = tables
            .get_mut(slot)
            .and_then(|table| table.as_any_mut().downcast_mut::<Table<P>>())
        else {
            return Err(Error::ForeignHandle);
        };
        if table.steps_cleanup() {
            table.step_cleanup(engine)?;
        }
        let addr = Addr {
            row: &row[self.start..end],
            hash,
            group: self.group,
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
        UK::decode(&mut &row.bytes()[self.end - self.start - 2..])
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
