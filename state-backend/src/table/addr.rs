//! Where a row is.

use crate::{KeyBytes, KeyGroup, KeyWords, row_key::RowKey};

/// Where a row is: its key, the hash of that, the group and the group's position.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addr<'a> {
    /// The key, if it is short.
    pub(crate) words: KeyWords,
    /// The group and the key, if that is long.
    pub(crate) long: &'a [u8],
    pub(crate) hash: u64,
    pub(crate) group: usize,
    pub(crate) key_group: KeyGroup,
}

impl<'a> Addr<'a> {
    /// The group and the key, as a backend has them.
    pub(crate) fn row(&self) -> KeyBytes<'a> {
        if self.words.is_short() {
            KeyBytes::short_row(self.key_group.to_be_bytes(), self.words)
        } else {
            KeyBytes::long(self.long)
        }
    }

    pub(crate) fn row_key(&self) -> RowKey {
        if self.words.is_short() {
            RowKey::short(self.words)
        } else {
            RowKey::new(&self.long[2..])
        }
    }

    pub(crate) fn key_len(&self) -> usize {
        if self.words.is_short() {
            self.words.len()
        } else {
            self.long.len() - 2
        }
    }

    /// A copy to pass to a call, so that this one need not be in memory where no call is made.
    #[inline(always)]
    pub(super) fn apart(self) -> Self {
        Self {
            words: self.words,
            long: self.long,
            hash: self.hash,
            group: self.group,
            key_group: self.key_group,
        }
    }

    /// Whether this is the key.
    #[inline(always)]
    pub(crate) fn is(&self, key: &RowKey) -> bool {
        if self.words.is_short() {
            key.is(self.words)
        } else {
            key.bytes() == &self.long[2..]
        }
    }
}
