//! Time to live: when state expires, what a read then sees, and who cleans up.
//!
//! The semantics are Flink's (`StateTtlConfig`, `TtlUtils`, `AbstractTtlDecorator`), checked against
//! recordings of it; `docs/semantics.md` spells them out.

use std::time::Duration;

/// What renews a value's time to live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum UpdateType {
    /// Creating and writing.
    OnCreateAndWrite,
    /// Reading too. A read never revives what has expired.
    OnReadAndWrite,
}

/// What a read of an expired value returns. It removes the value in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Visibility {
    /// Nothing.
    NeverReturnExpired,
    /// The old value, if nothing has cleaned it up before.
    ReturnExpiredIfNotCleanedUp,
}

/// How long a state lives after it was written or read.
///
/// A value written at `w` is expired when the store's clock shows `w + ttl` or later. The clock is
/// an input ([`StateStore::set_time`](crate::StateStore::set_time)): processing time, or event time
/// by giving it the watermark.
///
/// ```
/// use state_backend::{Ttl, ValueDef};
/// use std::time::Duration;
///
/// const LAST_ITEM: ValueDef<u64> =
///     ValueDef::new("last_item").with_ttl(Ttl::after_write(Duration::from_secs(30 * 60)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Ttl {
    pub(crate) ttl_ms: i64,
    pub(crate) update: UpdateType,
    pub(crate) visibility: Visibility,
    pub(crate) cleanup: Cleanup,
}

/// Who removes expired state that nobody reads. Any of these may be combined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub(crate) struct Cleanup {
    pub(crate) full_snapshot: bool,
    pub(crate) background: bool,
    /// Entries looked at with each access.
    pub(crate) incremental: u16,
}

impl Ttl {
    /// Expires this long after the last write; expired values are never returned; the background
    /// cleans up.
    #[must_use]
    pub const fn after_write(ttl: Duration) -> Self {
        Self::new(ttl, UpdateType::OnCreateAndWrite)
    }

    /// Expires this long after the last write or read; else as [`after_write`](Self::after_write).
    #[must_use]
    pub const fn after_read_or_write(ttl: Duration) -> Self {
        Self::new(ttl, UpdateType::OnReadAndWrite)
    }

    const fn new(ttl: Duration, update: UpdateType) -> Self {
        let millis = ttl.as_millis();
        Self {
            ttl_ms: if millis > i64::MAX as u128 {
                i64::MAX
            } else {
                millis as i64
            },
            update,
            visibility: Visibility::NeverReturnExpired,
            cleanup: Cleanup {
                full_snapshot: false,
                background: true,
                incremental: 0,
            },
        }
    }

    /// Sets what renews the time to live.
    #[must_use]
    pub const fn with_update_type(mut self, update: UpdateType) -> Self {
        self.update = update;
        self
    }

    /// Sets what a read of an expired value returns.
    #[must_use]
    pub const fn with_visibility(mut self, visibility: Visibility) -> Self {
        self.visibility = visibility;
        self
    }

    /// Leaves expired state out of snapshots. What runs on is not cleaned by it.
    #[must_use]
    pub const fn with_full_snapshot_cleanup(mut self) -> Self {
        self.cleanup.full_snapshot = true;
        self
    }

    /// Looks at this many further entries with each access and removes the expired ones. Every
    /// access pays for it; useful where nobody calls [`pump`](crate::StateStore::pump).
    #[must_use]
    pub const fn with_incremental_cleanup(mut self, entries: u16) -> Self {
        self.cleanup.incremental = entries;
        self
    }

    /// Keeps the background sweep, which runs in [`pump`](crate::StateStore::pump) and goes through
    /// all state about four times in a time to live, from this state.
    #[must_use]
    pub const fn without_background_cleanup(mut self) -> Self {
        self.cleanup.background = false;
        self
    }

    /// The time to live in milliseconds.
    #[must_use]
    pub const fn ttl_ms(&self) -> i64 {
        self.ttl_ms
    }

    /// Whether state written at `written` has expired at `now`. The sum is clamped at the end of
    /// time; a clock from before the write finds it alive.
    #[inline]
    #[must_use]
    pub const fn is_expired(&self, written: i64, now: i64) -> bool {
        written.saturating_add(self.ttl_ms) <= now
    }

    #[inline]
    pub(crate) const fn renews_on_read(&self) -> bool {
        matches!(self.update, UpdateType::OnReadAndWrite)
    }

    #[inline]
    pub(crate) const fn returns_expired(&self) -> bool {
        matches!(self.visibility, Visibility::ReturnExpiredIfNotCleanedUp)
    }
}
