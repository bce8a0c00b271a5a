//! What was shown, and whether it was acted upon.

use crate::error::Result;
use crate::model::channel::Channel;
use crate::model::core::Model;
use crate::model::directory::{find_item, find_user};
use crate::model::query::Ranked;
use crate::model::records::Records;

/// The most impressions remembered for a user.
const MAX_SHOWN: usize = 50;

impl Model {
    /// Notes that items were shown to a user; returns how many of them count: those the model
    /// knows, shown to a user it knows.
    pub(crate) fn note_impressions<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        items: &[&str],
        at_ms: i64,
    ) -> Result<u64> {
        let Some(user) = find_user(r, user)? else {
            return Ok(0);
        };
        let mut noted = 0;
        for id in items.iter().take(MAX_SHOWN) {
            let Some(item) = find_item(r, id)? else {
                continue;
            };
            r.update_item(item.slot(), |i| i.shown = i.shown.saturating_add(1))?;
            r.update_user(user.slot(), |u| {
                u.shown.retain(|(shown, _)| *shown != item);
                if u.shown.len() >= MAX_SHOWN {
                    u.shown.remove(0);
                }
                u.shown.push((item, at_ms));
            })?;
            noted += 1;
        }
        Ok(noted)
    }

    /// Whether the item was shown to the user in the time before; an impression counts once.
    pub(crate) fn take_impression<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        item: &str,
        at_ms: i64,
        within_ms: i64,
    ) -> Result<bool> {
        let Some(user) = find_user(r, user)? else {
            return Ok(false);
        };
        if r.user(user.slot())?.is_none_or(|u| u.shown.is_empty()) {
            return Ok(false);
        }
        let Some(item) = find_item(r, item)? else {
            return Ok(false);
        };
        let taken = r.update_user(user.slot(), |u| {
            let at = u.shown.iter().position(|(shown, _)| *shown == item)?;
            let (_, shown_ms) = u.shown.remove(at);
            let after = at_ms.saturating_sub(shown_ms);
            (0..=within_ms).contains(&after).then_some(())
        })?;
        if taken.is_some() {
            r.update_item(item.slot(), |i| i.taken = i.taken.saturating_add(1))?;
        }
        Ok(taken.is_some())
    }

    /// How often an item was shown and acted upon.
    pub(crate) fn impressions<R: Records>(
        &mut self,
        r: &mut R,
        item: &Ranked,
    ) -> Result<(u32, u32)> {
        Ok(r.item(item.handle.slot())?
            .map_or((0, 0), |i| (i.shown, i.taken)))
    }

    /// Whether a candidate of the last query is among the items first seen last.
    pub(crate) fn is_new(&self, item: &Ranked) -> bool {
        let candidate = self.gather.candidates.get(item.candidate);
        candidate.is_some_and(|c| c.named_by(Channel::New.index()))
    }
}
