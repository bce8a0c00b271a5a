//! Short keys in registers.
//!
//! Bytes that were just written in pieces cannot be read back at other boundaries until the processor has
//! retired everything before them, and that includes the waits for main memory of the look-up before: each look-up would wait
//! for the last. Hashing and comparing a short key out of three words instead of a buffer
//! made look-ups in a table larger than the caches four times as fast.

use std::{fmt, ops::Deref};

/// The bytes of a short key, padded with zeros, as three little-endian words.
///
/// What [`StateKey::words`](crate::StateKey::words) gives. The top byte of the last word is the length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyWords([u64; 3]);

/// The length of what is not short.
const LONG: u64 = 255;
const LEN_SHIFT: u32 = 56;

impl KeyWords {
    /// Most bytes there is place for.
    pub const MAX: usize = 22;

    /// No bytes.
    pub const EMPTY: Self = Self([0; 3]);

    /// Stands for bytes that there is no place for.
    pub(crate) const TOO_LONG: Self = Self([0, 0, LONG << LEN_SHIFT]);

    /// These bytes, if they are at most [`MAX`](Self::MAX).
    #[inline]
    #[must_use]
    pub fn of(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > Self::MAX {
            return None;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        let mut own = [0; 3];
        for (own, word) in own.iter_mut().zip(words) {
            *own = u64::from_le_bytes(*word);
        }
        if let Some(own) = own.get_mut(words.len()) {
            *own = tail(bytes, rest);
        }
        own[2] |= (bytes.len() as u64) << LEN_SHIFT;
        Some(Self(own))
    }

    /// With one byte more, if there is place.
    #[inline(always)]
    #[must_use]
    pub fn with_u8(self, byte: u8) -> Option<Self> {
        self.with(u64::from(byte), 1)
    }

    /// With these bytes behind, if there is place.
    #[inline(always)]
    #[must_use]
    pub fn with_bytes<const N: usize>(self, bytes: [u8; N]) -> Option<Self> {
        const { assert!(N <= 8, "at most a word") };
        let mut word = [0; 8];
        word[..N].copy_from_slice(&bytes);
        self.with(u64::from_le_bytes(word), N)
    }

    #[inline(always)]
    fn with(self, word: u64, bytes: usize) -> Option<Self> {
        let len = self.len();
        if len + bytes > Self::MAX {
            return None;
        }
        let shift = 8 * (len % 8) as u32;
        let (low, high) = (word << shift, (word >> 1) >> (63 - shift));
        let [a, b, c] = self.0;
        let c = c + ((bytes as u64) << LEN_SHIFT);
        Some(Self(match len / 8 {
            0 => [a | low, b | high, c],
            1 => [a, b | low, c | high],
            _ => [a, b, c | low],
        }))
    }

    /// With another key's bytes behind, if there is place.
    #[inline(always)]
    #[must_use]
    pub fn then(self, next: Self) -> Option<Self> {
        let (len, more) = (self.len(), next.len());
        if len + more > Self::MAX {
            return None;
        }
        let shift = 8 * (len % 8) as u32;
        let [a, b, c] = self.0;
        let [x, y, z] = next.0;
        let z = z & !(LONG << LEN_SHIFT);
        let carry = |word: u64| (word >> 1) >> (63 - shift);
        let (low, middle, high) = (x << shift, (y << shift) | carry(x), (z << shift) | carry(y));
        let c = c + ((more as u64) << LEN_SHIFT);
        Some(Self(match len / 8 {
            0 => [a | low, b | middle, c | high],
            1 => [a, b | low, c | middle],
            _ => [a, b, c | low],
        }))
    }

    /// The first `len` of these bytes.
    pub(crate) fn first(self, len: usize) -> Self {
        let (bytes, own) = self.bytes();
        Self::of(&bytes[..len.min(own)]).unwrap_or(Self::EMPTY)
    }

    /// How many bytes; more than [`MAX`](Self::MAX) if they are not here.
    #[inline]
    pub(crate) fn len(self) -> usize {
        (self.0[2] >> LEN_SHIFT) as usize
    }

    #[inline]
    pub(crate) fn is_short(self) -> bool {
        self.0[2] < LONG << LEN_SHIFT
    }

    #[inline]
    pub(crate) fn words(self) -> [u64; 3] {
        self.0
    }

    /// The padded bytes, and how many there are.
    #[inline]
    pub(crate) fn bytes(self) -> ([u8; 24], usize) {
        let mut bytes = [0; 24];
        for (place, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *place = word.to_le_bytes();
        }
        bytes[23] = 0;
        (bytes, self.len())
    }

    /// From bytes padded with zeros.
    #[inline]
    pub(crate) fn of_padded(bytes: &[u8; Self::MAX], len: u8) -> Self {
        let word = |at: usize| {
            bytes[at..]
                .first_chunk()
                .map_or(0, |word| u64::from_le_bytes(*word))
        };
        Self([
            word(0),
            word(8),
            (word(14) >> 16) | (u64::from(len) << LEN_SHIFT),
        ])
    }

    /// Text or bytes as keys have them: terminated by `0 1`. None if a byte would have to be escaped.
    #[inline]
    pub(crate) fn of_terminated(bytes: &[u8]) -> Option<Self> {
        let own = Self::of(bytes)?;
        // Whether one of the bytes is zero: what lies behind them is set first.
        let zero = |word: u64, at: usize| {
            let here = bytes.len().saturating_sub(at).min(8) as u32;
            let behind = if here == 8 { 0 } else { u64::MAX << (8 * here) };
            let word = word | behind;
            word.wrapping_sub(0x0101_0101_0101_0101) & !word & 0x8080_8080_8080_8080
        };
        let [a, b, c] = own.0;
        if zero(a, 0) | zero(b, 8) | zero(c, 16) != 0 {
            return None;
        }
        own.with(0x0100, 2)
    }
}

/// The last bytes, fewer than eight, as a word.
#[inline]
fn tail(bytes: &[u8], rest: &[u8]) -> u64 {
    if let (Some(last), false) = (bytes.last_chunk::<8>(), rest.is_empty()) {
        return u64::from_le_bytes(*last) >> (64 - 8 * rest.len());
    }
    match (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last)) << (8 * (rest.len() - 4));
            u64::from(u32::from_le_bytes(*first)) | last
        }
        _ => rest
            .iter()
            .rev()
            .fold(0, |word, byte| (word << 8) | u64::from(*byte)),
    }
}

impl fmt::Debug for KeyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, len) = self.bytes();
        bytes[..len.min(Self::MAX)].fmt(f)
    }
}

/// Key bytes, in place if they are few. Derefs to them.
#[derive(Clone, Copy)]
pub struct KeyBytes<'a>(Bytes<'a>);

#[derive(Clone, Copy)]
enum Bytes<'a> {
    Short([u8; 24], u8),
    Long(&'a [u8]),
}

impl<'a> KeyBytes<'a> {
    pub(crate) fn short(words: KeyWords) -> Self {
        let (bytes, len) = words.bytes();
        Self(Bytes::Short(bytes, len.min(KeyWords::MAX) as u8))
    }

    /// With two bytes in front, the key group.
    pub(crate) fn short_row(group: [u8; 2], words: KeyWords) -> Self {
        let (bytes, len) = words.bytes();
        let len = len.min(KeyWords::MAX);
        let mut row = [0; 24];
        row[..2].copy_from_slice(&group);
        row[2..2 + len].copy_from_slice(&bytes[..len]);
        Self(Bytes::Short(row, len as u8 + 2))
    }

    pub(crate) fn long(bytes: &'a [u8]) -> Self {
        Self(Bytes::Long(bytes))
    }
}

impl Deref for KeyBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Short(bytes, len) => &bytes[..usize::from(*len)],
            Bytes::Long(bytes) => bytes,
        }
    }
}

impl fmt::Debug for KeyBytes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn back(words: KeyWords) -> Vec<u8> {
        KeyBytes::short(words).to_vec()
    }

    proptest! {
        #[test]
        fn words_are_their_bytes(a in proptest::collection::vec(any::<u8>(), 0..26),
                                 b in proptest::collection::vec(any::<u8>(), 0..26), at in 0_usize..24) {
            let words = KeyWords::of(&a);
            prop_assert_eq!(words.is_some(), a.len() <= KeyWords::MAX);
            let Some(words) = words else { return Ok(()) };
            prop_assert!(words.is_short() && !KeyWords::TOO_LONG.is_short());
            prop_assert_eq!(&back(words), &a);
            let mut padded = [0; KeyWords::MAX];
            padded[..a.len()].copy_from_slice(&a);
            prop_assert_eq!(KeyWords::of_padded(&padded, a.len() as u8), words);
            prop_assert_eq!(back(words.first(at)), &a[..at.min(a.len())]);
            let row = [&[1, 2], &a[..]].concat();
            prop_assert_eq!(&*KeyBytes::short_row([1, 2], words), &row[..]);
            let both = [&a[..], &b].concat();
            if let Some(next) = KeyWords::of(&b) {
                prop_assert_eq!(words.then(next), KeyWords::of(&both));
            }
            if let Some(piece) = b.first_chunk::<8>() {
                let both = [&a[..], piece].concat();
                prop_assert_eq!(words.with_bytes(*piece), KeyWords::of(&both));
            }
            if let Some(piece) = b.first_chunk::<3>() {
                let both = [&a[..], piece].concat();
                prop_assert_eq!(words.with_bytes(*piece), KeyWords::of(&both));
            }
            prop_assert_eq!(words.with_u8(7), KeyWords::of(&[&a[..], &[7]].concat()));
        }
    }
}
