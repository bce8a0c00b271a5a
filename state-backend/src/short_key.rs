//! Keys held in ordered maps: most are a group, a short id and a namespace, and fit in place.

use std::borrow::Borrow;
use std::fmt;

/// A byte key that takes no allocation up to 22 bytes.
#[derive(Clone)]
pub(crate) struct ShortKey(Repr);

#[derive(Clone)]
enum Repr {
    Inline {
        len: u8,
        bytes: [u8; ShortKey::INLINE],
    },
    Heap(Box<[u8]>),
}

impl ShortKey {
    const INLINE: usize = 22;

    pub(crate) fn new(key: &[u8]) -> Self {
        if key.len() > Self::INLINE {
            return Self(Repr::Heap(key.into()));
        }
        let mut bytes = [0; Self::INLINE];
        bytes[..key.len()].copy_from_slice(key);
        Self(Repr::Inline {
            len: key.len() as u8,
            bytes,
        })
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Inline { len, bytes } => &bytes[..usize::from(*len)],
            Repr::Heap(bytes) => bytes,
        }
    }

    /// Bytes a key of this length takes beside the type itself.
    pub(crate) fn heap_bytes(len: usize) -> u64 {
        if len > Self::INLINE { len as u64 } else { 0 }
    }
}

impl Borrow<[u8]> for ShortKey {
    fn borrow(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl PartialEq for ShortKey {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for ShortKey {}

impl PartialOrd for ShortKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ShortKey {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for ShortKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().fmt(f)
    }
}
