//! Two streams of different types into one operator.

use crate::codec;
use crate::key::KeySelector;
use crate::keyed_stream::KeyedStream;
use state_backend::{KeyGroup, KeyScope, MaxParallelism, StateStore};
use std::fmt;
use std::sync::Arc;

/// An element of the first or of the second of two connected streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Either<A, B> {
    /// Of the first.
    Left(A),
    /// Of the second.
    Right(B),
}

/// The key of either.
pub struct EitherKey<S, R> {
    left: Arc<S>,
    right: Arc<R>,
}

impl<S, R> fmt::Debug for EitherKey<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EitherKey").finish_non_exhaustive()
    }
}

impl<A, B, S, R> KeySelector<Either<A, B>> for EitherKey<S, R>
where
    S: KeySelector<A>,
    R: KeySelector<B, Key = S::Key>,
{
    type Key = S::Key;

    fn scope<'a>(&self, value: &Either<A, B>, store: &'a mut StateStore) -> KeyScope<'a> {
        match value {
            Either::Left(value) => self.left.scope(value, store),
            Either::Right(value) => self.right.scope(value, store),
        }
    }

    fn group(&self, value: &Either<A, B>, max: MaxParallelism) -> KeyGroup {
        match value {
            Either::Left(value) => self.left.group(value, max),
            Either::Right(value) => self.right.group(value, max),
        }
    }

    fn key(&self, value: &Either<A, B>) -> S::Key {
        match value {
            Either::Left(value) => self.left.key(value),
            Either::Right(value) => self.right.key(value),
        }
    }
}

impl<T: Send + 'static, S: KeySelector<T>> KeyedStream<T, S> {
    /// Brings the elements of one key of two streams together, so that one operator, with one state for
    /// each key, takes both (Flink's `connect` and `KeyedCoProcessFunction`).
    pub fn connect<U, R>(
        self,
        other: KeyedStream<U, R>,
    ) -> KeyedStream<Either<T, U>, EitherKey<S, R>>
    where
        U: Send + 'static,
        R: KeySelector<U, Key = S::Key>,
    {
        let selector = EitherKey {
            left: self.selector,
            right: other.selector,
        };
        let codec = codec::of_either(self.stream.codec.clone(), other.stream.codec.clone());
        let mut stream = self
            .stream
            .map(Either::Left)
            .union(other.stream.map(Either::Right));
        stream.codec = codec;
        KeyedStream::new(stream, selector)
    }
}
