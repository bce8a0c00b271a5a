//! From the model's ranking to the list that is shown: rules, diversity, exploration.

use hashbrown::HashMap;

use crate::catalogue::UNKNOWN_CATEGORY;
use crate::error::{Error, Result};
use crate::model::{Ask, Ranked, Ranking, Records, Seen};
use crate::serve::random::{Random, hash};
use crate::serve::recommender::{Chosen, Engine};
use crate::serve::request::{MAX_ITEMS, Request};
use crate::serve::rules::{Exploration, Rules, SeenRule, Verdict};

/// Diversity and caps look at so many of the best.
const DIVERSITY_POOL: usize = 100;

/// The rules and the source that hold for one request.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) rules: Rules,
    ranking: Ranking,
}

impl Terms {
    pub(crate) fn ask(&self) -> Ask {
        let seen = match self.rules.seen {
            SeenRule::Exclude => Seen::Exclude,
            SeenRule::ExcludeForMs(ms) => Seen::ExcludeForMs(i64::try_from(ms).unwrap_or(i64::MAX)),
            SeenRule::Allow => Seen::Allow,
        };
        Ask {
            seen,
            ranking: self.ranking,
        }
    }
}

impl Engine {
    /// The request's own rules, or those of the user's variants, or the general ones.
    pub(crate) fn terms<R: Records>(&mut self, r: &mut R, request: &Request) -> Result<Terms> {
        let mut terms = Terms {
            rules: Rules::default(),
            ranking: self.ranking,
        };
        if let Some(settings) = r.settings()? {
            terms.rules.clone_from(&settings.rules);
            for (experiment, _) in &settings.experiments {
                let bucket = experiment.bucket(request.user_id.as_str());
                let Some(variant) = experiment.variants.get(bucket) else {
                    continue;
                };
                if let Some(rules) = &variant.rules {
                    terms.rules.clone_from(rules);
                }
                if let Some(channel) = &variant.channel {
                    terms.ranking = channel.parse()?;
                }
            }
        }
        if let Some(rules) = &request.rules {
            rules.validate()?;
            terms.rules.clone_from(rules);
        }
        Ok(terms)
    }

    pub(crate) fn choose<R: Records>(
        &mut self,
        r: &mut R,
        request: &Request,
        seed: u64,
    ) -> Result<Vec<Chosen>> {
        if request.k > MAX_ITEMS {
            return Err(Error::invalid(
                "k",
                format!("at most {MAX_ITEMS} are allowed"),
            ));
        }
        let terms = self.terms(r, request)?;
        let user = request.user_id.as_str();
        let plain = request.categories.is_empty()
            && request.exclude.is_empty()
            && terms.rules.change_nothing();
        if plain && request.k <= 50 {
            let ranked = self.model.recommend_with(r, user, request.k, terms.ask())?;
            if ranked.len() == request.k {
                // Only what the catalogue hides is left to be sorted out.
                let mut hidden = false;
                for item in &ranked {
                    hidden |= judge(r, request, &terms.rules, &item.id)?.is_err();
                }
                if !hidden {
                    return Ok(ranked.into_iter().map(|item| (item, false)).collect());
                }
            }
        }
        let ranked = self
            .model
            .recommend_with(r, user, usize::MAX, terms.ask())?;
        let mut pool = Vec::new();
        for mut item in ranked {
            if judge(r, request, &terms.rules, &item.id)?.is_ok() {
                item.score += terms.rules.boost(&item.id, r.catalogue_item(&item.id)?);
                pool.push(item);
            }
        }
        sort(&mut pool);
        if pool.len() < request.k {
            // The fallback chain ends with everything on any board.
            for item in self.model.fallback(r, &pool)? {
                if judge(r, request, &terms.rules, &item.id)?.is_ok() {
                    pool.push(item);
                }
            }
        }
        let mut list = self.diversify(r, pool.clone(), request.k, &terms.rules)?;
        let events = self.model.events();
        let seed = hash(&[user.as_bytes(), &events.to_le_bytes(), &seed.to_le_bytes()]);
        self.explore(r, &mut list, &pool, &terms.rules, seed)?;
        Ok(list)
    }

    /// Takes the best one by one, each held back for being like those above it.
    fn diversify<R: Records>(
        &mut self,
        r: &mut R,
        mut pool: Vec<Ranked>,
        k: usize,
        rules: &Rules,
    ) -> Result<Vec<Chosen>> {
        let (cap, diversity) = (rules.per_category, rules.diversity);
        if cap == 0 && diversity == 0.0 {
            pool.truncate(k);
            return Ok(pool.into_iter().map(|item| (item, false)).collect());
        }
        if diversity > 0.0 {
            pool.truncate(DIVERSITY_POOL.max(k));
        }
        let mut categories = Vec::with_capacity(pool.len());
        for item in &pool {
            categories.push(category(r, &item.id)?);
        }
        // Scores are logarithms of odds: their spread over the pool is the scale of the penalty.
        let best = pool.first().map_or(0.0, |i| i.score);
        let scale = pool.last().map_or(1.0, |i| best - i.score).max(1e-6);
        let mut penalty = vec![0.0_f32; pool.len()];
        let mut taken = vec![false; pool.len()];
        let mut count: HashMap<String, usize, foldhash::fast::FixedState> = HashMap::default();
        let mut list = Vec::new();
        while list.len() < k.min(pool.len()) {
            let mut next: Option<(f32, usize)> = None;
            for (n, item) in pool.iter().enumerate() {
                let full = cap > 0
                    && categories[n] != UNKNOWN_CATEGORY
                    && count.get(&categories[n]).is_some_and(|c| *c >= cap);
                if taken[n] || full {
                    continue;
                }
                let relevance = (item.score - best) / scale;
                let value = (1.0 - diversity) * relevance - diversity * penalty[n];
                if next.is_none_or(|(most, _)| value > most) {
                    next = Some((value, n));
                }
            }
            let Some((_, chosen)) = next else { break };
            taken[chosen] = true;
            *count.entry(categories[chosen].clone()).or_default() += 1;
            if diversity > 0.0 {
                for n in 0..pool.len() {
                    if !taken[n] {
                        let alike = self.model.similarity(r, &pool[chosen], &pool[n])?;
                        let same = categories[n] == categories[chosen]
                            && categories[n] != UNKNOWN_CATEGORY;
                        let alike = alike.max(if same { 0.5 } else { 0.0 });
                        penalty[n] = penalty[n].max(alike);
                    }
                }
            }
            list.push((pool[chosen].clone(), false));
        }
        Ok(list)
    }

    /// Gives places to new items.
    fn explore<R: Records>(
        &mut self,
        r: &mut R,
        list: &mut [Chosen],
        pool: &[Ranked],
        rules: &Rules,
        seed: u64,
    ) -> Result<()> {
        let mut random = Random::new(seed);
        let new = |list: &[Chosen], item: &Ranked| list.iter().all(|(l, _)| l.id != item.id);
        match rules.exploration {
            Exploration::Off => {}
            Exploration::Epsilon(share) => {
                for place in 1..list.len() {
                    if random.uniform() >= f64::from(share) {
                        continue;
                    }
                    let fresh: Vec<&Ranked> = pool
                        .iter()
                        .filter(|i| self.model.is_new(i) && new(list, i))
                        .collect();
                    let pick = (random.uniform() * fresh.len() as f64) as usize;
                    if let Some(item) = fresh.get(pick) {
                        list[place] = ((*item).clone(), true);
                    }
                }
            }
            Exploration::Thompson(places) => {
                let from = list.len().saturating_sub(places).max(1);
                let mut draws = Vec::new();
                for item in pool {
                    if self.model.is_new(item) && new(&list[..from.min(list.len())], item) {
                        let (shown, taken) = self.model.impressions(r, item)?;
                        let misses = shown.saturating_sub(taken);
                        let draw = random.beta(1.0 + f64::from(taken), 1.0 + f64::from(misses));
                        draws.push((draw, item));
                    }
                }
                draws.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.id.cmp(&b.1.id)));
                for (place, (_, item)) in (from..list.len()).zip(draws) {
                    // An item that would have been further down anyway comes to this place instead.
                    list[place] = (item.clone(), true);
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn judge<R: Records>(
    r: &mut R,
    request: &Request,
    rules: &Rules,
    id: &str,
) -> Result<Result<(), Verdict>> {
    let item = r.catalogue_item(id)?;
    let category = item.map_or(UNKNOWN_CATEGORY, |i| &i.category);
    if !request.categories.is_empty() && !request.categories.contains(category) {
        return Ok(Err(Verdict::Category(category.to_owned())));
    }
    if request.exclude.iter().any(|e| e.as_str() == id) {
        return Ok(Err(Verdict::Denied));
    }
    Ok(rules.judge(id, item))
}

fn category<R: Records>(r: &mut R, id: &str) -> Result<String> {
    Ok(r.catalogue_item(id)?
        .map_or(UNKNOWN_CATEGORY, |i| &i.category)
        .to_owned())
}

fn sort(pool: &mut [Ranked]) {
    pool.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
}
