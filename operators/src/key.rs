//! What a stream is keyed by.

use state_backend::{KeyGroup, KeyScope, MaxParallelism, StateKey, StateStore, key_group_of};
use std::fmt;
use std::marker::PhantomData;

/// Finds the key of an element. Implemented by what [`crate::Stream::key_by`] and
/// [`crate::Stream::key_by_ref`] make of their closures.
pub trait KeySelector<T>: Send + Sync + 'static {
    /// The key's type.
    type Key: StateKey;

    /// Makes the key of an element the current one of a store.
    fn scope<'a>(&self, value: &T, store: &'a mut StateStore) -> KeyScope<'a>;

    /// The key group of an element's key.
    fn group(&self, value: &T, max: MaxParallelism) -> KeyGroup;

    /// The key of an element.
    fn key(&self, value: &T) -> Self::Key;
}

/// A key that is computed.
pub struct KeyByValue<F, K> {
    select: F,
    key: PhantomData<fn() -> K>,
}

impl<F, K> KeyByValue<F, K> {
    /// The key that `select` finds.
    pub fn new(select: F) -> Self {
        Self {
            select,
            key: PhantomData,
        }
    }
}

impl<F, K> fmt::Debug for KeyByValue<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyByValue").finish_non_exhaustive()
    }
}

impl<T, K: StateKey, F: Fn(&T) -> K + Send + Sync + 'static> KeySelector<T> for KeyByValue<F, K> {
    type Key = K;

    #[inline]
    fn scope<'a>(&self, value: &T, store: &'a mut StateStore) -> KeyScope<'a> {
        store.scope(&(self.select)(value))
    }

    #[inline]
    fn group(&self, value: &T, max: MaxParallelism) -> KeyGroup {
        key_group_of((self.select)(value).java_hash(), max)
    }

    fn key(&self, value: &T) -> K {
        (self.select)(value)
    }
}

/// A key that is a part of the element, borrowed.
pub struct KeyByRef<F, K> {
    select: F,
    key: PhantomData<fn() -> K>,
}

impl<F, K> KeyByRef<F, K> {
    /// The key that `select` finds.
    pub fn new(select: F) -> Self {
        Self {
            select,
            key: PhantomData,
        }
    }
}

impl<F, K> fmt::Debug for KeyByRef<F, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyByRef").finish_non_exhaustive()
    }
}

impl<T, K: StateKey, F: Fn(&T) -> &K + Send + Sync + 'static> KeySelector<T> for KeyByRef<F, K> {
    type Key = K;

    #[inline]
    fn scope<'a>(&self, value: &T, store: &'a mut StateStore) -> KeyScope<'a> {
        store.scope((self.select)(value))
    }

    #[inline]
    fn group(&self, value: &T, max: MaxParallelism) -> KeyGroup {
        key_group_of((self.select)(value).java_hash(), max)
    }

    fn key(&self, value: &T) -> K {
        (self.select)(value).clone()
    }
}
