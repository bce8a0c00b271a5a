//! Nearest neighbours among the users (or sessions) that touched the query's items lately.

use crate::error::Result;
use crate::model::handle::Handle;
use crate::model::history::Touch;
use crate::model::math::exp;
use crate::model::options::{
    KNN_AGE_MS, KNN_DISTANCE, KNN_ITEMS, KNN_NEIGHBOURS, KNN_PROBES, KNN_SESSION_DECAY,
    KNN_USER_DECAY,
};
use crate::model::peers::{Peer, Peers, position};
use crate::model::records::Records;
use crate::model::scratch::{Neighbour, Neighbours};
use crate::model::sums::{Facts, Sums};

/// How far ahead of where it adds it has histories read.
const AHEAD: usize = 3;

/// Finds them and adds up what they have; its memory is reused from query to query.
#[derive(Clone, Debug)]
pub(crate) struct Crowd {
    pub(crate) peers: Peers,
    people: Neighbours,
    nearest: Vec<Neighbour>,
    slots: Vec<u32>,
    /// How much a neighbour's item counts, by its distance to the match: as many as a history has.
    nearness: Vec<f32>,
}

impl Default for Crowd {
    fn default() -> Self {
        let nearness = (0..1_000).map(|distance| {
            let distance = distance as f32;
            1.0 / (1.0 + distance * distance * KNN_DISTANCE)
        });
        Self {
            peers: Peers::default(),
            people: Neighbours::default(),
            nearest: Vec::new(),
            slots: Vec::new(),
            nearness: nearness.collect(),
        }
    }
}

impl Crowd {
    /// Adds the items of those nearest to a history (most recent first), as users and as sessions.
    pub(crate) fn add_to<'a, R: Records>(
        &mut self,
        sums: &mut Sums,
        r: &mut R,
        user: Option<Handle>,
        history: impl Iterator<Item = (&'a Touch, &'a Facts)>,
    ) -> Result<()> {
        let now_ms = r.global()?.map_or(0, |global| global.now_ms);
        self.find(r, user, history)?;
        self.bring_near(r)?;
        for at in 0..self.nearest.len() {
            if let Some(next) = self.nearest.get(at + AHEAD) {
                self.peers.prefetch(next.who);
            }
            let neighbour = self.nearest[at];
            if self.peers.get(neighbour.who).is_none() {
                // Another neighbour has its place, or there is no such user any more.
                self.look_up(r, neighbour.who)?;
            }
            if let Some(peer) = self.peers.get(neighbour.who) {
                add_one(sums, &neighbour, peer, now_ms, &self.nearness);
                sums.catch_up(r)?;
            }
        }
        Ok(())
    }

    fn find<'a, R: Records>(
        &mut self,
        r: &mut R,
        user: Option<Handle>,
        history: impl Iterator<Item = (&'a Touch, &'a Facts)>,
    ) -> Result<()> {
        self.people.clear();
        for (rank, (touch, facts)) in history.take(KNN_ITEMS).enumerate() {
            let session = exp(-(rank as f32) / KNN_SESSION_DECAY) * facts.idf;
            let people = exp(-(rank as f32) / KNN_USER_DECAY) * touch.weight * facts.idf;
            let Some(item) = r.item(touch.item.slot())? else {
                continue;
            };
            let mut left = KNN_PROBES;
            for part in item.users_touched() {
                for other in part.iter().rev().take(left) {
                    if Some(*other) != user {
                        self.people.add(*other, touch.item, people, session);
                    }
                }
                left = left.saturating_sub(part.len());
            }
        }
        self.people.nearest(KNN_NEIGHBOURS, &mut self.nearest);
        Ok(())
    }

    /// Has the histories that are not at hand read all at once.
    fn bring_near<R: Records>(&mut self, r: &mut R) -> Result<()> {
        let missing = self.nearest.iter().map(|neighbour| neighbour.who);
        let missing = missing.filter(|who| self.peers.get(*who).is_none());
        self.slots.clear();
        self.slots.extend(missing.map(Handle::slot));
        r.prefetch_users(&self.slots)?;
        for slot in &self.slots {
            if let Some(user) = r.user(*slot)? {
                user.history.prefetch();
            }
        }
        Ok(())
    }

    fn look_up<R: Records>(&mut self, r: &mut R, who: Handle) -> Result<()> {
        if let Some(user) = r.user(who.slot())?
            && user.generation == who.generation()
        {
            self.peers.put(who, user);
        }
        Ok(())
    }
}

/// Adds the items of one neighbour.
#[inline(never)]
fn add_one(sums: &mut Sums, neighbour: &Neighbour, peer: &Peer, now_ms: i64, nearness: &[f32]) {
    let (items, weights) = peer.history();
    let root = (items.len() as f32).sqrt();
    let age = now_ms.saturating_sub(peer.last_ms).max(0) as f32;
    let people = neighbour.people / root;
    let session = neighbour.session / root / (1.0 + age / KNN_AGE_MS);
    // The shared item may have fallen out of their history: then nothing is near it.
    let met = position(items, neighbour.shared.bits());
    let (met, session) = met.map_or((0, 0.0), |met| (met, session));
    let (before, after) = items.split_at(met);
    let (weights_before, weights_after) = weights.split_at(met);
    // After the match comes what followed it: the match itself is at 0.
    let nearness_before = nearness.get(1..=met).unwrap_or_default();
    let by = |weight: &u32, near: &f32| [people * f32::from_bits(*weight), session * near];
    let before = before
        .iter()
        .zip(weights_before)
        .zip(nearness_before.iter().rev());
    let after = after.iter().zip(weights_after).zip(nearness);
    sums.add(before.map(|((item, weight), near)| (*item, by(weight, near))));
    sums.add(after.map(|((item, weight), near)| (*item, by(weight, near))));
}
