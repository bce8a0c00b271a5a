use crate::error::Result;
use crate::model::channel::CHANNELS;
use crate::model::core::Model;
use crate::model::directory::{find_item, find_user};
use crate::model::features::{CHANNEL_OF, FEATURES, PER_CHANNEL, context};
use crate::model::fusion::dot;
use crate::model::handle::Handle;
use crate::model::history::Touch;
use crate::model::options::Seen;
use crate::model::ranking::Ranking;
use crate::model::records::Records;

/// How a query is to be answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// What of the items the user has had.
    pub seen: Seen,
    /// What puts them in order.
    pub ranking: Ranking,
}

/// An item with its score and where the score comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    /// The item.
    pub id: String,
    /// The higher the better, within one list.
    pub score: f32,
    pub(crate) handle: Handle,
    /// Its place among the candidates of the query.
    pub(crate) candidate: usize,
}

/// The larger a number, the smaller this.
fn descending(score: f32) -> u32 {
    // Of negative numbers all bits are turned, of others the sign: the order of `total_cmp`.
    let bits = score.to_bits();
    match bits >> 31 {
        0 => !(bits | 1 << 31),
        _ => bits,
    }
}

/// The place of an item that was no candidate.
pub(crate) const NO_CANDIDATE: usize = usize::MAX;

/// Where an item stands for a user.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Standing {
    Unknown,
    Seen,
    NoCandidate,
    /// From 1, by score alone.
    Ranked {
        rank: usize,
        item: Ranked,
    },
}

impl Model {
    /// Takes the history of a user into `gather`, and what is to be left out.
    fn load_history<R: Records>(
        &mut self,
        r: &mut R,
        user: Option<Handle>,
        seen: Seen,
    ) -> Result<()> {
        self.gather.start();
        let now_ms = r.global()?.map_or(0, |g| g.now_ms);
        let Some(user) = user else { return Ok(()) };
        let Some(record) = r.user(user.slot())? else {
            return Ok(());
        };
        self.gather.history.extend(record.history.latest());
        match seen {
            Seen::Allow => {}
            Seen::Exclude => {
                let history = record.history.items().iter().map(|(item, _)| item);
                for item in record.seen.iter().chain(history) {
                    self.gather.exclude(*item);
                }
            }
            Seen::ExcludeForMs(ms) => {
                let since = now_ms.saturating_sub(ms);
                for touch in record.history.latest().filter(|t| t.at_ms >= since) {
                    self.gather.exclude(touch.item);
                }
            }
        }
        Ok(())
    }

    /// Candidates with features and scores for a user as of now, unless they are there already. With
    /// an item that is `wanted` only if that is a candidate; returns its place.
    pub(crate) fn prepare<R: Records>(
        &mut self,
        r: &mut R,
        user: Option<Handle>,
        ask: Ask,
        wanted: Option<Handle>,
    ) -> Result<Option<usize>> {
        let query = (user, ask, self.events);
        if self.gathered != Some(query) {
            self.gathered = None;
            self.load_history(r, user, ask.seen)?;
            self.gather.name(r, user)?;
            if wanted.is_some_and(|item| self.gather.place_of(item).is_none()) {
                return Ok(None);
            }
            self.gather.describe(r)?;
            self.score(r, ask.ranking)?;
            self.gathered = Some(query);
        }
        Ok(wanted.and_then(|item| self.gather.place_of(item)))
    }

    fn score<R: Records>(&mut self, r: &mut R, ranking: Ranking) -> Result<()> {
        self.scores.clear();
        if let Ranking::Only(only) = ranking {
            let at = only.index();
            let rows = self.gather.features.iter().zip(&self.gather.candidates);
            self.scores
                .extend(rows.map(|(row, candidate)| match candidate.named_by(at) {
                    true => row[at * PER_CHANNEL],
                    false => f32::NEG_INFINITY,
                }));
            return Ok(());
        }
        let weights = self.weights(r)?;
        self.scores
            .extend(self.gather.features.iter().map(|row| dot(&weights, row)));
        Ok(())
    }

    /// The fusion's weights for the history in `gather`.
    pub(crate) fn weights<R: Records>(&mut self, r: &mut R) -> Result<[f32; FEATURES]> {
        let context = context(self.gather.history.len());
        Ok(r.global()?
            .map_or([0.0; FEATURES], |g| g.fusion.weights(context)))
    }

    /// The best items for a user, best first, ties by item id. Unknown users get what is popular.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        k: usize,
    ) -> Result<Vec<Ranked>> {
        self.recommend_with(r, user, k, self.ask)
    }

    /// The same in another way than the model's own.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend_with<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        k: usize,
        ask: Ask,
    ) -> Result<Vec<Ranked>> {
        let handle = find_user(r, user)?;
        self.prepare(r, handle, ask, None)?;
        if ask.ranking == Ranking::Tutorial {
            return self.tutorial(r, user, k, ask.seen);
        }
        self.top(r, k)
    }

    /// The best items for a history that is not stored: a visitor known by nothing else. Item and
    /// weight, most recent last; items the model does not know are passed over.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend_for<R: Records>(
        &mut self,
        r: &mut R,
        history: &[(&str, f32)],
        k: usize,
    ) -> Result<Vec<Ranked>> {
        self.gathered = None;
        self.gather.start();
        let latest = history.iter().rev().take(self.options.history);
        for (id, weight) in latest {
            let Some(item) = find_item(r, id)? else {
                continue;
            };
            if self.gather.history.iter().all(|t| t.item != item) {
                let weight = match weight.is_finite() {
                    true => weight.clamp(0.01, 100.0),
                    false => 1.0,
                };
                self.gather.history.push(Touch {
                    item,
                    weight,
                    at_ms: 0,
                });
            }
            if self.ask.seen != Seen::Allow {
                self.gather.exclude(item);
            }
        }
        self.gather.name(r, None)?;
        self.gather.describe(r)?;
        self.score(r, self.ask.ranking)?;
        self.top(r, k)
    }

    fn top<R: Records>(&mut self, r: &mut R, k: usize) -> Result<Vec<Ranked>> {
        let candidates = &self.gather.candidates;
        let order = &mut self.order;
        order.clear();
        // Score and place in one integer, the best the smallest: comparisons of integers.
        let finite = self.scores.iter().zip(0_u64..);
        let finite = finite.filter(|(score, _)| score.is_finite());
        order.extend(finite.map(|(score, at)| u64::from(descending(*score)) << 32 | at));
        if order.len() > k {
            let item = |key: &u64| candidates[*key as u32 as usize].item;
            let by_score = |a: &u64, b: &u64| {
                (a >> 32)
                    .cmp(&(b >> 32))
                    .then_with(|| item(a).cmp(&item(b)))
            };
            order.select_nth_unstable_by(k, by_score);
            order.truncate(k);
        }
        let places = order.iter().map(|key| *key as u32 as usize);
        self.slots.clear();
        self.slots
            .extend(places.clone().map(|at| candidates[at].item.slot()));
        r.prefetch_items(&self.slots)?;
        let mut ranked = Vec::with_capacity(order.len());
        for candidate in places {
            let (score, handle) = (self.scores[candidate], candidates[candidate].item);
            if let Some(record) = r.item(handle.slot())? {
                ranked.push(Ranked {
                    id: record.id.to_string(),
                    score,
                    handle,
                    candidate,
                });
            }
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        Ok(ranked)
    }

    /// Items from all boards that are not in the pool and not left out, most popular ever first:
    /// the end of the fallback chain. Works on the last query.
    pub(crate) fn fallback<R: Records>(
        &mut self,
        r: &mut R,
        pool: &[Ranked],
    ) -> Result<Vec<Ranked>> {
        let mut score = pool.last().map_or(0.0, |item| item.score);
        let mut found: Vec<Ranked> = Vec::new();
        let boards = r.global()?.map(|global| &global.boards);
        let named = boards.map(|boards| self.gather.on_boards(boards));
        for handle in named.into_iter().flatten() {
            let known = |list: &[Ranked]| list.iter().any(|i| i.handle == handle);
            if known(pool) || known(&found) {
                continue;
            }
            if let Some(record) = r.item(handle.slot())? {
                score -= 0.01;
                found.push(Ranked {
                    id: record.id.to_string(),
                    score,
                    handle,
                    candidate: NO_CANDIDATE,
                });
            }
        }
        Ok(found)
    }

    /// Where an item stands for a user.
    pub(crate) fn standing<R: Records>(
        &mut self,
        r: &mut R,
        user: &str,
        item: &str,
        ask: Ask,
    ) -> Result<Standing> {
        let Some(handle) = find_item(r, item)? else {
            return Ok(Standing::Unknown);
        };
        let ranked = self.recommend_with(r, user, usize::MAX, ask)?;
        Ok(match ranked.iter().position(|i| i.handle == handle) {
            Some(at) => Standing::Ranked {
                rank: at + 1,
                item: ranked[at].clone(),
            },
            None if self.gather.is_excluded(handle) => Standing::Seen,
            None => Standing::NoCandidate,
        })
    }

    /// How alike two items are in the eyes of those who touched them: 0 to about 1.
    pub(crate) fn similarity<R: Records>(
        &mut self,
        r: &mut R,
        a: &Ranked,
        b: &Ranked,
    ) -> Result<f32> {
        let mass = |r: &mut R, item: &Ranked| -> Result<f32> {
            Ok(r.item(item.handle.slot())?.map_or(1.0, |i| i.mass.max(1.0)))
        };
        let norm = (mass(r, a)? * mass(r, b)?).sqrt();
        let [_, far] = r
            .row(a.handle.slot())?
            .map_or([0.0; 2], |row| row.counts(b.handle));
        Ok((far / norm).min(1.0))
    }

    /// What is most often touched near an item, best first: "similar items".
    ///
    /// # Errors
    /// Those of the records.
    pub fn similar<R: Records>(&mut self, r: &mut R, item: &str, k: usize) -> Result<Vec<Ranked>> {
        let Some(handle) = find_item(r, item)? else {
            return Ok(Vec::new());
        };
        let neighbours: Vec<(Handle, f32)> = match r.row(handle.slot())? {
            Some(row) => row.iter().map(|(n, [_, far])| (n, far)).collect(),
            None => Vec::new(),
        };
        let mut ranked = Vec::with_capacity(neighbours.len());
        for (neighbour, far) in neighbours {
            let Some(record) = r.item(neighbour.slot())? else {
                continue;
            };
            if record.generation == neighbour.generation() && !record.id.is_empty() {
                ranked.push(Ranked {
                    id: record.id.to_string(),
                    score: far / record.mass.max(1.0).sqrt(),
                    handle: neighbour,
                    candidate: NO_CANDIDATE,
                });
            }
        }
        ranked.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| a.id.cmp(&b.id)));
        ranked.truncate(k);
        Ok(ranked)
    }

    /// What each channel adds to the score of a candidate of the last query, in the order of
    /// [`CHANNELS`].
    pub(crate) fn parts(
        &self,
        weights: &[f32; FEATURES],
        candidate: usize,
    ) -> [f32; CHANNELS.len()] {
        let mut parts = [0.0; CHANNELS.len()];
        if let Some(row) = self.gather.features.get(candidate) {
            for ((w, f), channel) in weights.iter().zip(row).zip(CHANNEL_OF) {
                parts[usize::from(channel)] += w * f;
            }
        }
        parts
    }
}
