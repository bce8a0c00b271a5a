//! Map state: every entry is a row of its own, read, written, evicted and checkpointed by itself.

use super::{KeyedState, handle, sealed::Sealed};
use crate::{KeyLike, KeyScope, Result, StateKey, row_key::RowKey};
use std::{borrow::Borrow, marker::PhantomData};

/// Handle of a map state. See [`MapDef`](crate::MapDef).
///
/// Look-ups take whatever the key type borrows as: a `MapState<String, _>` takes `&str`.
pub struct MapState<UK, V> {
    slot: usize,
    types: PhantomData<fn() -> (UK, V)>,
}

handle!(MapState<UK, V>);

/// The handle of no store, every use of which is an error: so that an operator can derive `Default`
/// and register its states when it is opened.
impl<UK, V> Default for MapState<UK, V> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            types: PhantomData,
        }
    }
}

impl<UK, V> Sealed for MapState<UK, V> {}

impl<UK: StateKey, V: Send + 'static> KeyedState for MapState<UK, V> {
    type Row = V;

    fn slot(&self) -> usize {
        self.slot
    }
}

impl<UK: StateKey, V: Send + 'static> MapState<UK, V> {
    pub(crate) fn new(slot: usize) -> Self {
        Self {
            slot,
            types: PhantomData,
        }
    }

    /// The value of an entry.
    ///
    /// # Errors
    /// As [`ValueState::get`](crate::ValueState::get).
    #[inline(always)]
    pub fn get<'s, Q>(&self, scope: &'s mut KeyScope<'_>, map_key: &Q) -> Result<Option<&'s V>>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        let (table, engine, addr) = scope.open_entry(self.slot, map_key)?;
        table.get(engine, addr)
    }

    /// Whether there is an entry. A read, as far as time to live goes.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn contains<Q>(&self, scope: &mut KeyScope<'_>, map_key: &Q) -> Result<bool>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        Ok(self.get(scope, map_key)?.is_some())
    }

    /// Has entries brought from main memory near to the processor, those that were evicted excepted, and does not wait
    /// for them: before several of a large map are read or changed one by one. Changes nothing.
    ///
    /// # Errors
    /// The handle is of another store.
    #[inline]
    pub fn prefetch<'q, Q>(
        &self,
        scope: &mut KeyScope<'_>,
        map_keys: impl IntoIterator<Item = &'q Q>,
    ) -> Result<()>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized + 'q,
    {
        for map_key in map_keys {
            scope.prefetch_entry::<V, Q>(self.slot, map_key)?;
        }
        Ok(())
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// As [`ValueState::set`](crate::ValueState::set).
    #[inline]
    pub fn put<Q>(&self, scope: &mut KeyScope<'_>, map_key: &Q, value: V) -> Result<()>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        let (table, engine, addr) = scope.open_entry(self.slot, map_key)?;
        table.set(engine, addr, value)
    }

    /// Changes the value of an entry in place, if there is one.
    ///
    /// # Errors
    /// As [`ValueState::update`](crate::ValueState::update).
    #[inline(always)]
    pub fn update<Q, R>(
        &self,
        scope: &mut KeyScope<'_>,
        map_key: &Q,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        let (table, engine, addr) = scope.open_entry(self.slot, map_key)?;
        table.update(engine, addr, change)
    }

    /// Changes the value of an entry in place, having put `initial` there if there was none.
    ///
    /// # Errors
    /// As [`ValueState::update`](crate::ValueState::update).
    #[inline(always)]
    pub fn update_or_insert_with<Q, R>(
        &self,
        scope: &mut KeyScope<'_>,
        map_key: &Q,
        initial: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        let (table, engine, addr) = scope.open_entry(self.slot, map_key)?;
        table.update_or_insert_with(engine, addr, initial, change)
    }

    /// Removes an entry.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn remove<Q>(&self, scope: &mut KeyScope<'_>, map_key: &Q) -> Result<()>
    where
        UK: Borrow<Q>,
        Q: KeyLike + ?Sized,
    {
        let (table, engine, addr) = scope.open_entry::<V, Q>(self.slot, map_key)?;
        table.remove(engine, addr)
    }

    /// Whether there are no entries. Does not look at time to live: entries that have expired and
    /// were not cleaned up count.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn is_empty(&self, scope: &mut KeyScope<'_>) -> Result<bool> {
        Ok(scope.map_rows::<V>(self.slot, None)?.is_empty())
    }

    /// Visits the entries in ascending order of their encoded keys. Reads each, as far as time to
    /// live goes.
    ///
    /// Cost: a look-up an entry; those that were evicted come into memory.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn for_each(&self, scope: &mut KeyScope<'_>, mut visit: impl FnMut(UK, &V)) -> Result<()> {
        let mut after: Option<RowKey> = None;
        loop {
            let rows = scope.map_rows::<V>(self.slot, after.as_ref())?;
            for row in &rows {
                let map_key = scope.map_key(row)?;
                let (table, engine, addr) = scope.open_row::<V>(self.slot, row)?;
                if let Some(value) = table.get(engine, addr)? {
                    visit(map_key, value);
                }
            }
            match rows.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// Keeps the entries for which `keep` returns true, which may change them in place; a kept entry
    /// counts as written if `keep` was given it mutably, so all do.
    ///
    /// # Errors
    /// As [`ValueState::update`](crate::ValueState::update).
    pub fn retain(
        &self,
        scope: &mut KeyScope<'_>,
        mut keep: impl FnMut(&UK, &mut V) -> bool,
    ) -> Result<()> {
        let mut after: Option<RowKey> = None;
        loop {
            let rows = scope.map_rows::<V>(self.slot, after.as_ref())?;
            for row in &rows {
                let map_key = scope.map_key(row)?;
                let (table, engine, addr) = scope.open_row::<V>(self.slot, row)?;
                if table.update(engine, addr, |value| keep(&map_key, value))? == Some(false) {
                    table.remove(engine, addr)?;
                }
            }
            match rows.into_iter().next_back() {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }

    /// The keys, in order.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn keys(&self, scope: &mut KeyScope<'_>) -> Result<Vec<UK>> {
        let mut keys = Vec::new();
        self.for_each(scope, |map_key, _| keys.push(map_key))?;
        Ok(keys)
    }

    /// The entries, in order of their keys.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn entries(&self, scope: &mut KeyScope<'_>) -> Result<Vec<(UK, V)>>
    where
        V: Clone,
    {
        let mut entries = Vec::new();
        self.for_each(scope, |map_key, value| {
            entries.push((map_key, value.clone()))
        })?;
        Ok(entries)
    }

    /// Removes all entries. Cost: a look-up an entry.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn clear(&self, scope: &mut KeyScope<'_>) -> Result<()> {
        scope.clear_map::<V>(self.slot)
    }
}
