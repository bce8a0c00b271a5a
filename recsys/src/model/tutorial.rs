//! The tutorial's collaborative filtering, made sound: real co-interaction instead of a hash of
//! names, bounded work instead of a scan of all keys. Item-based similarity counts 0.8, user-based
//! 0.6, and where both name an item their scores are averaged.

use hashbrown::HashMap;

use crate::error::Result;
use crate::model::core::Model;
use crate::model::directory::{find_item, find_user};
use crate::model::handle::Handle;
use crate::model::history::{Past, Touch};
use crate::model::options::Seen;
use crate::model::query::{NO_CANDIDATE, Ranked};
use crate::model::records::Records;
use crate::model::scratch::keep_top;

/// What each of the two lists counts.
const ITEM_BASED: f32 = 0.8;
const USER_BASED: f32 = 0.6;
/// Ratings of the four strengths: view, click, like, purchase.
const RATINGS: [f32; 4] = [1.0, 2.0, 3.0, 5.0];
/// Items of the history, users for each, users taken, items of each list.
const ITEMS: usize = 20;
const PROBES: usize = 200;
const USERS: usize = 50;
const LIST: usize = 100;

type Sums = HashMap<Handle, f32, foldhash::fast::FixedState>;

fn rating(touch: &Touch) -> f32 {
    rating_of(touch.weight)
}

fn rating_of(weight: f32) -> f32 {
    let strength = (weight.round() as usize).clamp(1, RATINGS.len());
    RATINGS[strength - 1]
}

impl Model {
    /// The tutorial's list for a user: both kinds of collaborative filtering, combined.
    ///
    /// # Errors
    /// Those of the records.
    pub fn tutorial<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        k: usize,
        seen: Seen,
    ) -> Result<Vec<Ranked>> {
        let Some(handle) = find_user(r, user)? else {
            return Ok(Vec::new());
        };
        let (mut history, mut had) = (Vec::new(), Vec::new());
        if let Some(record) = r.user(handle.slot())? {
            history.extend(record.history.latest());
            if seen != Seen::Allow {
                had.clone_from(&record.seen);
                had.extend(history.iter().map(|t| t.item));
                had.sort_unstable();
            }
        }
        self.tutorial_of(r, &history, &had, Some(handle), k)
    }

    /// The same for a history that is not stored; most recent last.
    ///
    /// # Errors
    /// Those of the records.
    pub fn tutorial_for<R: Records>(
        &mut self,
        r: &mut R,
        history: &[(&str, f32)],
        k: usize,
    ) -> Result<Vec<Ranked>> {
        let mut touches: Vec<Touch> = Vec::new();
        for (id, weight) in history.iter().rev() {
            if let Some(item) = find_item(r, id)?
                && touches.iter().all(|t| t.item != item)
            {
                touches.push(Touch {
                    item,
                    weight: *weight,
                    at_ms: 0,
                });
            }
        }
        self.tutorial_of(r, &touches, &[], None, k)
    }

    fn tutorial_of<R: Records>(
        &mut self,
        r: &mut R,
        history: &[Touch],
        had: &[Handle],
        user: Option<Handle>,
        k: usize,
    ) -> Result<Vec<Ranked>> {
        let history = &history[..history.len().min(ITEMS)];
        let by_items = self.item_based(r, history, had)?;
        let by_users = self.user_based(r, history, had, user)?;
        let mut combined: Sums = by_items.into_iter().map(|(s, i)| (i, s)).collect();
        for (score, item) in by_users {
            combined
                .entry(item)
                .and_modify(|both| *both = (*both + score) / 2.0)
                .or_insert(score);
        }
        let mut ranked = Vec::with_capacity(combined.len());
        for (handle, score) in combined {
            let Some(record) = r.item(handle.slot())? else {
                continue;
            };
            if record.generation == handle.generation() && !record.id.is_empty() {
                ranked.push(Ranked {
                    id: record.id.to_string(),
                    score,
                    handle,
                    candidate: NO_CANDIDATE,
                });
            }
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        ranked.truncate(k);
        Ok(ranked)
    }

    /// Mean similarity to the user's items, weighted by their ratings.
    fn item_based<R: Records>(
        &mut self,
        r: &mut R,
        history: &[Touch],
        had: &[Handle],
    ) -> Result<Vec<(f32, Handle)>> {
        let total: f32 = history.iter().map(rating).sum();
        let mut sums = Sums::default();
        for touch in history {
            let part = rating(touch) / total.max(1.0);
            let mass = match r.item(touch.item.slot())? {
                Some(item) if item.generation == touch.item.generation() => item.mass.max(1.0),
                _ => continue,
            };
            let Some(row) = r.row(touch.item.slot())? else {
                continue;
            };
            for (other, [_, far]) in row.iter() {
                if had.binary_search(&other).is_err() {
                    *sums.entry(other).or_default() += part * far / mass.sqrt();
                }
            }
        }
        let mut list = Vec::with_capacity(sums.len());
        for (item, sum) in sums {
            let mass = r.item(item.slot())?.map_or(1.0, |i| i.mass.max(1.0));
            list.push((ITEM_BASED * (sum / mass.sqrt()).min(1.0), item));
        }
        keep_top(&mut list, LIST);
        Ok(list)
    }

    /// Ratings of the users with the most similar ratings (cosine), weighted by similarity.
    fn user_based<R: Records>(
        &mut self,
        r: &mut R,
        history: &[Touch],
        had: &[Handle],
        user: Option<Handle>,
    ) -> Result<Vec<(f32, Handle)>> {
        let mut shared = Sums::default();
        for touch in history {
            if let Some(item) = r.item(touch.item.slot())? {
                for other in item.latest_users().take(PROBES) {
                    if Some(other) != user {
                        *shared.entry(other).or_default() += rating(touch);
                    }
                }
            }
        }
        let mut users: Vec<(f32, Handle)> = shared.into_iter().map(|(h, s)| (s, h)).collect();
        keep_top(&mut users, USERS);
        let own: f32 = history.iter().map(|t| rating(t) * rating(t)).sum();
        let (mut sums, mut total) = (Sums::default(), 0.0);
        for (_, other) in users {
            let Some(record) = r.user(other.slot())? else {
                continue;
            };
            let past = record.history.items();
            let squared = |(_, weight): &Past| rating_of(*weight) * rating_of(*weight);
            let theirs: f32 = past.iter().map(squared).sum();
            let product: f32 = past
                .iter()
                .filter_map(|(item, weight)| {
                    let mine = history.iter().find(|h| h.item == *item)?;
                    Some(rating(mine) * rating_of(*weight))
                })
                .sum();
            let similarity = product / (own * theirs).sqrt().max(1.0);
            if similarity <= 0.0 {
                continue;
            }
            total += similarity;
            for (item, weight) in past {
                if had.binary_search(item).is_err() {
                    *sums.entry(*item).or_default() += similarity * rating_of(*weight) / 5.0;
                }
            }
        }
        let scale = USER_BASED / f32::max(total, f32::MIN_POSITIVE);
        let mut list: Vec<_> = sums.into_iter().map(|(i, sum)| (sum * scale, i)).collect();
        keep_top(&mut list, LIST);
        Ok(list)
    }
}
