//! Long lists in records, as bytes of fixed width: encoded and measured many times faster than
//! element by element, and these are written each time a record goes into a checkpoint.

use std::fmt;
use std::marker::PhantomData;

use serde::{Deserializer, Serializer, de};

use crate::model::handle::Handle;

/// Something of `N` bytes.
pub(crate) trait Packed<const N: usize>: Sized {
    fn pack(&self) -> [u8; N];
    /// `None`: no value has these bytes.
    fn unpack(bytes: &[u8; N]) -> Option<Self>;
}

impl Packed<4> for Handle {
    fn pack(&self) -> [u8; 4] {
        self.bits().to_le_bytes()
    }

    fn unpack(bytes: &[u8; 4]) -> Option<Self> {
        Self::checked(u32::from_le_bytes(*bytes))
    }
}

impl Packed<12> for (Handle, [f32; 2]) {
    fn pack(&self) -> [u8; 12] {
        let (handle, [near, far]) = self;
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&handle.bits().to_le_bytes());
        bytes[4..8].copy_from_slice(&near.to_le_bytes());
        bytes[8..].copy_from_slice(&far.to_le_bytes());
        bytes
    }

    fn unpack(bytes: &[u8; 12]) -> Option<Self> {
        let [a, b, c, d, e, f, g, h, far @ ..] = *bytes;
        let near = f32::from_le_bytes([e, f, g, h]);
        let handle = Handle::unpack(&[a, b, c, d])?;
        Some((handle, [near, f32::from_le_bytes(far)]))
    }
}

/// The first byte: the format of what follows.
const FORMAT: u8 = b'a';

pub(crate) fn serialize<const N: usize, T: Packed<N> + Copy, S: Serializer>(
    list: &[T],
    to: S,
) -> Result<S::Ok, S::Error> {
    serialize_all(list.iter().copied(), to)
}

pub(crate) fn serialize_all<const N: usize, T: Packed<N>, S: Serializer>(
    list: impl ExactSizeIterator<Item = T>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(1 + N * list.len());
    bytes.push(FORMAT);
    for element in list {
        bytes.extend_from_slice(&element.pack());
    }
    to.serialize_bytes(&bytes)
}

pub(crate) fn deserialize<'de, const N: usize, T: Packed<N>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    from.deserialize_bytes(Visitor(PhantomData))
}

struct Visitor<const N: usize, T>(PhantomData<T>);

impl<const N: usize, T: Packed<N>> de::Visitor<'_> for Visitor<N, T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elements of {N} bytes after their format")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<T>, E> {
        let wrong = || E::invalid_value(de::Unexpected::Bytes(bytes), &self);
        let Some((&FORMAT, rest)) = bytes.split_first() else {
            return Err(wrong());
        };
        let (elements, []) = rest.as_chunks::<N>() else {
            return Err(wrong());
        };
        let list: Option<Vec<T>> = elements.iter().map(T::unpack).collect();
        list.ok_or_else(wrong)
    }
}
