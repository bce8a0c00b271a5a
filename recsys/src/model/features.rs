//! What the fusion sees of a candidate: for each channel the score over the best score, the
//! logarithm of that (1 at the best, 0 from e^-4 down) and 1/(1 + rank/10), all 0 where the channel
//! does not name the item; then what is known of the item itself.

use std::f32::consts::LN_2;

use crate::model::channel::{CHANNELS, Channel};
use crate::model::handle::Handle;
use crate::model::history::Touch;
use crate::model::math::{exp, ln};
use crate::model::options::CANDIDATES;
use crate::model::records::{BOARD_ALL_TIME, BOARDS, HALF_LIVES_MS, ItemRecord};

pub(crate) const PER_CHANNEL: usize = 3;
const F_POPULARITY: usize = CHANNELS.len() * PER_CHANNEL;
const F_AGE: usize = F_POPULARITY + HALF_LIVES_MS.len() + 1;
const F_OWN: usize = F_AGE + 5;
const F_WANTED: usize = F_OWN + 5;
const F_CATEGORY: usize = F_WANTED + 1;
/// A multiple of the vector registers' width.
pub(crate) const FEATURES: usize = 64;
const _: () = assert!(F_CATEGORY < FEATURES && FEATURES.is_multiple_of(8));

/// Contexts: how many items the history has.
pub(crate) const CONTEXTS: usize = 6;

pub(crate) fn context(history: usize) -> usize {
    match history {
        0 => 0,
        1 => 1,
        2..=3 => 2,
        4..=8 => 3,
        9..=20 => 4,
        _ => 5,
    }
}

/// Weights before anything was learnt: close to reciprocal-rank fusion, the personal channels
/// before the popular ones.
pub(crate) fn prior(feature: usize) -> f32 {
    if feature >= F_POPULARITY || feature % PER_CHANNEL != 2 {
        return 0.0;
    }
    match CHANNELS[feature / PER_CHANNEL] {
        Channel::CfNear | Channel::CfFar => 2.0,
        Channel::SessionKnn | Channel::UserKnn => 1.5,
        Channel::Recent | Channel::New | Channel::Trending => 0.0,
        _ => 0.5,
    }
}

impl Channel {
    /// The channel that a feature's part of the score is put down to.
    const fn of_feature(feature: usize) -> Self {
        match feature {
            f if f < F_POPULARITY => CHANNELS[f / PER_CHANNEL],
            f if f < F_POPULARITY + HALF_LIVES_MS.len() => {
                CHANNELS[Self::PopularHour.index() + f - F_POPULARITY]
            }
            f if f < F_AGE => Self::PopularEver,
            f if f < F_AGE + 3 => Self::Recent,
            f if f < F_OWN => Self::New,
            f if f < F_WANTED => Self::Again,
            F_CATEGORY => Self::Category,
            _ => Self::PopularEver,
        }
    }
}

/// The index of the channel that each feature's part of the score is put down to.
pub(crate) const CHANNEL_OF: [u8; FEATURES] = {
    let mut channels = [0; FEATURES];
    let mut feature = 0;
    while feature < FEATURES {
        channels[feature] = Channel::of_feature(feature).index() as u8;
        feature += 1;
    }
    channels
};

/// 1/(1 + rank/10).
const BY_RANK: [f32; CANDIDATES] = {
    let mut by_rank = [0.0; CANDIDATES];
    let mut rank = 0;
    while rank < CANDIDATES {
        by_rank[rank] = 1.0 / (1.0 + rank as f32 / 10.0);
        rank += 1;
    }
    by_rank
};

/// A score over the best one, and its logarithm.
#[inline(always)]
pub(crate) fn describe_share(of_best: f32) -> [f32; 2] {
    let log = 1.0 + ln(of_best.max(f32::MIN_POSITIVE)) / 4.0;
    [of_best, log.max(0.0)]
}

/// A channel names the item at `rank` (from 0, below [`CANDIDATES`]) with this share of the best score.
#[inline]
pub(crate) fn describe_rank(
    row: &mut [f32; FEATURES],
    channel: Channel,
    rank: usize,
    share: [f32; 2],
) {
    let at = channel.index() * PER_CHANNEL;
    [row[at], row[at + 1]] = share;
    row[at + 2] = BY_RANK.get(rank).copied().unwrap_or_default();
}

/// What is needed of an item for its features: a pure function of its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traits {
    last_ms: i64,
    first_ms: i64,
    popularity: [f64; HALF_LIVES_MS.len()],
    ln_events: f32,
    users: f32,
    wanted: f32,
    /// Bits of the handle of its category, 0 for none.
    category: u32,
    /// Bits of the item's handle, 0: nothing is known, [`Traits::FREE`]: there is no item.
    holder: u32,
}

impl Traits {
    const FREE: u32 = 1 << 24;
    /// Of an item that nothing is known of.
    pub(crate) const UNKNOWN: Self = Self {
        last_ms: 0,
        first_ms: 0,
        popularity: [0.0; HALF_LIVES_MS.len()],
        ln_events: 0.0,
        users: 0.0,
        wanted: 0.0,
        category: 0,
        holder: 0,
    };

    /// Of the item in a slot.
    pub(crate) fn of(slot: u32, item: Option<&ItemRecord>) -> Self {
        let Some(item) = item.filter(|item| !item.id.is_empty()) else {
            return Self {
                holder: Self::FREE,
                ..Self::UNKNOWN
            };
        };
        Self {
            holder: Handle::new(slot, item.generation).bits(),
            last_ms: item.last_ms,
            first_ms: item.first_ms,
            popularity: item.popularity,
            ln_events: ln(item.events as f32 + 1.0),
            users: item.users as f32,
            wanted: item.wanted as f32,
            category: item.category.map_or(0, Handle::bits),
        }
    }

    #[inline]
    pub(crate) fn is_known(&self) -> bool {
        self.holder != Self::UNKNOWN.holder
    }

    /// Of which category the item is.
    #[inline]
    pub(crate) fn category(&self) -> Option<Handle> {
        (self.category != 0).then(|| Handle::from_bits(self.category))
    }

    #[inline]
    pub(crate) fn are_of(&self, item: Handle) -> bool {
        self.holder == item.bits()
    }
}

/// What the features of all items are measured by, at one instant.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scales {
    now_ms: i64,
    /// For each half-life: the key of a count of 1/8 ...
    base: [f64; HALF_LIVES_MS.len()],
    /// ... and one over the log2 of the largest count, counted from there.
    per: [f64; HALF_LIVES_MS.len()],
    events: f32,
    wanted_share: f32,
}

const AGES: usize = F_OWN - F_AGE;
/// One over the time constants of an item's ages: three since its last event, two since its first; as
/// many as fill vector registers.
const PER_AGE: [f32; 8] = [
    1.0 / 3.6e6,
    1.0 / 8.64e7,
    1.0 / 2.592e9,
    1.0 / 8.64e7,
    1.0 / 2.592e9,
    0.0,
    0.0,
    0.0,
];

impl Scales {
    /// `best` are the largest keys of the boards.
    pub(crate) fn new(now_ms: i64, best: &[f64; BOARDS], wanted_share: f32) -> Self {
        let base = HALF_LIVES_MS.map(|half_life| now_ms as f64 / half_life - 3.0);
        let mut per = base;
        for (per, best) in per.iter_mut().zip(best) {
            *per = (best - *per).max(1.0).recip();
        }
        Self {
            now_ms,
            base,
            per,
            events: ln(best[BOARD_ALL_TIME] as f32 + 1.0).max(LN_2).recip(),
            wanted_share,
        }
    }
}

/// Describes an item but for [`describe_wanted`]; what comes back is for that.
#[inline]
pub(crate) fn describe_item(row: &mut [f32; FEATURES], item: &Traits, by: &Scales) -> f32 {
    let mut popularity = [0.0; HALF_LIVES_MS.len()];
    for (n, popularity) in popularity.iter_mut().enumerate() {
        // log2 of the decayed count, from 1/8 up, over that of the most popular item.
        *popularity = ((item.popularity[n] - by.base[n]).max(0.0) * by.per[n]) as f32;
    }
    row[F_POPULARITY..F_AGE - 1].copy_from_slice(&popularity);
    row[F_AGE - 1] = item.ln_events * by.events;
    let last = by.now_ms.saturating_sub(item.last_ms).max(0) as f32;
    let first = by.now_ms.saturating_sub(item.first_ms).max(0) as f32;
    let mut ages = [last, last, last, first, first, 0.0, 0.0, 0.0];
    for (age, per) in ages.iter_mut().zip(PER_AGE) {
        *age = exp(-*age * per);
    }
    row[F_AGE..F_OWN].copy_from_slice(&ages[..AGES]);
    // The share of its users for whom it was wanted, drawn towards the share of all.
    (item.wanted + 5.0 * by.wanted_share) / (item.users + 5.0) / by.wanted_share
}

/// The last step for all items at once: logarithms in vector registers.
pub(crate) fn describe_wanted(rows: &mut [[f32; FEATURES]], wanted: &mut [f32]) {
    for x in &mut *wanted {
        *x = ln(*x);
    }
    for (row, wanted) in rows.iter_mut().zip(wanted) {
        row[F_WANTED] = *wanted;
    }
}

/// The item's category has this share of the user's interest.
pub(crate) fn describe_interest(row: &mut [f32; FEATURES], share: f32) {
    row[F_CATEGORY] = share;
}

/// The item is the user's own, `rank`th from the latest.
pub(crate) fn describe_own(row: &mut [f32; FEATURES], rank: usize, touch: Option<&Touch>) {
    row[F_OWN] = 1.0;
    row[F_OWN + 1] = 1.0 / (1.0 + rank as f32);
    row[F_OWN + 2] = if rank == 0 { 1.0 } else { 0.0 };
    row[F_OWN + 3] = if rank == 1 { 1.0 } else { 0.0 };
    row[F_OWN + 4] = touch.map_or(0.0, |t| t.weight / 4.0);
}
