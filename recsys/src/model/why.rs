//! Where a score comes from.

use crate::error::Result;
use crate::model::channel::Channel;
use crate::model::core::Model;
use crate::model::math::exp;
use crate::model::options::{QUERY_FAR, QUERY_ITEMS, QUERY_NEAR};
use crate::model::query::Ranked;
use crate::model::records::Records;
use crate::recommendation::{Contribution, Source};

/// Why an item is where it is in a list.
#[derive(Clone, Debug, PartialEq)]
pub struct Why {
    /// What contributed most, personal sources first where they say anything.
    pub source: Source,
    /// The item of the user's history that it follows from most, and the weight it has there.
    pub because: Option<(String, f32)>,
    /// What each source contributed, largest first, those of nothing left out.
    pub contributions: Vec<Contribution>,
}

impl Model {
    /// Explains an item of the list that the last query of this model returned.
    ///
    /// # Errors
    /// Those of the records.
    pub fn why<R: Records>(&mut self, r: &mut R, ranked: &Ranked) -> Result<Why> {
        let parts = self.parts(r, ranked.candidate)?;
        let mut contributions: Vec<Contribution> = Vec::new();
        for (channel, part) in super::CHANNELS.into_iter().zip(parts) {
            let source = channel.source();
            match contributions.iter_mut().find(|c| c.source == source) {
                Some(sum) => sum.score += part,
                None => contributions.push(Contribution {
                    source,
                    score: part,
                }),
            }
        }
        contributions.retain(|c| c.score != 0.0);
        contributions.sort_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| a.source.cmp(&b.source))
        });
        let because = self.because(r, ranked)?;
        // Only a source that named the item can be its reason.
        let named: Vec<Source> = match self.gather.candidates.get(ranked.candidate) {
            Some(candidate) => super::CHANNELS
                .iter()
                .filter(|c| candidate.named_by(c.index()))
                .map(|c| c.source())
                .collect(),
            None => Vec::new(),
        };
        let source = contributions
            .iter()
            .map(|c| c.source)
            .find(|source| named.contains(source))
            .unwrap_or(if because.is_some() {
                Source::ItemCf
            } else if self.gather.is_named(ranked.handle, Channel::UserKnn) {
                Source::UserKnn
            } else {
                Source::Popular
            });
        Ok(Why {
            source,
            because,
            contributions,
        })
    }

    /// The item of the history that adds most to the co-interaction score.
    fn because<R: Records>(&mut self, r: &mut R, ranked: &Ranked) -> Result<Option<(String, f32)>> {
        let mut best: Option<(f32, usize)> = None;
        for rank in 0..self.gather.history.len().min(QUERY_ITEMS) {
            let touch = self.gather.history[rank];
            if touch.item == ranked.handle {
                continue;
            }
            let Some(row) = r.row(touch.item.slot())? else {
                continue;
            };
            let [near, far] = row.counts(ranked.handle);
            if near + far <= 0.0 {
                continue;
            }
            let facts = self.gather.facts(r, touch.item.slot())?;
            let root = facts.map_or(1.0, |facts| facts.inverse_root);
            let rank_f = rank as f32;
            let decayed = near * exp(-rank_f / QUERY_NEAR) + far * exp(-rank_f / QUERY_FAR);
            let part = decayed * touch.weight * root;
            if best.is_none_or(|(most, _)| part > most) {
                best = Some((part, rank));
            }
        }
        let Some((_, rank)) = best else {
            return Ok(None);
        };
        let touch = self.gather.history[rank];
        Ok(r.item(touch.item.slot())?
            .map(|item| (item.id.to_string(), touch.weight)))
    }
}
