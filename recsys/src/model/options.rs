use std::time::Duration;

use crate::error::{Error, Result};
use crate::model::handle::MAX_SLOTS;

/// May an item be recommended that the user has had already?
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// No.
    #[default]
    Exclude,
    /// No, for so many milliseconds after the user's last event upon it (as far as the history
    /// goes back).
    ExcludeForMs(i64),
    /// Yes: visits without a user, things bought again.
    Allow,
}

/// Bounds and the setting of a model. The defaults are what `auto` means: none depends on the
/// data, and what suits a stream is learnt from it.
///
/// Memory at most, beyond the ids: 16 B an item of history and 4 B an item seen for each user;
/// for each item 4 B a user remembered, 120 B of counters, and its share of the neighbours' memory.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub(crate) seen: Seen,
    pub(crate) max_users: u32,
    pub(crate) max_items: u32,
    pub(crate) user_idle_ms: i64,
    pub(crate) item_idle_ms: i64,
    pub(crate) history: usize,
    pub(crate) seen_items: usize,
    pub(crate) neighbour_bytes: usize,
    pub(crate) users_per_item: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            seen: Seen::default(),
            max_users: 2_000_000,
            max_items: 500_000,
            user_idle_ms: 365 * 86_400_000,
            item_idle_ms: 365 * 86_400_000,
            history: 100,
            seen_items: 2048,
            neighbour_bytes: 1 << 30,
            users_per_item: 300,
        }
    }
}

impl Options {
    /// Whether items a user has had already are candidates.
    #[must_use]
    pub fn with_seen(mut self, seen: Seen) -> Self {
        self.seen = seen;
        self
    }

    /// The most users (default 2,000,000) and items (500,000) kept; beyond them idle ones go.
    #[must_use]
    pub fn with_capacity(mut self, users: u32, items: u32) -> Self {
        (self.max_users, self.max_items) = (users, items);
        self
    }

    /// After how long without an event a user and an item are forgotten (default a year), by the
    /// events' clock.
    #[must_use]
    pub fn with_idle(mut self, users: Duration, items: Duration) -> Self {
        let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        (self.user_idle_ms, self.item_idle_ms) = (ms(users), ms(items));
        self
    }

    /// How many distinct items a user's history has (default 100), and how many more are
    /// remembered as seen (2,048).
    #[must_use]
    pub fn with_history(mut self, items: usize, seen: usize) -> Self {
        (self.history, self.seen_items) = (items, seen);
        self
    }

    /// Memory for co-interaction counts (default 1 GiB): the more items share it, the fewer
    /// neighbours each keeps, from 400 down to 50.
    #[must_use]
    pub fn with_neighbour_bytes(mut self, bytes: usize) -> Self {
        self.neighbour_bytes = bytes;
        self
    }

    /// How many users an item remembers for the nearest neighbours (default 300).
    #[must_use]
    pub fn with_users_per_item(mut self, users: usize) -> Self {
        self.users_per_item = users;
        self
    }

    pub(crate) fn validate(&self) -> Result<()> {
        let within = |field, n: u64, max: u64| match (1..=max).contains(&n) {
            true => Ok(()),
            false => Err(Error::invalid(
                field,
                format!("{n}, must lie between 1 and {max}"),
            )),
        };
        within("max_users", self.max_users.into(), MAX_SLOTS.into())?;
        within("max_items", self.max_items.into(), MAX_SLOTS.into())?;
        within("history", self.history as u64, 1000)?;
        within("seen_items", self.seen_items as u64, 100_000)?;
        within("users_per_item", self.users_per_item as u64, 10_000)
    }

    /// Neighbours an item keeps when this many items share the memory.
    pub(crate) fn neighbours(&self, items: u32) -> usize {
        /// An entry of 12 B, twice the cap, four fifths full on average.
        const BYTES: usize = 30;
        (self.neighbour_bytes / BYTES / (items as usize).max(1)).clamp(50, 400)
    }
}

/// How many of the latest items are paired with a new one.
pub(crate) const PAIR_WINDOW: usize = 50;
/// Exponents of the distance between the two items of a pair, for the near and the far count.
pub(crate) const PAIR_NEAR: f32 = 1.0;
pub(crate) const PAIR_FAR: f32 = 0.5;
/// What the near count of the earlier item's follower is worth for the follower itself.
pub(crate) const PAIR_BACKWARD: f32 = 0.5;

/// How many of the latest items a query starts from.
pub(crate) const QUERY_ITEMS: usize = 20;
/// Rank decay exp(-rank / d) of the query for the near and the far counts.
pub(crate) const QUERY_NEAR: f32 = 1.5;
pub(crate) const QUERY_FAR: f32 = 7.0;

/// The same for nearest neighbours: items, users looked at for each, users taken.
pub(crate) const KNN_ITEMS: usize = 10;
pub(crate) const KNN_PROBES: usize = 200;
pub(crate) const KNN_NEIGHBOURS: usize = 100;
pub(crate) const KNN_SESSION_DECAY: f32 = 4.0;
pub(crate) const KNN_USER_DECAY: f32 = 10.0;
pub(crate) const KNN_AGE_MS: f32 = 8.64e8;
/// A neighbour's item counts 1 / (1 + x * distance^2) by its distance to the match.
pub(crate) const KNN_DISTANCE: f32 = 0.1;

/// Interests in categories: from how many of the latest items, with which rank decay, how many of the
/// strongest name candidates.
pub(crate) const INTEREST_ITEMS: usize = 50;
pub(crate) const INTEREST_DECAY: f32 = 10.0;
pub(crate) const INTERESTS: usize = 4;

/// Candidates taken from each channel.
pub(crate) const CANDIDATES: usize = 50;
/// Items on a board.
pub(crate) const BOARD: usize = 150;
/// Steps of Adagrad, of the two learners side by side.
pub(crate) const STEADY_RATE: f32 = 0.04;
pub(crate) const QUICK_RATE: f32 = 0.12;

/// The fusion learns from one wanted event in so many, by how many there were: a step costs a query.
/// From each of the first 512, then ever fewer to one in four by 1,024; a stream of hundreds of thousands
/// has plenty to learn from, and there it becomes rarer still, to one in 64.
pub(crate) fn learns_one_in(positives: u64) -> u64 {
    (positives / 256)
        .clamp(1, 4)
        .max(positives / 16_384)
        .min(64)
}
