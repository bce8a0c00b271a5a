//! Keys: their bytes, their Java hash, and the row keys made of them.

use crate::{Error, KeyWords, Result};
use std::fmt::Debug;

/// A type that keys, namespaces and map keys can be of.
///
/// # Contract
/// * [`encode`](Self::encode) keeps order: `a < b` exactly when the bytes of `a` come before those
///   of `b`, also when more bytes follow each. Scans and iteration are in this order.
/// * It delimits itself: [`decode`](Self::decode) consumes what `encode` appended, no more.
/// * [`java_hash`](Self::java_hash) is what `hashCode()` of the Java counterpart gives, so that keys
///   land in the key groups that Flink puts them in. It decides only the key group; a type without
///   counterpart may use any fixed function.
///
/// All three are stored formats: they cannot change once state exists.
pub trait StateKey: Ord + Clone + Debug + Send + 'static {
    /// Hash code of the Java counterpart.
    fn java_hash(&self) -> i32;

    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one key off the front of `bytes`.
    ///
    /// # Errors
    /// [`Error::Corrupted`] if the bytes are not a key of this type.
    fn decode(bytes: &mut &[u8]) -> Result<Self>;

    /// The same bytes as [`encode`](Self::encode) appends, if they are few; none, as unless
    /// overridden, is always right. Makes access faster: see [`KeyWords`].
    #[inline]
    fn words(&self) -> Option<KeyWords> {
        None
    }
}

/// What can stand for a key in a look-up: every [`StateKey`], and `str` and `[u8]` for their owned
/// forms.
pub trait KeyLike {
    /// Java hash of the key it stands for.
    fn key_hash(&self) -> i32;

    /// Appends the bytes of the key it stands for.
    fn write_key(&self, out: &mut Vec<u8>);

    /// The same bytes, if they are few, or none.
    #[inline]
    fn key_words(&self) -> Option<KeyWords> {
        None
    }
}

impl<K: StateKey> KeyLike for K {
    #[inline]
    fn key_hash(&self) -> i32 {
        self.java_hash()
    }

    #[inline]
    fn write_key(&self, out: &mut Vec<u8>) {
        self.encode(out);
    }

    #[inline]
    fn key_words(&self) -> Option<KeyWords> {
        self.words()
    }
}

impl KeyLike for str {
    #[inline]
    fn key_hash(&self) -> i32 {
        java_string_hash(self)
    }

    #[inline]
    fn write_key(&self, out: &mut Vec<u8>) {
        write_terminated(self.as_bytes(), out);
    }

    #[inline]
    fn key_words(&self) -> Option<KeyWords> {
        KeyWords::of_terminated(self.as_bytes())
    }
}

impl KeyLike for [u8] {
    #[inline]
    fn key_hash(&self) -> i32 {
        java_bytes_hash(self)
    }

    #[inline]
    fn write_key(&self, out: &mut Vec<u8>) {
        write_terminated(self, out);
    }

    #[inline]
    fn key_words(&self) -> Option<KeyWords> {
        KeyWords::of_terminated(self)
    }
}

/// `String.hashCode()`: over UTF-16 units.
#[must_use]
pub fn java_string_hash(text: &str) -> i32 {
    if text.is_ascii() {
        polynomial(text.as_bytes(), 0)
    } else {
        text.encode_utf16().fold(0_i32, |hash, unit| {
            hash.wrapping_mul(31).wrapping_add(i32::from(unit))
        })
    }
}

/// `Arrays.hashCode(byte[])`.
#[must_use]
pub fn java_bytes_hash(bytes: &[u8]) -> i32 {
    bytes.iter().fold(1_i32, |hash, &byte| {
        hash.wrapping_mul(31).wrapping_add(i32::from(byte as i8))
    })
}

/// `Long.hashCode()`: -1 and 0 hash alike.
#[inline]
#[must_use]
pub const fn java_long_hash(value: i64) -> i32 {
    (value ^ ((value as u64) >> 32) as i64) as i32
}

/// `Double.hashCode()`: every NaN hashes alike, 0.0 and -0.0 do not.
#[must_use]
pub fn java_double_hash(value: f64) -> i32 {
    let bits = if value.is_nan() {
        0x7ff8_0000_0000_0000
    } else {
        value.to_bits()
    };
    java_long_hash(bits as i64)
}

/// `Float.hashCode()`.
#[must_use]
pub fn java_float_hash(value: f32) -> i32 {
    if value.is_nan() {
        0x7fc0_0000
    } else {
        value.to_bits() as i32
    }
}

/// Four bytes a step: the multiplications of one step do not wait for one another.
fn polynomial(bytes: &[u8], start: i32) -> i32 {
    let mut hash = start;
    let (steps, rest) = bytes.as_chunks::<4>();
    for &[a, b, c, d] in steps {
        hash = hash
            .wrapping_mul(31 * 31 * 31 * 31)
            .wrapping_add(i32::from(a) * (31 * 31 * 31))
            .wrapping_add(i32::from(b) * (31 * 31))
            .wrapping_add(i32::from(c) * 31)
            .wrapping_add(i32::from(d));
    }
    for &byte in rest {
        hash = hash.wrapping_mul(31).wrapping_add(i32::from(byte));
    }
    hash
}

/// Bytes of any length, in order and self-delimiting: 0 becomes `0 255`, the end is `0 1`.
fn write_terminated(bytes: &[u8], out: &mut Vec<u8>) {
    let mut rest = bytes;
    while let Some(zero) = rest.iter().position(|&byte| byte == 0) {
        out.extend_from_slice(&rest[..zero]);
        out.extend_from_slice(&[0, 255]);
        rest = &rest[zero + 1..];
    }
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 1]);
}

fn read_terminated(bytes: &mut &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let zero = bytes
            .iter()
            .position(|&byte| byte == 0)
            .ok_or_else(|| damaged("a key without end"))?;
        out.extend_from_slice(&bytes[..zero]);
        let mark = bytes.get(zero + 1).copied();
        *bytes = bytes.get(zero + 2..).unwrap_or_default();
        match mark {
            Some(255) => out.push(0),
            Some(1) => return Ok(out),
            _ => return Err(damaged("a key with a bad escape")),
        }
    }
}

fn damaged(reason: &str) -> Error {
    Error::corrupted("key", reason)
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = bytes
        .split_first_chunk::<N>()
        .ok_or_else(|| damaged("a key cut short"))?;
    *bytes = rest;
    Ok(*head)
}

impl StateKey for String {
    fn java_hash(&self) -> i32 {
        java_string_hash(self)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        write_terminated(self.as_bytes(), out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        Self::from_utf8(read_terminated(bytes)?).map_err(|_| damaged("a text key is not UTF-8"))
    }

    #[inline]
    fn words(&self) -> Option<KeyWords> {
        KeyWords::of_terminated(self.as_bytes())
    }
}

impl StateKey for Vec<u8> {
    fn java_hash(&self) -> i32 {
        java_bytes_hash(self)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        write_terminated(self, out);
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        read_terminated(bytes)
    }

    #[inline]
    fn words(&self) -> Option<KeyWords> {
        KeyWords::of_terminated(self)
    }
}

macro_rules! integer_keys {
    ($($type:ty, $flip:expr, $hash:expr;)*) => {$(
        impl StateKey for $type {
            #[inline]
            fn java_hash(&self) -> i32 {
                let hash: fn($type) -> i32 = $hash;
                hash(*self)
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&(*self ^ $flip).to_be_bytes());
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self> {
                Ok(Self::from_be_bytes(take(bytes)?) ^ $flip)
            }

            #[inline]
            fn words(&self) -> Option<KeyWords> {
                KeyWords::EMPTY.with_bytes((*self ^ $flip).to_be_bytes())
            }
        }
    )*};
}

// The sign bit is flipped so that negative numbers come first in byte order.
integer_keys! {
    u8, 0, i32::from;
    u16, 0, i32::from;
    u32, 0, |value| value as i32;
    u64, 0, |value| java_long_hash(value as i64);
    i32, i32::MIN, |value| value;
    i64, i64::MIN, java_long_hash;
}

impl StateKey for bool {
    fn java_hash(&self) -> i32 {
        if *self { 1231 } else { 1237 }
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(bytes: &mut &[u8]) -> Result<Self> {
        match take::<1>(bytes)? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(damaged("a bool that is neither 0 nor 1")),
        }
    }

    #[inline]
    fn words(&self) -> Option<KeyWords> {
        KeyWords::EMPTY.with_u8(u8::from(*self))
    }
}

/// The key of state that is not keyed: everything is in one group.
impl StateKey for () {
    fn java_hash(&self) -> i32 {
        0
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<Self> {
        Ok(())
    }

    #[inline]
    fn words(&self) -> Option<KeyWords> {
        Some(KeyWords::EMPTY)
    }
}

macro_rules! tuple_keys {
    ($($($part:ident $index:tt),+;)*) => {$(
        /// Hashes like Flink's `Tuple`: 31 times the hash so far plus the next field's.
        impl<$($part: StateKey),+> StateKey for ($($part,)+) {
            #[inline]
            fn java_hash(&self) -> i32 {
                let mut hash = 0_i32;
                $(hash = hash.wrapping_mul(31).wrapping_add(self.$index.java_hash());)+
                hash
            }

            fn encode(&self, out: &mut Vec<u8>) {
                $(self.$index.encode(out);)+
            }

            fn decode(bytes: &mut &[u8]) -> Result<Self> {
                Ok(($($part::decode(bytes)?,)+))
            }

            #[inline]
            fn words(&self) -> Option<KeyWords> {
                let words = KeyWords::EMPTY;
                $(let words = words.then(self.$index.words()?)?;)+
                Some(words)
            }
        }
    )*};
}

tuple_keys! {
    A 0;
    A 0, B 1;
    A 0, B 1, C 2;
    A 0, B 1, C 2, D 3;
}

/// Follows the key of a row without namespace.
pub(crate) const NO_NAMESPACE: u8 = 0;
/// Follows the key of a row in a namespace; the namespace comes next.
pub(crate) const IN_NAMESPACE: u8 = 1;

/// Splits the key and namespace off the front of a row key, as `for_each` and
/// [`DeltaChunk::iter`](crate::DeltaChunk::iter) give it; what is left is the map key, or nothing.
///
/// `N` is not decoded for a row without namespace.
///
/// # Errors
/// [`Error::Corrupted`] if the bytes are not such keys.
pub fn split_row_key<K: StateKey, N: StateKey>(row: &[u8]) -> Result<(K, Option<N>, &[u8])> {
    let mut rest = row;
    let key = K::decode(&mut rest)?;
    let namespace = match take::<1>(&mut rest)? {
        [NO_NAMESPACE] => None,
        [IN_NAMESPACE] => Some(N::decode(&mut rest)?),
        _ => return Err(damaged("a bad namespace mark")),
    };
    Ok((key, namespace, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MaxParallelism, PreparedKey, row_key::hash_row};
    use proptest::prelude::*;

    fn bytes_of<K: StateKey>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn round_trip_and_order<K: StateKey>(a: &K, b: &K) {
        let (x, y) = (bytes_of(a), bytes_of(b));
        assert_eq!(a.cmp(b), x.cmp(&y), "{a:?} {b:?}");
        let mut rest = &x[..];
        assert_eq!(&K::decode(&mut rest).unwrap(), a);
        assert!(rest.is_empty());
        if let Some(words) = a.words() {
            assert_eq!(*crate::KeyBytes::short(words), x[..], "{a:?}");
        }
        let a = PreparedKey::new(a, MaxParallelism::DEFAULT);
        assert_eq!(a.key_bytes(), &x[..]);
        assert_eq!(a.hash(), hash_row(&a.row()[2..]));
    }

    proptest! {
        #[test]
        fn keys_keep_order_and_come_back(
            a: (String, i64), b: (String, i64), c: (Vec<u8>, u64), d: (Vec<u8>, u64),
            e: (i32, bool, u32), f: (i32, bool, u32),
        ) {
            round_trip_and_order(&a, &b);
            round_trip_and_order(&c, &d);
            round_trip_and_order(&e, &f);
        }

        #[test]
        fn zeros_and_prefixes_keep_order(a in proptest::collection::vec(0_u8..3, 0..6),
                                         b in proptest::collection::vec(0_u8..3, 0..6), c: u8, d: u8) {
            round_trip_and_order(&(a, c), &(b, d));
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let _ = String::decode(&mut &bytes[..]);
            let _ = <(Vec<u8>, i64, bool)>::decode(&mut &bytes[..]);
            let _ = split_row_key::<String, u64>(&bytes);
        }

        #[test]
        fn fast_string_hash_is_the_plain_one(text in "[ -~]{0,40}") {
            let plain = text.bytes().fold(0_i32, |h, b| h.wrapping_mul(31).wrapping_add(i32::from(b)));
            prop_assert_eq!(java_string_hash(&text), plain);
        }
    }
}
