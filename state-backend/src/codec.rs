//! Values as bytes.

use crate::{Shape, footprint};
use serde::{Deserialize, Serialize, Serializer, de::DeserializeOwned};
use std::{
    any::{Any, TypeId},
    fmt,
};

/// A type that values, list elements and accumulators can be of: every serde type is one.
///
/// A type that is not serde may implement this itself; one that is, but wants other bytes, puts a
/// [`Codec`] into its definition.
pub trait StateValue: Sized + Send + 'static {
    /// Appends the bytes.
    ///
    /// # Errors
    /// Why the value has no bytes, in words.
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String>;

    /// Reads the value back; `bytes` is all that `encode` appended.
    ///
    /// # Errors
    /// Why the bytes are not a value, in words.
    fn decode(bytes: &[u8]) -> Result<Self, String>;

    /// Memory that the value holds outside itself, about. Budgets count with it.
    fn heap_bytes(&self) -> usize;

    /// What the bytes look like, if they are postcard's; it goes into checkpoints, whose readers can
    /// then show values without knowing the type.
    fn shape() -> Option<Shape> {
        None
    }
}

/// Postcard: compact, no names, so a changed type needs a new version and a migration.
impl<T: Serialize + DeserializeOwned + Send + 'static> StateValue for T {
    fn encode(&self, out: &mut Vec<u8>) -> Result<(), String> {
        let value: &dyn Any = self;
        match value.downcast_ref::<Vec<u8>>() {
            Some(bytes) => postcard::serialize_with_flavor(&Bytes(bytes), Append(out)),
            None => postcard::serialize_with_flavor(self, Append(out)),
        }
        .map_err(|error| error.to_string())
    }

    fn decode(bytes: &[u8]) -> Result<Self, String> {
        if TypeId::of::<T>() == TypeId::of::<Vec<u8>>() {
            let mut value = Some(read::<&[u8]>(bytes)?.to_vec());
            let value: &mut dyn Any = &mut value;
            if let Some(value) = value.downcast_mut::<Option<T>>().and_then(Option::take) {
                return Ok(value);
            }
        }
        read(bytes)
    }

    fn heap_bytes(&self) -> usize {
        if std::mem::needs_drop::<T>() {
            footprint::heap_bytes(self)
        } else {
            0
        }
    }

    fn shape() -> Option<Shape> {
        Shape::of::<T>()
    }
}

/// All of the bytes as one value.
fn read<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(format!("{} bytes too many", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// What postcard writes for a vector of bytes, in one piece: serde itself takes it byte by byte.
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

/// Appends to a borrowed vector, so that an error leaves what was in it.
struct Append<'a>(&'a mut Vec<u8>);

impl postcard::ser_flavors::Flavor for Append<'_> {
    type Output = ();

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<()> {
        Ok(())
    }
}

/// How the values of one state become bytes and come back, and which version of the bytes that is.
///
/// ```
/// use state_backend::{Codec, ValueDef};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct ProfileV1 { clicks: u32 }
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Profile { clicks: u64, likes: u64 }
///
/// fn migrate(version: u32, bytes: &[u8]) -> Result<Profile, String> {
///     match version {
///         1 => <ProfileV1 as state_backend::StateValue>::decode(bytes)
///             .map(|old| Profile { clicks: old.clicks.into(), likes: 0 }),
///         _ => Err(format!("version {version} is unknown")),
///     }
/// }
///
/// const PROFILE: ValueDef<Profile> = ValueDef::new("profile").with_version(2, migrate);
/// ```
pub struct Codec<V> {
    pub(crate) encode: fn(&V, &mut Vec<u8>) -> Result<(), String>,
    pub(crate) decode: fn(&[u8]) -> Result<V, String>,
    pub(crate) heap_bytes: fn(&V) -> usize,
    pub(crate) version: u32,
    pub(crate) migrate: Option<Migration<V>>,
    pub(crate) type_name: Option<&'static str>,
    pub(crate) shape: fn() -> Option<Shape>,
}

/// Reads bytes of an older version.
pub(crate) type Migration<V> = fn(u32, &[u8]) -> Result<V, String>;

impl<V> Clone for Codec<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for Codec<V> {}

impl<V> fmt::Debug for Codec<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Codec")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<V> Codec<V> {
    /// A codec of one's own, version 1.
    ///
    /// `heap_bytes` tells how much memory a value holds outside itself; a state whose values hold
    /// none passes `|_| 0`.
    #[must_use]
    pub const fn new(
        encode: fn(&V, &mut Vec<u8>) -> Result<(), String>,
        decode: fn(&[u8]) -> Result<V, String>,
        heap_bytes: fn(&V) -> usize,
    ) -> Self {
        Self {
            encode,
            decode,
            heap_bytes,
            version: 1,
            migrate: None,
            type_name: None,
            shape: || None,
        }
    }

    /// The codec that the type brings, version 1.
    #[must_use]
    pub const fn of_type() -> Self
    where
        V: StateValue,
    {
        let mut codec = Self::new(V::encode, V::decode, V::heap_bytes);
        codec.shape = V::shape;
        codec
    }

    /// The type's name as it is checked on restore: the one given, or Rust's without module paths.
    pub(crate) fn type_name(&self) -> String {
        self.type_name
            .map_or_else(Self::name_of_type, str::to_owned)
    }

    pub(crate) fn name_of_type() -> String {
        without_paths(std::any::type_name::<V>())
    }
}

/// `alloc::vec::Vec<my::Profile>` becomes `Vec<Profile>`: moving a type between modules is no change.
fn without_paths(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut segment = 0;
    for (at, letter) in name.char_indices() {
        if letter == ':' {
            segment = at + 1;
        } else if !(letter.is_alphanumeric() || letter == '_') {
            out.push_str(&name[segment..at]);
            out.push(letter);
            segment = at + letter.len_utf8();
        }
    }
    out.push_str(&name[segment..]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_paths_only() {
        for (full, short) in [
            ("u64", "u64"),
            ("alloc::string::String", "String"),
            ("alloc::vec::Vec<(a::b_c::D, u8)>", "Vec<(D, u8)>"),
            ("[u8; 4]", "[u8; 4]"),
        ] {
            assert_eq!(without_paths(full), short);
        }
    }

    #[test]
    fn a_vector_of_bytes_is_as_postcard_has_it() {
        for len in [0, 1, 127, 128, 70_000] {
            let value: Vec<u8> = (0..len).map(|byte| byte as u8).collect();
            let mut bytes = vec![9];
            value.encode(&mut bytes).unwrap();
            assert_eq!(bytes[1..], postcard::to_allocvec(&value).unwrap());
            assert_eq!(<Vec<u8> as StateValue>::decode(&bytes[1..]).unwrap(), value);
            for damaged in [&bytes[1..bytes.len() - 1], &[&bytes[1..], &[0]].concat()] {
                assert!(<Vec<u8> as StateValue>::decode(damaged).is_err());
            }
        }
    }

    #[test]
    fn bytes_left_over_are_an_error() {
        assert!(u8::decode(&[1, 2]).is_err());
        assert!(u8::decode(&[]).is_err());
    }
}
