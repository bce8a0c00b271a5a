use crate::error::Result;
use crate::model::board::grow;
use crate::model::category;
use crate::model::channel::Channel;
use crate::model::directory::{self, Evicted, find_item, item_handle, user_handle};
use crate::model::features::context;
use crate::model::gather::Gather;
use crate::model::handle::Handle;
use crate::model::history::{Past, Touch};
use crate::model::options::{
    BOARD, Options, PAIR_BACKWARD, PAIR_FAR, PAIR_NEAR, PAIR_WINDOW, Seen, learns_one_in,
};
use crate::model::query::Ask;
use crate::model::ranking::Ranking;
use crate::model::records::{BOARD_ALL_TIME, BOARD_NEW, BOARD_RECENT, HALF_LIVES_MS, Records};
use crate::model::trending;

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
    /// When, in milliseconds. An event further ahead of all before it than an hour counts as an hour
    /// ahead, unless the event before it said as much: one wrong clock does not move time for everybody.
    pub at_ms: i64,
}

/// The recommender's core: learns interaction by interaction, answers at any time.
///
/// All it knows lives in the records, which each call is given (always the same ones); the rest is
/// working memory and caches derived from them, so a model opened over restored records answers as
/// if it had never stopped.
///
/// ```
/// use recsys::model::{Interaction, MemoryRecords, Model, Options};
/// let mut records = MemoryRecords::default();
/// let mut model = Model::open(&mut records, Options::default())?;
/// for (n, (user, item)) in
///     [("ann", "lamp"), ("ann", "desk"), ("bob", "lamp"), ("bob", "desk"), ("cleo", "lamp")]
///         .into_iter()
///         .enumerate()
/// {
///     let (weight, positive, at_ms) = (1.0, true, n as i64);
///     model.observe(&mut records, Interaction { user, item, weight, positive, at_ms })?;
/// }
/// let ranked = model.recommend(&mut records, "cleo", 10)?;
/// assert_eq!(ranked[0].id, "desk");
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Debug)]
pub struct Model {
    pub(crate) options: Options,
    pub(crate) ask: Ask,
    pub(crate) gather: Gather,
    pub(crate) scores: Vec<f32>,
    spare: Vec<f32>,
    /// What `gather` holds: whose candidates, with which items left out, after how many events.
    pub(crate) gathered: Option<(Option<Handle>, Ask, u64)>,
    pub(crate) events: u64,
    recent: Vec<Past>,
    pub(crate) slots: Vec<u32>,
    /// Of the candidates, while the best are sought.
    pub(crate) order: Vec<u64>,
    /// Weights of a pair by the distance of its items.
    by_distance: [[f32; 2]; PAIR_WINDOW],
}

impl Model {
    /// A model over records, new or restored.
    ///
    /// # Errors
    /// [`crate::Error::Invalid`] for options out of bounds; those of the records.
    pub fn open<R: Records>(records: &mut R, options: Options) -> Result<Self> {
        options.validate()?;
        let events = records.global()?.map_or(0, |g| g.events);
        let mut by_distance = [[0.0; 2]; PAIR_WINDOW];
        for (n, weights) in by_distance.iter_mut().enumerate() {
            let distance = (n + 1) as f32;
            *weights = [distance.powf(-PAIR_NEAR), distance.powf(-PAIR_FAR)];
        }
        Ok(Self {
            options,
            ask: Ask {
                seen: options.seen,
                ranking: Ranking::Fusion,
            },
            gather: Gather::of_histories(options.history),
            scores: Vec::new(),
            spare: Vec::new(),
            gathered: None,
            events,
            recent: Vec::new(),
            slots: Vec::new(),
            order: Vec::new(),
            by_distance,
        })
    }

    /// Answers from one channel alone and learns no fusion.
    #[must_use]
    pub fn with_only(mut self, channel: Channel) -> Self {
        self.ask.ranking = Ranking::Only(channel);
        self
    }

    /// Interactions learnt so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The largest event time so far.
    ///
    /// # Errors
    /// Those of the records.
    pub fn now_ms<R: Records>(&mut self, r: &mut R) -> Result<i64> {
        Ok(r.global()?.map_or(0, |g| g.now_ms))
    }

    /// Learns one interaction: bounded work, whatever came before.
    ///
    /// # Errors
    /// Those of the records.
    pub fn observe<R: Records>(&mut self, r: &mut R, event: Interaction<'_>) -> Result<()> {
        let o = self.options;
        let said_ms = event.at_ms;
        let at_ms = r.global()?.map_or(said_ms, |g| g.credible(said_ms));
        let event = Interaction { at_ms, ..event };
        let weight = match event.weight.is_finite() {
            true => event.weight.clamp(0.01, 100.0),
            false => 1.0,
        };
        let mut evicted = directory::sweep(r, &o)?;
        self.forget(std::mem::take(&mut evicted));
        let item = item_handle(r, &o, event.item, event.at_ms, &mut evicted)?;
        let user = user_handle(r, &o, event.user, &mut evicted)?;
        self.forget(evicted);
        let (known, new) = self.pair_partners(r, user, item)?;
        let learns = !matches!(self.ask.ranking, Ranking::Only(_));
        if event.positive && learns && (new || o.seen != Seen::Exclude) {
            self.learn_fusion(r, user, item)?;
        }
        if new {
            self.count_pairs(r, item, weight, &o)?;
        }
        let gather = &mut self.gather;
        let (before, after, kind) = r.update_item(item.slot(), |record| {
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
            gather.changed(item.slot(), record);
            (
                before,
                (
                    record.popularity,
                    record.events,
                    record.last_ms,
                    record.first_ms,
                ),
                record.category,
            )
        })?;
        if let Some(kind) = kind {
            let keys = [before.0[category::HALF_LIFE], after.0[category::HALF_LIFE]];
            category::touched(r, kind, item, keys)?;
        }
        gather.forget_user(user.slot());
        r.update_user(user.slot(), |record| {
            record.last_ms = record.last_ms.max(event.at_ms);
            let touch = Touch {
                item,
                weight,
                at_ms: event.at_ms,
            };
            record.history.push(touch, o.history);
            if let Err(at) = record.seen.binary_search(&item)
                && record.seen.len() < o.seen_items
            {
                record.seen.insert(at, item);
            }
        })?;
        let due = r.update_global(|g| {
            g.now_ms = if g.events == 0 {
                event.at_ms
            } else {
                g.now_ms.max(event.at_ms)
            };
            g.last_said_ms = said_ms;
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
            g.trending.count(item, weight, event.at_ms)
        })?;
        if due {
            trending::refresh(r)?;
        }
        self.events += 1;
        Ok(())
    }

    /// The catalogue says of which category an item is; `None` is of none. Nothing happens while nobody
    /// has touched it: its first event asks the catalogue.
    ///
    /// # Errors
    /// Those of the records.
    pub fn categorise<R: Records>(
        &mut self,
        r: &mut R,
        item: &str,
        category: Option<&str>,
    ) -> Result<()> {
        if let Some(item) = find_item(r, item)? {
            category::assign(r, item, category)?;
            self.forget(Evicted::item(item.slot()));
        }
        Ok(())
    }

    fn forget(&mut self, evicted: Evicted) {
        if let Some(slot) = evicted.item {
            self.gathered = None;
            self.gather.forget(slot);
        }
        if let Some(slot) = evicted.user {
            self.gather.forget_user(slot);
        }
    }

    /// Puts the user's latest items into `recent`, latest first; returns the weight the item has in
    /// the history, and whether it is new to the user.
    fn pair_partners<R: Records>(
        &mut self,
        r: &mut R,
        user: Handle,
        item: Handle,
    ) -> Result<(Option<f32>, bool)> {
        self.recent.clear();
        let Some(record) = r.user(user.slot())? else {
            return Ok((None, true));
        };
        let known = record.history.weight_of(item);
        let new = known.is_none() && record.seen.binary_search(&item).is_err();
        if new {
            self.recent
                .extend(record.history.items().iter().rev().take(PAIR_WINDOW));
        }
        Ok((known, new))
    }

    /// A pair of items is counted once for each user: hammering on two items proves nothing.
    fn count_pairs<R: Records>(
        &mut self,
        r: &mut R,
        item: Handle,
        weight: f32,
        o: &Options,
    ) -> Result<()> {
        if self.recent.is_empty() {
            return Ok(());
        }
        let cap = o.neighbours(r.global()?.map_or(0, |g| g.items.live));
        self.slots.clear();
        self.slots
            .extend(self.recent.iter().map(|(other, _)| other.slot()));
        r.prefetch_rows(&self.slots)?;
        let (recent, by_distance) = (&self.recent, &self.by_distance);
        if let Some(row) = r.row(item.slot())? {
            for (other, _) in recent {
                row.prefetch_place(*other);
            }
        }
        for slot in &self.slots {
            if let Some(row) = r.row(*slot)? {
                row.prefetch_place(item);
            }
        }
        if let Some(row) = r.row(item.slot())? {
            for (other, _) in recent {
                row.prefetch_entry(*other);
            }
        }
        for slot in &self.slots {
            if let Some(row) = r.row(*slot)? {
                row.prefetch_entry(item);
            }
        }
        let part = |past: &Past, [near, far]: &[f32; 2]| {
            let weight = past.1.min(weight);
            [weight * near, weight * far]
        };
        r.update_row(item.slot(), |row| {
            for (past, by) in recent.iter().zip(by_distance) {
                let [near, far] = part(past, by);
                row.bump(past.0, [near * PAIR_BACKWARD, far], cap);
            }
        })?;
        for (past, by) in recent.iter().zip(by_distance) {
            let by = part(past, by);
            r.update_row(past.0.slot(), |row| row.bump(item, by, cap))?;
        }
        Ok(())
    }

    fn learn_fusion<R: Records>(&mut self, r: &mut R, user: Handle, item: Handle) -> Result<()> {
        let positives = r.global()?.map_or(0, |g| g.positives);
        // Mixed, so that users who take turns are all learnt from.
        let mixed = (positives.wrapping_mul(0x9E37_79B9_7F4A_7C15)) >> 32;
        if !mixed.is_multiple_of(learns_one_in(positives)) {
            return Ok(());
        }
        // Nothing names an item at its first event, nor do lists without a history say much.
        if r.item(item.slot())?.is_none_or(|i| i.events == 0.0)
            || r.user(user.slot())?
                .is_none_or(|u| u.history.items().is_empty())
        {
            return Ok(());
        }
        let ask = Ask {
            seen: self.options.seen,
            ranking: Ranking::Fusion,
        };
        let Some(wanted) = self.prepare(r, Some(user), ask, Some(item))? else {
            return Ok(());
        };
        if self.gather.history.is_empty() {
            return Ok(());
        }
        let context = context(self.gather.history.len());
        let features = &self.gather.features;
        let (scores, spare) = (&mut self.scores, &mut self.spare);
        self.gathered = None;
        r.update_global(|g| g.fusion.learn(context, features, scores, spare, wanted))
    }
}
