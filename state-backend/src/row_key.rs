//! Row keys in memory, their hashes, and keys prepared to be used many times.

use crate::{KeyGroup, KeyLike, KeyWords, MaxParallelism, key::NO_NAMESPACE, key_group_of};
use std::{
    fmt::{self, Debug},
    hash::{BuildHasher, Hasher, RandomState},
    sync::LazyLock,
};

/// Seeded once a process, so that nobody can choose keys that collide.
static SEED: LazyLock<foldhash::fast::FixedState> = LazyLock::new(|| {
    foldhash::fast::FixedState::with_seed(RandomState::new().build_hasher().finish())
});

/// Where a row key goes in the tables of this process. Never stored.
#[inline]
pub(crate) fn hash_row(bytes: &[u8]) -> u64 {
    match KeyWords::of(bytes) {
        Some(words) => hash_words(words),
        None => {
            let mut hasher = SEED.build_hasher();
            hasher.write(bytes);
            hasher.finish()
        }
    }
}

/// As [`hash_row`], of a short key.
#[inline(always)]
pub(crate) fn hash_words(words: KeyWords) -> u64 {
    let mut hasher = SEED.build_hasher();
    for word in words.words() {
        hasher.write_u64(word);
    }
    hasher.finish()
}

const INLINE: usize = KeyWords::MAX;

/// The bytes of a row key without its group; up to 22 bytes lie in place, padded with zeros.
#[derive(Clone)]
pub(crate) enum RowKey {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl RowKey {
    #[inline]
    pub(crate) fn new(bytes: &[u8]) -> Self {
        match KeyWords::of(bytes) {
            Some(words) => Self::short(words),
            None => Self::Heap(bytes.into()),
        }
    }

    #[inline]
    pub(crate) fn short(words: KeyWords) -> Self {
        let (bytes, len) = words.bytes();
        let mut inline = [0; INLINE];
        inline.copy_from_slice(&bytes[..INLINE]);
        Self::Inline(len as u8, inline)
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Inline(len, bytes) => &bytes[..usize::from(*len)],
            Self::Heap(bytes) => bytes,
        }
    }

    /// Its words, if it is short.
    #[inline]
    pub(crate) fn words(&self) -> Option<KeyWords> {
        match self {
            Self::Inline(len, bytes) => Some(KeyWords::of_padded(bytes, *len)),
            Self::Heap(_) => None,
        }
    }

    /// Whether it is this short key.
    #[inline(always)]
    pub(crate) fn is(&self, words: KeyWords) -> bool {
        match self {
            Self::Inline(len, bytes) => {
                let [a, b, c] = KeyWords::of_padded(bytes, *len).words();
                let [x, y, z] = words.words();
                (a ^ x) | (b ^ y) | (c ^ z) == 0
            }
            Self::Heap(_) => false,
        }
    }

    #[inline(always)]
    pub(crate) fn hash(&self) -> u64 {
        match self {
            Self::Inline(len, bytes) => hash_words(KeyWords::of_padded(bytes, *len)),
            Self::Heap(bytes) => hash_row(bytes),
        }
    }

    #[inline]
    pub(crate) fn heap_bytes(&self) -> u64 {
        match self {
            Self::Inline(..) => 0,
            Self::Heap(bytes) => bytes.len() as u64 + 16,
        }
    }
}

impl PartialEq for RowKey {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for RowKey {}

impl PartialOrd for RowKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for RowKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl std::borrow::Borrow<[u8]> for RowKey {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.bytes().fmt(f)
    }
}

/// A key with everything that is derived from it, to be used many times:
/// [`StateStore::scope_of`](crate::StateStore::scope_of) neither encodes nor hashes.
///
/// Valid in the process that made it (the hash is seeded) and for stores of the same max
/// parallelism. Keys of up to 19 encoded bytes are held in place.
#[derive(Clone, Debug)]
pub struct PreparedKey {
    /// Group, key, and the mark of no namespace.
    row: RowKey,
    /// Key and mark, if they are short.
    words: KeyWords,
    hash: u64,
    group: KeyGroup,
}

impl PreparedKey {
    /// Encodes and hashes the key.
    #[inline]
    #[must_use]
    pub fn new<K: KeyLike + ?Sized>(key: &K, max: MaxParallelism) -> Self {
        let group = key_group_of(key.key_hash(), max);
        let words = key
            .key_words()
            .and_then(|words| words.with_u8(NO_NAMESPACE));
        let row =
            words.and_then(|words| KeyWords::EMPTY.with_bytes(group.to_be_bytes())?.then(words));
        if let (Some(words), Some(row)) = (words, row) {
            return Self {
                row: RowKey::short(row),
                words,
                hash: hash_words(words),
                group,
            };
        }
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&group.to_be_bytes());
        key.write_key(&mut bytes);
        bytes.push(NO_NAMESPACE);
        Self {
            words: KeyWords::of(&bytes[2..]).unwrap_or(KeyWords::TOO_LONG),
            hash: hash_row(&bytes[2..]),
            row: RowKey::new(&bytes),
            group,
        }
    }

    /// The group the key is in.
    #[must_use]
    pub fn group(&self) -> KeyGroup {
        self.group
    }

    /// The encoded key.
    #[must_use]
    pub fn key_bytes(&self) -> &[u8] {
        let row = self.row.bytes();
        &row[2..row.len() - 1]
    }

    #[inline]
    pub(crate) fn row(&self) -> &[u8] {
        self.row.bytes()
    }

    #[inline]
    pub(crate) fn words(&self) -> KeyWords {
        self.words
    }

    #[inline(always)]
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn row_keys_are_their_bytes(a in proptest::collection::vec(0_u8..2, 0..40), at: u8, to in 0_u8..2) {
            let mut b = a.clone();
            if let Some(byte) = b.get_mut(usize::from(at) % a.len().max(1)) {
                *byte = to;
            }
            let key = RowKey::new(&a);
            prop_assert_eq!(key.bytes(), &a[..]);
            prop_assert_eq!(key.words().is_some(), a.len() <= INLINE);
            prop_assert_eq!(key.hash(), hash_row(&a));
            if let Some(words) = KeyWords::of(&b) {
                prop_assert_eq!(key.is(words), a == b);
            }
        }
    }

    #[test]
    fn a_row_key_takes_24_bytes() {
        assert_eq!(size_of::<RowKey>(), 24);
    }
}
