use serde::{Deserialize, Serialize};

use crate::catalogue::CatalogueItem;
use crate::error::Result;
use crate::model::board::Board;
use crate::model::category::CategoryRecord;
use crate::model::fusion::Fusion;
use crate::model::handle::Handle;
use crate::model::history::History;
use crate::model::packed;
use crate::model::row::Row;
use crate::model::trending::Trending;
use crate::serve::Settings;

/// Half-lives of the decayed popularity counters: 1 h, 6 h, 1 d, 7 d, 30 d.
pub(crate) const HALF_LIVES_MS: [f64; 5] = [3.6e6, 2.16e7, 8.64e7, 6.048e8, 2.592e9];
/// Boards: one a half-life, one of all time, one by last event, one by first event.
pub(crate) const BOARDS: usize = HALF_LIVES_MS.len() + 3;
pub(crate) const BOARD_ALL_TIME: usize = HALF_LIVES_MS.len();
pub(crate) const BOARD_RECENT: usize = BOARD_ALL_TIME + 1;
pub(crate) const BOARD_NEW: usize = BOARD_ALL_TIME + 2;

/// What the model keeps of a user (or of a session, where sessions are the users).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UserRecord {
    /// Empty when the slot is free.
    pub(crate) id: Box<str>,
    pub(crate) generation: u8,
    pub(crate) next_free: u32,
    pub(crate) last_ms: i64,
    /// Distinct items, most recent last, bounded.
    pub(crate) history: History,
    /// Items seen, sorted, bounded; goes back further than the history.
    #[serde(with = "packed")]
    pub(crate) seen: Vec<Handle>,
    /// Items shown lately and not acted upon, oldest first, bounded.
    pub(crate) shown: Vec<(Handle, i64)>,
}

/// What the model keeps of an item, its neighbours apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItemRecord {
    /// Empty when the slot is free.
    pub(crate) id: Box<str>,
    pub(crate) generation: u8,
    pub(crate) next_free: u32,
    pub(crate) first_ms: i64,
    pub(crate) last_ms: i64,
    /// Sum over users of the largest weight: the norm of item-based CF.
    pub(crate) mass: f32,
    /// How many users touched it.
    pub(crate) users: u32,
    /// Of how many the first touch was wanted.
    pub(crate) wanted: u32,
    /// How often it was shown, and acted upon after that.
    pub(crate) shown: u32,
    pub(crate) taken: u32,
    /// Keys of the decayed counters, see [`Board`].
    pub(crate) popularity: [f64; HALF_LIVES_MS.len()],
    /// All events.
    pub(crate) events: f64,
    /// The users who touched it last: a ring, `next` is the oldest once it is full.
    #[serde(with = "packed")]
    pub(crate) touched_by: Vec<Handle>,
    pub(crate) next: u32,
    /// What the catalogue says it is.
    pub(crate) category: Option<Handle>,
}

impl Default for ItemRecord {
    fn default() -> Self {
        Self {
            id: "".into(),
            generation: 0,
            next_free: 0,
            first_ms: 0,
            last_ms: i64::MIN,
            mass: 0.0,
            users: 0,
            wanted: 0,
            shown: 0,
            taken: 0,
            popularity: [f64::NEG_INFINITY; HALF_LIVES_MS.len()],
            events: 0.0,
            touched_by: Vec::new(),
            next: 0,
            category: None,
        }
    }
}

impl ItemRecord {
    pub(crate) fn push_user(&mut self, user: Handle, cap: usize) {
        if self.touched_by.len() < cap {
            self.touched_by.push(user);
        } else if let Some(oldest) = self.touched_by.get_mut(self.next as usize) {
            *oldest = user;
            self.next = (self.next + 1) % cap as u32;
        }
    }

    /// Latest first: in each part from its end.
    pub(crate) fn users_touched(&self) -> [&[Handle]; 2] {
        let middle = (self.next as usize).min(self.touched_by.len());
        let (newer, older) = self.touched_by.split_at(middle);
        [newer, older]
    }

    /// Latest first.
    pub(crate) fn latest_users(&self) -> impl Iterator<Item = Handle> {
        let [newer, older] = self.users_touched();
        newer.iter().rev().chain(older.iter().rev()).copied()
    }
}

/// Which slots are in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Directory {
    /// Slots ever used.
    pub(crate) slots: u32,
    /// Those in use now.
    pub(crate) live: u32,
    /// First of the freed ones plus 1, chained through `next_free`; 0 is none.
    pub(crate) free: u32,
    /// Where the search for an idle one goes on.
    pub(crate) hand: u32,
}

/// What the model keeps once.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Global {
    pub(crate) users: Directory,
    pub(crate) items: Directory,
    pub(crate) categories: Directory,
    /// Interactions learnt.
    pub(crate) events: u64,
    /// Those that could have been recommended and were wanted.
    pub(crate) positives: u64,
    /// The largest event time so far, as far as it was [credible](Self::credible).
    pub(crate) now_ms: i64,
    /// What the last event said the time was.
    pub(crate) last_said_ms: i64,
    pub(crate) boards: [Board; BOARDS],
    pub(crate) trending: Trending,
    pub(crate) fusion: Fusion,
}

/// How far one event alone moves time ahead.
const CREDIBLE_MS: i64 = 3_600_000;

impl Global {
    /// The time that an event counts with: what it says, but no more than an hour ahead of all before, or
    /// as far ahead as the last event was. One event of a wrong clock would otherwise lead every board for
    /// as long as it is ahead; after a gap in the stream time is right from the second event on.
    pub(crate) fn credible(&self, said_ms: i64) -> i64 {
        match self.events {
            0 => said_ms,
            _ => said_ms.min(
                self.now_ms
                    .saturating_add(CREDIBLE_MS)
                    .max(self.last_said_ms),
            ),
        }
    }
}

/// Where the model's records live: in a process's own memory ([`super::MemoryRecords`]) or in
/// keyed, checkpointed state.
///
/// A record that was never written reads as `None`; an update of one starts from its default.
pub trait Records {
    /// The slot bound to a user's id.
    ///
    /// # Errors
    /// Those of the storage, here and below.
    fn user_slot(&mut self, id: &str) -> Result<Option<u32>>;
    /// Binds or unbinds a user's id.
    fn bind_user(&mut self, id: &str, slot: Option<u32>) -> Result<()>;
    /// The slot bound to an item's id.
    fn item_slot(&mut self, id: &str) -> Result<Option<u32>>;
    /// Binds or unbinds an item's id.
    fn bind_item(&mut self, id: &str, slot: Option<u32>) -> Result<()>;
    /// A user's record.
    fn user(&mut self, slot: u32) -> Result<Option<&UserRecord>>;
    /// Asks for what a look-up of these users will read: look-ups wait for memory one after the other,
    /// what was asked for comes at the same time. Changes nothing, and may do nothing.
    fn prefetch_users(&mut self, slots: &[u32]) -> Result<()>;
    /// Changes a user's record.
    fn update_user<T>(&mut self, slot: u32, f: impl FnOnce(&mut UserRecord) -> T) -> Result<T>;
    /// An item's record.
    fn item(&mut self, slot: u32) -> Result<Option<&ItemRecord>>;
    /// As [`prefetch_users`](Self::prefetch_users), for items.
    fn prefetch_items(&mut self, slots: &[u32]) -> Result<()>;
    /// Changes an item's record.
    fn update_item<T>(&mut self, slot: u32, f: impl FnOnce(&mut ItemRecord) -> T) -> Result<T>;
    /// An item's neighbours.
    fn row(&mut self, slot: u32) -> Result<Option<&Row>>;
    /// As [`prefetch_users`](Self::prefetch_users), for the neighbours of items.
    fn prefetch_rows(&mut self, slots: &[u32]) -> Result<()>;
    /// Changes an item's neighbours.
    fn update_row<T>(&mut self, slot: u32, f: impl FnOnce(&mut Row) -> T) -> Result<T>;
    /// The slot bound to a category's name.
    fn category_slot(&mut self, name: &str) -> Result<Option<u32>>;
    /// Binds or unbinds a category's name.
    fn bind_category(&mut self, name: &str, slot: Option<u32>) -> Result<()>;
    /// A category's record.
    fn category(&mut self, slot: u32) -> Result<Option<&CategoryRecord>>;
    /// Changes a category's record.
    fn update_category<T>(
        &mut self,
        slot: u32,
        f: impl FnOnce(&mut CategoryRecord) -> T,
    ) -> Result<T>;
    /// What there is once.
    fn global(&mut self) -> Result<Option<&Global>>;
    /// Changes it.
    fn update_global<T>(&mut self, f: impl FnOnce(&mut Global) -> T) -> Result<T>;
    /// An item's entry in the catalogue.
    fn catalogue_item(&mut self, id: &str) -> Result<Option<&CatalogueItem>>;
    /// Sets or removes it.
    fn put_catalogue_item(&mut self, id: &str, item: Option<CatalogueItem>) -> Result<()>;
    /// Rules and experiments.
    fn settings(&mut self) -> Result<Option<&Settings>>;
    /// Changes them.
    fn update_settings<T>(&mut self, f: impl FnOnce(&mut Settings) -> T) -> Result<T>;
}
