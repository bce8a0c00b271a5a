use crate::error::Result;
use crate::model::board::grow;
use crate::model::channel::{CHANNELS, Channel};
use crate::model::directory::{self, find_item, find_user, item_handle, user_handle};
use crate::model::features::{FEATURES, PER_CHANNEL, context};
use crate::model::fusion::dot;
use crate::model::gather::Gather;
use crate::model::handle::Handle;
use crate::model::options::{
    BOARD, LEARN_ALL, LEARN_EVERY, LEARNING_RATE, Options, PAIR_BACKWARD, PAIR_FAR, PAIR_NEAR,
    PAIR_WINDOW, Seen,
};
use crate::model::records::{
    BOARD_ALL_TIME, BOARD_NEW, BOARD_RECENT, HALF_LIVES_MS, Records, Touch,
};

/// One event as the model sees it.
#[derive(Clone, Copy, Debug)]
pub struct Interaction<'a> {
    /// Who: a user, or a session where sessions are the users.
    pub user: &'a str,
    /// Upon what.
    pub item: &'a str,
    /// How much it says, above 0.
    pub weight: f32,
    /// Whether it is what recommendations are made for: the fusion learns from such events.
    pub positive: bool,
    /// When, in milliseconds.
    pub at_ms: i64,
}

/// The recommender's core: learns interaction by interaction, answers at any time.
///
/// All it knows lives in the records; the rest is working memory and caches derived from them, so
/// a model opened over restored records answers as if it had never stopped.
///
/// ```
/// use recsys::model::{Interaction, MemoryRecords, Model, Options};
/// let mut model = Model::open(MemoryRecords::default(), Options::default())?;
/// for (n, (user, item)) in
///     [("ann", "lamp"), ("ann", "desk"), ("bob", "lamp"), ("bob", "desk"), ("cleo", "lamp")]
///         .into_iter()
///         .enumerate()
/// {
///     model.observe(Interaction { user, item, weight: 1.0, positive: true, at_ms: n as i64 })?;
/// }
/// let ranked = model.recommend("cleo", 10)?;
/// assert_eq!(ranked[0].id, "desk");
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Debug)]
pub struct Model<R> {
    pub(crate) records: R,
    options: Options,
    only: Option<Channel>,
    pub(crate) gather: Gather,
    pub(crate) scores: Vec<f32>,
    /// What `gather` holds: whose candidates, with which items left out, after how many events.
    gathered: Option<(Box<str>, Seen, u64)>,
    events: u64,
    recent: Vec<Touch>,
    /// Weights of a pair by the distance of its items.
    by_distance: [[f32; 2]; PAIR_WINDOW],
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

impl<R: Records> Model<R> {
    /// A model over records, new or restored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for options out of bounds; those of the records.
    pub fn open(mut records: R, options: Options) -> Result<Self> {
        options.validate()?;
        let events = records.global()?.map_or(0, |g| g.events);
        let mut by_distance = [[0.0; 2]; PAIR_WINDOW];
        for (n, weights) in by_distance.iter_mut().enumerate() {
            let distance = (n + 1) as f32;
            *weights = [distance.powf(-PAIR_NEAR), distance.powf(-PAIR_FAR)];
        }
        Ok(Self {
            records,
            options,
            only: None,
            gather: Gather::default(),
            scores: Vec::new(),
            gathered: None,
            events,
            recent: Vec::new(),
            by_distance,
        })
    }

    /// Answers from one channel alone and learns no fusion.
    #[must_use]
    pub fn with_only(mut self, channel: Channel) -> Self {
        self.only = Some(channel);
        self
    }

    /// The records.
    pub fn records(&mut self) -> &mut R {
        &mut self.records
    }

    /// Interactions learnt so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The largest event time so far.
    ///
    /// # Errors
    /// Those of the records.
    pub fn now_ms(&mut self) -> Result<i64> {
        Ok(self.records.global()?.map_or(0, |g| g.now_ms))
    }

    /// Learns one interaction: bounded work, whatever came before.
    ///
    /// # Errors
    /// Those of the records.
    pub fn observe(&mut self, event: Interaction<'_>) -> Result<()> {
        let o = self.options;
        let weight = match event.weight.is_finite() {
            true => event.weight.clamp(0.01, 100.0),
            false => 1.0,
        };
        let mut evicted = directory::sweep(&mut self.records, &o)?;
        self.forget(evicted.take());
        let item = item_handle(&mut self.records, &o, event.item, event.at_ms, &mut evicted)?;
        self.forget(evicted);
        let user = user_handle(&mut self.records, &o, event.user)?;
        if event.positive && self.only.is_none() {
            self.learn_fusion(event.user, user, item)?;
        }
        let (known, new) = self.pair_partners(user, item)?;
        if new {
            self.count_pairs(item, weight, &o)?;
        }
        let (before, after) = self.records.update_item(item.slot(), |record| {
            let before = (
                record.popularity,
                record.events,
                record.last_ms,
                record.first_ms,
            );
            if new {
                record.mass += weight;
                record.users = record.users.saturating_add(1);
                record.wanted = record.wanted.saturating_add(u32::from(event.positive));
                record.push_user(user, o.users_per_item);
            } else {
                record.mass += known.map_or(0.0, |known| (weight - known).max(0.0));
            }
            for (key, half_life) in record.popularity.iter_mut().zip(HALF_LIVES_MS) {
                *key = grow(*key, f64::from(weight), event.at_ms, half_life);
            }
            record.events += f64::from(weight);
            record.last_ms = record.last_ms.max(event.at_ms);
            (
                before,
                (
                    record.popularity,
                    record.events,
                    record.last_ms,
                    record.first_ms,
                ),
            )
        })?;
        self.gather.changed(item.slot());
        self.records.update_user(user.slot(), |record| {
            record.last_ms = record.last_ms.max(event.at_ms);
            let mut touch = Touch {
                item,
                weight,
                at_ms: event.at_ms,
            };
            if let Some(at) = record.history.iter().rposition(|t| t.item == item) {
                touch.weight = touch.weight.max(record.history[at].weight);
                record.history.remove(at);
            } else if record.history.len() >= o.history {
                record.history.remove(0);
            }
            record.history.push(touch);
            if let Err(at) = record.seen.binary_search(&item)
                && record.seen.len() < o.seen_items
            {
                record.seen.insert(at, item);
            }
        })?;
        self.records.update_global(|g| {
            g.now_ms = if g.events == 0 {
                event.at_ms
            } else {
                g.now_ms.max(event.at_ms)
            };
            g.events += 1;
            g.positives += u64::from(event.positive);
            for n in 0..HALF_LIVES_MS.len() {
                g.boards[n].update(item, before.0[n], after.0[n], BOARD);
            }
            g.boards[BOARD_ALL_TIME].update(item, before.1, after.1, BOARD);
            g.boards[BOARD_RECENT].update(item, before.2 as f64, after.2 as f64, BOARD);
            if before.1 == 0.0 {
                g.boards[BOARD_NEW].update(item, f64::NEG_INFINITY, after.3 as f64, BOARD);
            }
        })?;
        self.events += 1;
        Ok(())
    }

    fn forget(&mut self, slot: Option<u32>) {
        if let Some(slot) = slot {
            self.gathered = None;
            self.gather.changed(slot);
        }
    }

    /// Puts the user's latest items into `recent`, latest first; returns the weight the item has in
    /// the history, and whether it is new to the user.
    fn pair_partners(&mut self, user: Handle, item: Handle) -> Result<(Option<f32>, bool)> {
        self.recent.clear();
        let Some(record) = self.records.user(user.slot())? else {
            return Ok((None, true));
        };
        let known = record
            .history
            .iter()
            .rev()
            .find(|t| t.item == item)
            .map(|t| t.weight);
        let new = known.is_none() && record.seen.binary_search(&item).is_err();
        if new {
            self.recent
                .extend(record.history.iter().rev().take(PAIR_WINDOW));
        }
        Ok((known, new))
    }

    /// A pair of items is counted once for each user: hammering on two items proves nothing.
    fn count_pairs(&mut self, item: Handle, weight: f32, o: &Options) -> Result<()> {
        if self.recent.is_empty() {
            return Ok(());
        }
        let cap = o.neighbours(self.records.global()?.map_or(0, |g| g.items.live));
        let (recent, by_distance) = (&self.recent, &self.by_distance);
        let part = |touch: &Touch, [near, far]: &[f32; 2]| {
            let weight = touch.weight.min(weight);
            [weight * near, weight * far]
        };
        self.records.update_row(item.slot(), |row| {
            for (touch, by) in recent.iter().zip(by_distance) {
                let [near, far] = part(touch, by);
                row.bump(touch.item, [near * PAIR_BACKWARD, far], cap);
            }
        })?;
        for (touch, by) in recent.iter().zip(by_distance) {
            let by = part(touch, by);
            self.records
                .update_row(touch.item.slot(), |row| row.bump(item, by, cap))?;
        }
        Ok(())
    }

    /// Takes the history of a user into `gather`, and what is to be left out.
    fn load_history(&mut self, user: Option<Handle>, seen: Seen) -> Result<()> {
        self.gather.history.clear();
        self.gather.excluded.clear();
        let Some(user) = user else { return Ok(()) };
        let Some(record) = self.records.user(user.slot())? else {
            return Ok(());
        };
        self.gather.history.extend(record.history.iter().rev());
        if seen == Seen::Exclude {
            for item in record
                .seen
                .iter()
                .chain(record.history.iter().map(|t| &t.item))
            {
                self.gather.excluded.set(item.slot(), item.bits());
            }
        }
        self.gather.drop_stale_history(&mut self.records)
    }

    /// Candidates with features and scores for a user as of now, unless they are there already.
    fn prepare(&mut self, id: &str, user: Option<Handle>, seen: Seen) -> Result<()> {
        if matches!(&self.gathered, Some((who, with, events))
            if **who == *id && *with == seen && *events == self.events)
        {
            return Ok(());
        }
        self.gathered = None;
        self.load_history(user, seen)?;
        self.gather.run(&mut self.records, user)?;
        self.score()?;
        self.gathered = Some((id.into(), seen, self.events));
        Ok(())
    }

    fn score(&mut self) -> Result<()> {
        self.scores.clear();
        if let Some(only) = self.only {
            let at = only.index();
            let rows = self.gather.features.iter().zip(&self.gather.candidates);
            self.scores
                .extend(rows.map(|(row, candidate)| match candidate.named_by(at) {
                    true => row[at * PER_CHANNEL],
                    false => f32::NEG_INFINITY,
                }));
            return Ok(());
        }
        let weights = self.weights()?;
        self.scores
            .extend(self.gather.features.iter().map(|row| dot(&weights, row)));
        Ok(())
    }

    /// The fusion's weights for the history in `gather`.
    pub(crate) fn weights(&mut self) -> Result<[f32; FEATURES]> {
        let context = context(self.gather.history.len());
        Ok(self
            .records
            .global()?
            .map_or([0.0; FEATURES], |g| g.fusion.weights(context)))
    }

    fn learn_fusion(&mut self, id: &str, user: Handle, item: Handle) -> Result<()> {
        let positives = self.records.global()?.map_or(0, |g| g.positives);
        if positives >= LEARN_ALL && !positives.is_multiple_of(LEARN_EVERY) {
            return Ok(());
        }
        self.prepare(id, Some(user), self.options.seen)?;
        if self.gather.history.is_empty() {
            return Ok(());
        }
        let Some(wanted) = self.gather.candidates.iter().position(|c| c.item == item) else {
            return Ok(());
        };
        let context = context(self.gather.history.len());
        let (features, scores) = (&self.gather.features, &self.scores);
        self.gathered = None;
        self.records.update_global(|g| {
            g.fusion
                .learn(context, features, scores, wanted, LEARNING_RATE)
        })
    }

    /// The best items for a user, best first, ties by item id. Unknown users get what is popular.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend(&mut self, user: &str, k: usize) -> Result<Vec<Ranked>> {
        self.recommend_with(user, k, self.options.seen)
    }

    /// The same, with or without the items that the user has had already.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend_with(&mut self, user: &str, k: usize, seen: Seen) -> Result<Vec<Ranked>> {
        let handle = find_user(&mut self.records, user)?;
        self.prepare(user, handle, seen)?;
        self.top(k)
    }

    /// The best items for a history that is not stored: a visitor known by nothing else. Item and
    /// weight, most recent last; items the model does not know are passed over.
    ///
    /// # Errors
    /// Those of the records.
    pub fn recommend_for(&mut self, history: &[(&str, f32)], k: usize) -> Result<Vec<Ranked>> {
        self.gathered = None;
        self.gather.history.clear();
        self.gather.excluded.clear();
        let latest = history.iter().rev().take(self.options.history);
        for (id, weight) in latest {
            if let Some(item) = find_item(&mut self.records, id)? {
                if self.gather.history.iter().all(|t| t.item != item) {
                    let weight = if weight.is_finite() {
                        weight.clamp(0.01, 100.0)
                    } else {
                        1.0
                    };
                    self.gather.history.push(Touch {
                        item,
                        weight,
                        at_ms: 0,
                    });
                }
                if self.options.seen == Seen::Exclude {
                    self.gather.excluded.set(item.slot(), item.bits());
                }
            }
        }
        self.gather.run(&mut self.records, None)?;
        self.score()?;
        self.top(k)
    }

    fn top(&mut self, k: usize) -> Result<Vec<Ranked>> {
        let mut order: Vec<(f32, usize)> = self
            .scores
            .iter()
            .copied()
            .zip(0..)
            .filter(|(score, _)| score.is_finite())
            .collect();
        let candidates = &self.gather.candidates;
        let by_score = |a: &(f32, usize), b: &(f32, usize)| {
            b.0.total_cmp(&a.0)
                .then_with(|| candidates[a.1].item.cmp(&candidates[b.1].item))
        };
        if order.len() > k {
            order.select_nth_unstable_by(k, by_score);
            order.truncate(k);
        }
        let mut ranked = Vec::with_capacity(order.len());
        for (score, candidate) in order {
            let handle = self.gather.candidates[candidate].item;
            if let Some(record) = self.records.item(handle.slot())? {
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

    /// What each channel adds to the score of a candidate of the last query, in the order of
    /// [`CHANNELS`].
    pub(crate) fn parts(&mut self, candidate: usize) -> Result<[f32; CHANNELS.len()]> {
        let weights = self.weights()?;
        let mut parts = [0.0; CHANNELS.len()];
        if let Some(row) = self.gather.features.get(candidate) {
            for (feature, (w, f)) in weights.iter().zip(row).enumerate() {
                parts[Channel::of_feature(feature).index()] += w * f;
            }
        }
        Ok(parts)
    }
}
