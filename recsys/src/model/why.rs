//! Where a score comes from.

use crate::error::Result;
use crate::model::channel::Channel;
use crate::model::core::Model;
use crate::model::directory::find_item;
use crate::model::features::{FEATURES, PER_CHANNEL};
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
        let mut whys = self.whys(r, std::slice::from_ref(ranked))?;
        Ok(whys.pop().unwrap_or(Why {
            source: Source::Popular,
            because: None,
            contributions: Vec::new(),
        }))
    }

    /// Explains items of the list that the last query of this model returned, in their order: all
    /// at once costs little more than one.
    ///
    /// # Errors
    /// Those of the records.
    pub fn whys<'a, R: Records>(
        &mut self,
        r: &mut R,
        list: impl IntoIterator<Item = &'a Ranked> + Clone,
    ) -> Result<Vec<Why>> {
        let weights = self.weights(r)?;
        let because = self.because(r, list.clone())?;
        let whys = list.into_iter().zip(because);
        let whys = whys.map(|(ranked, because)| {
            let contributions = self.contributions(&weights, ranked);
            // Only a source that named the item can be its reason.
            let named = self.named(ranked);
            let source = contributions
                .iter()
                .map(|c| c.source)
                .find(|source| named >> *source as u32 & 1 == 1)
                .unwrap_or(if because.is_some() {
                    Source::ItemCf
                } else if self.gather.is_named(ranked.handle, Channel::UserKnn) {
                    Source::UserKnn
                } else {
                    Source::Popular
                });
            Why {
                source,
                because,
                contributions,
            }
        });
        let whys = whys.collect();
        Ok(whys)
    }

    /// The rank, from 1, that one channel alone gives an item among the candidates of the last
    /// query.
    ///
    /// # Errors
    /// Those of the records.
    pub fn rank_by<R: Records>(
        &mut self,
        r: &mut R,
        item: &str,
        channel: Channel,
    ) -> Result<Option<usize>> {
        let Some(item) = find_item(r, item)? else {
            return Ok(None);
        };
        let mut candidates = self.gather.candidates.iter().zip(&self.gather.features);
        let named = candidates
            .find(|(c, _)| c.item == item && c.named_by(channel.index()))
            .map(|(_, row)| row[channel.index() * PER_CHANNEL + 2]);
        // See `describe_rank`.
        Ok(named.map(|share| (10.0 / share - 10.0).round() as usize + 1))
    }

    /// The sources whose channels named a candidate, a bit each.
    #[inline(never)]
    fn named(&self, ranked: &Ranked) -> u32 {
        let Some(candidate) = self.gather.candidates.get(ranked.candidate) else {
            return 0;
        };
        let channels = super::CHANNELS.into_iter();
        channels
            .filter(|c| candidate.named_by(c.index()))
            .fold(0, |named, c| named | 1 << c.source() as u32)
    }

    /// What each source adds to the score of a candidate, largest first.
    #[inline(never)]
    fn contributions(&self, weights: &[f32; FEATURES], ranked: &Ranked) -> Vec<Contribution> {
        let mut sums: [Option<f32>; Source::ALL.len()] = [None; Source::ALL.len()];
        for (channel, part) in super::CHANNELS
            .into_iter()
            .zip(self.parts(weights, ranked.candidate))
        {
            *sums[channel.source() as usize].get_or_insert(0.0) += part;
        }
        let mut contributions: Vec<Contribution> = Source::ALL
            .into_iter()
            .zip(sums)
            .filter_map(|(source, sum)| {
                let score = sum.filter(|sum| *sum != 0.0)?;
                Some(Contribution { source, score })
            })
            .collect();
        contributions.sort_unstable_by(|a, b| {
            b.score
                .total_cmp(&a.score)
                .then_with(|| a.source.cmp(&b.source))
        });
        contributions
    }

    /// For each item the one of the history that adds most to its co-interaction score.
    fn because<'a, R: Records>(
        &mut self,
        r: &mut R,
        list: impl IntoIterator<Item = &'a Ranked> + Clone,
    ) -> Result<Vec<Option<(String, f32)>>> {
        let mut best: Vec<Option<(f32, usize)>> = vec![None; list.clone().into_iter().count()];
        for rank in 0..self.gather.history.len().min(QUERY_ITEMS) {
            let touch = self.gather.history[rank];
            let facts = self.gather.facts(r, touch.item.slot())?;
            let root = facts.map_or(1.0, |facts| facts.inverse_root);
            let Some(row) = r.row(touch.item.slot())? else {
                continue;
            };
            let rank_f = rank as f32;
            let (short, long) = (exp(-rank_f / QUERY_NEAR), exp(-rank_f / QUERY_FAR));
            for ranked in list.clone() {
                row.prefetch_place(ranked.handle);
            }
            for ranked in list.clone() {
                row.prefetch_entry(ranked.handle);
            }
            for (ranked, best) in list.clone().into_iter().zip(&mut best) {
                let [near, far] = row.counts(ranked.handle);
                if near + far <= 0.0 || touch.item == ranked.handle {
                    continue;
                }
                let part = (near * short + far * long) * touch.weight * root;
                if best.is_none_or(|(most, _)| part > most) {
                    *best = Some((part, rank));
                }
            }
        }
        best.into_iter()
            .map(|best| {
                let Some(touch) = best.and_then(|(_, rank)| self.gather.history.get(rank)) else {
                    return Ok(None);
                };
                let item = r.item(touch.item.slot())?;
                Ok(item.map(|item| (item.id.to_string(), touch.weight)))
            })
            .collect()
    }
}
