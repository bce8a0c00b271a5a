use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// The most users, and the most items, that one model holds at a time.
pub const MAX_SLOTS: u32 = (1 << 24) - 1;

/// A user or an item inside the model: 24 bits of slot, 8 bits of generation.
///
/// Slots are used again when their holder was evicted. A reference that outlived its holder (in
/// another item's neighbours, say) has an older generation and is ignored; it takes 256 reuses of
/// one slot for a stale reference to be taken for a live one, and rows forget long before that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Handle(
    /// Slot plus one, so that an optional handle takes no more room.
    NonZeroU32,
);

impl Handle {
    /// `slot` is below [`MAX_SLOTS`].
    pub(crate) const fn new(slot: u32, generation: u8) -> Self {
        let bits = ((slot & MAX_SLOTS) + 1) | ((generation as u32) << 24);
        match NonZeroU32::new(bits) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU32::MIN),
        }
    }

    /// Back from bytes that may be damaged.
    pub(crate) const fn checked(bits: u32) -> Option<Self> {
        match NonZeroU32::new(bits) {
            Some(some) if bits & MAX_SLOTS != 0 => Some(Self(some)),
            _ => None,
        }
    }

    /// Back from [`Handle::bits`].
    pub(crate) const fn from_bits(bits: u32) -> Self {
        match NonZeroU32::new(bits) {
            Some(bits) => Self(bits),
            None => Self(NonZeroU32::MIN),
        }
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0.get()
    }

    pub(crate) const fn slot(self) -> u32 {
        (self.0.get() & MAX_SLOTS).wrapping_sub(1)
    }

    pub(crate) const fn generation(self) -> u8 {
        (self.0.get() >> 24) as u8
    }
}
