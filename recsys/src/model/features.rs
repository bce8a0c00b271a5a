//! What the fusion sees of a candidate: for each channel the score over the best score, the
//! logarithm of that (1 at the best, 0 from e^-4 down) and 1/(1 + rank/10), all 0 where the channel
//! does not name the item; then what is known of the item itself.

use std::f32::consts::LN_2;

use crate::model::channel::{CHANNELS, Channel};
use crate::model::math::{exp, ln};
use crate::model::records::{BOARD_ALL_TIME, BOARDS, HALF_LIVES_MS, ItemRecord, Touch};

pub(crate) const PER_CHANNEL: usize = 3;
const F_POPULARITY: usize = CHANNELS.len() * PER_CHANNEL;
const F_AGE: usize = F_POPULARITY + HALF_LIVES_MS.len() + 1;
const F_OWN: usize = F_AGE + 5;
const F_WANTED: usize = F_OWN + 5;
/// A multiple of the vector registers' width.
pub(crate) const FEATURES: usize = 56;
const _: () = assert!(F_WANTED < FEATURES && FEATURES.is_multiple_of(8));

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
        Channel::Recent | Channel::New => 0.0,
        _ => 0.5,
    }
}

impl Channel {
    /// The channel that a feature's part of the score is put down to.
    pub(crate) fn of_feature(feature: usize) -> Self {
        match feature {
            f if f < F_POPULARITY => CHANNELS[f / PER_CHANNEL],
            f if f < F_POPULARITY + HALF_LIVES_MS.len() => {
                CHANNELS[Self::PopularHour.index() + f - F_POPULARITY]
            }
            f if f < F_AGE => Self::PopularEver,
            f if f < F_AGE + 3 => Self::Recent,
            f if f < F_OWN => Self::New,
            f if f < F_WANTED => Self::Again,
            _ => Self::PopularEver,
        }
    }
}

/// A channel names the item at `rank` (from 0).
pub(crate) fn describe_rank(
    row: &mut [f32; FEATURES],
    channel: Channel,
    rank: usize,
    share_of_best: f32,
) {
    let at = channel.index() * PER_CHANNEL;
    row[at] = share_of_best;
    row[at + 1] = (1.0 + ln(share_of_best.max(f32::MIN_POSITIVE)) / 4.0).max(0.0);
    row[at + 2] = 1.0 / (1.0 + rank as f32 / 10.0);
}

pub(crate) fn describe_item(
    row: &mut [f32; FEATURES],
    item: &ItemRecord,
    now_ms: i64,
    best: &[f64; BOARDS],
    wanted_share: f32,
) {
    for (n, (key, half_life)) in item.popularity.iter().zip(HALF_LIVES_MS).enumerate() {
        // log2 of the decayed count, from 1/8 up, over that of the most popular item.
        let base = now_ms as f64 / half_life - 3.0;
        let most = (best[n] - base).max(1.0);
        row[F_POPULARITY + n] = ((key - base).max(0.0) / most) as f32;
    }
    let most = ln(best[BOARD_ALL_TIME] as f32 + 1.0).max(LN_2);
    row[F_AGE - 1] = ln(item.events as f32 + 1.0) / most;
    let age = now_ms.saturating_sub(item.last_ms).max(0) as f32;
    for (n, tau_ms) in [3.6e6_f32, 8.64e7, 2.592e9].into_iter().enumerate() {
        row[F_AGE + n] = exp(-age / tau_ms);
    }
    let age = now_ms.saturating_sub(item.first_ms).max(0) as f32;
    for (n, tau_ms) in [8.64e7_f32, 2.592e9].into_iter().enumerate() {
        row[F_AGE + 3 + n] = exp(-age / tau_ms);
    }
    // The share of its users for whom it was wanted, drawn towards the share of all.
    let wanted = (item.wanted as f32 + 5.0 * wanted_share) / (item.users as f32 + 5.0);
    row[F_WANTED] = ln(wanted / wanted_share);
}

/// The item is the user's own, `rank`th from the latest.
pub(crate) fn describe_own(row: &mut [f32; FEATURES], rank: usize, touch: Option<&Touch>) {
    row[F_OWN] = 1.0;
    row[F_OWN + 1] = 1.0 / (1.0 + rank as f32);
    row[F_OWN + 2] = if rank == 0 { 1.0 } else { 0.0 };
    row[F_OWN + 3] = if rank == 1 { 1.0 } else { 0.0 };
    row[F_OWN + 4] = touch.map_or(0.0, |t| t.weight / 4.0);
}
