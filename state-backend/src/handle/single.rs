//! States of one value: value, reducing, aggregating.

use super::{KeyedState, handle, sealed::Sealed};
use crate::{AggregateFunction, KeyScope, Result};
use std::marker::PhantomData;

/// Handle of a value state. See [`ValueDef`](crate::ValueDef).
pub struct ValueState<V> {
    slot: usize,
    value: PhantomData<fn() -> V>,
}

handle!(ValueState<V>);

/// The handle of no store, every use of which is an error: so that an operator can derive `Default`
/// and register its states when it is opened.
impl<V> Default for ValueState<V> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            value: PhantomData,
        }
    }
}

impl<V> Sealed for ValueState<V> {}

impl<V: Send + 'static> KeyedState for ValueState<V> {
    type Row = V;

    fn slot(&self) -> usize {
        self.slot
    }
}

impl<V: Send + 'static> ValueState<V> {
    pub(crate) fn new(slot: usize) -> Self {
        Self {
            slot,
            value: PhantomData,
        }
    }

    /// The value. Borrows it in place: a hit neither copies nor decodes.
    ///
    /// # Errors
    /// The key is of another store's groups; the backend failed, or holds a damaged value.
    #[inline(always)]
    pub fn get<'s>(&self, scope: &'s mut KeyScope<'_>) -> Result<Option<&'s V>> {
        let (table, engine, addr) = scope.open(self.slot)?;
        table.get(engine, addr)
    }

    /// Writes the value.
    ///
    /// # Errors
    /// As [`get`](Self::get); the value is too large, or the memory backend's budget is exceeded.
    #[inline]
    pub fn set(&self, scope: &mut KeyScope<'_>, value: V) -> Result<()> {
        let (table, engine, addr) = scope.open(self.slot)?;
        table.set(engine, addr, value)
    }

    /// Changes the value in place, if there is one, and counts as a write. Returns what `change`
    /// returned.
    ///
    /// # Errors
    /// As [`set`](Self::set). A value that `change` has made too large stays so: the error comes
    /// when its size is next measured (every 64 updates, and in every snapshot).
    #[inline(always)]
    pub fn update<R>(
        &self,
        scope: &mut KeyScope<'_>,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<Option<R>> {
        let (table, engine, addr) = scope.open(self.slot)?;
        table.update(engine, addr, change)
    }

    /// Changes the value in place, having put `initial` there if there was none.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    #[inline(always)]
    pub fn update_or_insert_with<R>(
        &self,
        scope: &mut KeyScope<'_>,
        initial: impl FnOnce() -> V,
        change: impl FnOnce(&mut V) -> R,
    ) -> Result<R> {
        let (table, engine, addr) = scope.open(self.slot)?;
        table.update_or_insert_with(engine, addr, initial, change)
    }

    /// Removes the value.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    #[inline]
    pub fn clear(&self, scope: &mut KeyScope<'_>) -> Result<()> {
        let (table, engine, addr) = scope.open::<V>(self.slot)?;
        table.remove(engine, addr)
    }
}

/// Handle of a reducing state. See [`ReducingDef`](crate::ReducingDef).
pub struct ReducingState<V> {
    slot: usize,
    reduce: fn(&mut V, V),
}

handle!(ReducingState<V>);

/// The handle of no store, every use of which is an error: so that an operator can derive `Default`
/// and register its states when it is opened.
impl<V> Default for ReducingState<V> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            reduce: |_, _| {},
        }
    }
}

impl<V> Sealed for ReducingState<V> {}

impl<V: Send + 'static> KeyedState for ReducingState<V> {
    type Row = V;

    fn slot(&self) -> usize {
        self.slot
    }
}

impl<V: Send + 'static> ReducingState<V> {
    pub(crate) fn new(slot: usize, reduce: fn(&mut V, V)) -> Self {
        Self { slot, reduce }
    }

    /// What everything added has been reduced to.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    #[inline(always)]
    pub fn get<'s>(&self, scope: &'s mut KeyScope<'_>) -> Result<Option<&'s V>> {
        let (table, engine, addr) = scope.open(self.slot)?;
        table.get(engine, addr)
    }

    /// Adds a value. What has expired is not added to, unless the state returns expired values.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    #[inline(always)]
    pub fn add(&self, scope: &mut KeyScope<'_>, value: V) -> Result<()> {
        let (table, engine, addr) = scope.open(self.slot)?;
        let Some(place) = table.find(engine, addr)? else {
            return table.set(engine, addr, value);
        };
        if let Some(ttl) = table.ttl.filter(|ttl| !ttl.returns_expired()) {
            let now = engine.now;
            if table.is_expired(engine, addr.group, place) {
                // At the very end of time even the new value is expired, and nothing is left.
                return if ttl.is_expired(now, now) {
                    table.remove(engine, addr)
                } else {
                    table.set(engine, addr, value)
                };
            }
        }
        table.update_at(engine, addr, place, |old| (self.reduce)(old, value))
    }

    /// Removes the value.
    ///
    /// # Errors
    /// As [`ValueState::clear`].
    pub fn clear(&self, scope: &mut KeyScope<'_>) -> Result<()> {
        let (table, engine, addr) = scope.open::<V>(self.slot)?;
        table.remove(engine, addr)
    }
}

/// Handle of an aggregating state. See [`AggregatingDef`](crate::AggregatingDef).
#[derive(Clone, Copy, Debug)]
pub struct AggregatingState<A> {
    slot: usize,
    function: A,
}

/// The handle of no store, every use of which is an error: so that an operator can derive `Default`
/// and register its states when it is opened.
impl<A: Default> Default for AggregatingState<A> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            function: A::default(),
        }
    }
}

impl<A> Sealed for AggregatingState<A> {}

impl<A: AggregateFunction> KeyedState for AggregatingState<A> {
    type Row = A::Acc;

    fn slot(&self) -> usize {
        self.slot
    }
}

impl<A: AggregateFunction> AggregatingState<A> {
    pub(crate) fn new(slot: usize, function: A) -> Self {
        Self { slot, function }
    }

    /// The result over everything added.
    ///
    /// # Errors
    /// As [`ValueState::get`].
    pub fn get(&self, scope: &mut KeyScope<'_>) -> Result<Option<A::Out>> {
        let (table, engine, addr) = scope.open::<A::Acc>(self.slot)?;
        Ok(table
            .get(engine, addr)?
            .map(|acc| self.function.result(acc)))
    }

    /// Adds a value. What has expired is not added to, unless the state returns expired values.
    ///
    /// # Errors
    /// As [`ValueState::update`].
    #[inline(always)]
    pub fn add(&self, scope: &mut KeyScope<'_>, value: A::In) -> Result<()> {
        let (table, engine, addr) = scope.open::<A::Acc>(self.slot)?;
        table.update_or_insert_with(
            engine,
            addr,
            || self.function.create(),
            |acc| self.function.add(acc, value),
        )
    }

    /// Removes the accumulator.
    ///
    /// # Errors
    /// As [`ValueState::clear`].
    pub fn clear(&self, scope: &mut KeyScope<'_>) -> Result<()> {
        let (table, engine, addr) = scope.open::<A::Acc>(self.slot)?;
        table.remove(engine, addr)
    }
}
