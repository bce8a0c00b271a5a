//! Elements as bytes: how what is under way between two operators gets into a checkpoint.

use crate::connect::Either;
use crate::error::{Error, Result};
use state_backend::StateValue;
use std::sync::Arc;

/// Writes and reads the elements of one stream.
pub(crate) trait ElementCodec<T>: Send + Sync {
    /// Appends the bytes of a value.
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()>;

    /// `bytes` is all that `encode` appended.
    fn decode(&self, bytes: &[u8]) -> Result<T>;
}

pub(crate) type Codec<T> = Arc<dyn ElementCodec<T>>;

/// The bytes that the value would have in keyed state.
struct AsState;

impl<T: StateValue> ElementCodec<T> for AsState {
    fn encode(&self, value: &T, out: &mut Vec<u8>) -> Result<()> {
        value.encode(out).map_err(Error::user)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T> {
        T::decode(bytes).map_err(Error::user)
    }
}

pub(crate) fn as_state<T: StateValue>() -> Codec<T> {
    Arc::new(AsState)
}

/// Of a stream connected with a broadcast stream, whose elements are never written.
struct OfLeft<A>(Codec<A>);

impl<A, B> ElementCodec<Either<A, B>> for OfLeft<A> {
    fn encode(&self, value: &Either<A, B>, out: &mut Vec<u8>) -> Result<()> {
        match value {
            Either::Left(value) => self.0.encode(value, out),
            Either::Right(_) => Err(Error::user("an element of a broadcast stream")),
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Either<A, B>> {
        Ok(Either::Left(self.0.decode(bytes)?))
    }
}

pub(crate) fn of_left<A: 'static, B: 'static>(
    left: Option<Codec<A>>,
) -> Option<Codec<Either<A, B>>> {
    Some(Arc::new(OfLeft(left?)))
}

/// A byte for the side, then the value.
struct OfEither<A, B> {
    left: Codec<A>,
    right: Codec<B>,
}

impl<A, B> ElementCodec<Either<A, B>> for OfEither<A, B> {
    fn encode(&self, value: &Either<A, B>, out: &mut Vec<u8>) -> Result<()> {
        match value {
            Either::Left(value) => {
                out.push(0);
                self.left.encode(value, out)
            }
            Either::Right(value) => {
                out.push(1);
                self.right.encode(value, out)
            }
        }
    }

    fn decode(&self, bytes: &[u8]) -> Result<Either<A, B>> {
        match bytes.split_first() {
            Some((0, rest)) => Ok(Either::Left(self.left.decode(rest)?)),
            Some((1, rest)) => Ok(Either::Right(self.right.decode(rest)?)),
            _ => Err(Error::user("an element of neither stream")),
        }
    }
}

/// Of two connected streams, when both have one.
pub(crate) fn of_either<A, B>(
    left: Option<Codec<A>>,
    right: Option<Codec<B>>,
) -> Option<Codec<Either<A, B>>>
where
    A: 'static,
    B: 'static,
{
    let (left, right) = (left?, right?);
    Some(Arc::new(OfEither { left, right }))
}
