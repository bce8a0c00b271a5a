use crate::error::Result;
use crate::model::channel::{CHANNELS, Channel};
use crate::model::features::{
    FEATURES, Scales, Traits, describe_item, describe_own, describe_rank,
};
use crate::model::handle::Handle;
use crate::model::math::exp;
use crate::model::options::{
    CANDIDATES, KNN_AGE_MS, KNN_DISTANCE, KNN_ITEMS, KNN_NEIGHBOURS, KNN_PROBES, KNN_SESSION_DECAY,
    KNN_USER_DECAY, QUERY_FAR, QUERY_ITEMS, QUERY_NEAR,
};
use crate::model::records::{BOARD_ALL_TIME, BOARDS, Records, Touch};
use crate::model::scratch::{Marks, Neighbour, Neighbours, Top};
use crate::model::sums::{Factor, Facts, Sums};

#[derive(Clone, Copy, Debug, Default)]
enum Known {
    #[default]
    NotAsked,
    Free,
    Live(Traits),
}

#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    pub(crate) item: Handle,
    /// Bit n: channel n named it.
    channels: u16,
}

impl Candidate {
    pub(crate) fn named_by(&self, channel: usize) -> bool {
        self.channels >> channel & 1 == 1
    }
}

/// Finds the candidates of a query and their features. All fields are working memory, and what is
/// derived of items' records: kept by slot, filled when first asked for.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gather {
    known: Vec<Known>,
    /// Most recent first.
    pub(crate) history: Vec<Touch>,
    excluded: Marks,
    own: Marks,
    sums: Sums,
    people: Neighbours,
    neighbours: Vec<Neighbour>,
    list: Vec<(f32, Handle)>,
    first: Top,
    second: Top,
    /// How much a neighbour's item counts, by its distance to the match.
    nearness: Vec<f32>,
    boards: [Vec<(f64, Handle)>; BOARDS],
    scales: Scales,
    index: Marks,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) features: Vec<[f32; FEATURES]>,
    pub(crate) now_ms: i64,
}

impl Gather {
    /// Forgets what was derived of an item; its record has changed.
    pub(crate) fn changed(&mut self, slot: u32) {
        self.sums.changed(slot);
        if let Some(known) = self.known.get_mut(slot as usize) {
            *known = Known::NotAsked;
        }
    }

    /// The facts of the item now in the slot.
    #[inline]
    pub(crate) fn facts<R: Records>(
        &mut self,
        records: &mut R,
        slot: u32,
    ) -> Result<Option<Facts>> {
        self.sums.facts(records, slot)
    }

    #[cold]
    #[inline(never)]
    fn ask<R: Records>(&mut self, records: &mut R, slot: u32) -> Result<Option<Traits>> {
        let at = slot as usize;
        if at >= self.known.len() {
            self.known.resize(at + 1, Known::NotAsked);
        }
        let item = records.item(slot)?;
        let traits = item.and_then(|item| Traits::of(slot, item));
        self.known[at] = traits.map_or(Known::Free, Known::Live);
        Ok(traits)
    }

    /// Fills `candidates` and `features` for the history in `self.history`.
    pub(crate) fn run<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        self.candidates.clear();
        self.features.clear();
        self.index.clear();
        self.own.clear();
        for (rank, touch) in self.history.iter().enumerate() {
            self.own.set(touch.item.slot(), rank as u32);
        }
        self.copy_boards(records)?;
        self.item_cf(records)?;
        self.knn(records, user)?;
        for channel in CHANNELS {
            if let Some(board) = channel.board() {
                self.take_board(channel, board);
            }
        }
        self.own_items();
        self.describe(records)
    }

    /// Leaves out of the history, and out of what is excluded, items that are no more.
    pub(crate) fn drop_stale_history<R: Records>(&mut self, records: &mut R) -> Result<()> {
        let mut n = 0;
        while let Some(touch) = self.history.get(n).copied() {
            match self.facts(records, touch.item.slot())? {
                Some(facts) if facts.handle == touch.item => n += 1,
                _ => {
                    self.history.remove(n);
                }
            }
        }
        Ok(())
    }

    /// Leaves an item out of the candidates.
    pub(crate) fn exclude(&mut self, item: Handle) {
        self.excluded.set(item.slot(), item.bits());
    }

    /// Nothing is left out, nothing is known of the user.
    pub(crate) fn start(&mut self) {
        self.history.clear();
        self.excluded.clear();
    }

    /// What is on the boards and not left out, the most popular ever first. May repeat.
    pub(crate) fn on_boards(&self) -> Vec<Handle> {
        let boards = self.boards.iter().skip(BOARD_ALL_TIME).chain(&self.boards);
        let items = boards.flat_map(|board| board.iter().map(|(_, item)| *item));
        items.filter(|item| !self.is_excluded(*item)).collect()
    }

    pub(crate) fn is_excluded(&self, item: Handle) -> bool {
        self.excluded.get(item.slot()) == Some(item.bits())
    }

    /// Whether a channel names the item.
    pub(crate) fn is_named(&self, item: Handle, by: Channel) -> bool {
        let mut named = self.candidates.iter().filter(|c| c.named_by(by.index()));
        named.any(|c| c.item == item)
    }

    fn copy_boards<R: Records>(&mut self, records: &mut R) -> Result<()> {
        if let Some(global) = records.global()? {
            self.now_ms = global.now_ms;
            let mut best = [0.0; BOARDS];
            for (n, board) in global.boards.iter().enumerate() {
                self.boards[n].clear();
                self.boards[n].extend_from_slice(board.entries());
                best[n] = board.largest().unwrap_or(0.0);
            }
            let wanted_share = (global.positives as f32 + 1.0) / (global.events as f32 + 1.0);
            self.scales = Scales::new(global.now_ms, &best, wanted_share);
        }
        Ok(())
    }

    fn take_list(&mut self, channel: Channel, list: &[(f32, Handle)]) {
        let best = list.first().map_or(1.0, |e| e.0).max(f32::MIN_POSITIVE);
        for (rank, (score, item)) in list.iter().enumerate() {
            let at = match self.index.get(item.slot()) {
                Some(at) => at as usize,
                None => {
                    let at = self.candidates.len();
                    self.index.set(item.slot(), at as u32);
                    self.candidates.push(Candidate {
                        item: *item,
                        channels: 0,
                    });
                    self.features.push([0.0; FEATURES]);
                    at
                }
            };
            self.candidates[at].channels |= 1 << channel.index();
            describe_rank(&mut self.features[at], channel, rank, score / best);
        }
    }

    fn item_cf<R: Records>(&mut self, records: &mut R) -> Result<()> {
        for rank in 0..self.history.len().min(QUERY_ITEMS) {
            let touch = self.history[rank];
            let Some(facts) = self.facts(records, touch.item.slot())? else {
                continue;
            };
            let weight = touch.weight * facts.inverse_root;
            let short = exp(-(rank as f32) / QUERY_NEAR) * weight;
            let long = exp(-(rank as f32) / QUERY_FAR) * weight;
            let Some(row) = records.row(touch.item.slot())? else {
                continue;
            };
            for (other, [near, far]) in row.iter() {
                self.sums.add(other, [long * far, short * near]);
            }
        }
        let by = Factor::InverseRoot;
        self.take_sums(records, by, Channel::CfFar, Channel::CfNear)
    }

    /// The two parts of the sums become the lists of two channels.
    fn take_sums<R: Records>(
        &mut self,
        records: &mut R,
        factor: Factor,
        first: Channel,
        second: Channel,
    ) -> Result<()> {
        self.first.start(CANDIDATES);
        self.second.start(CANDIDATES);
        let tops = [&mut self.first, &mut self.second];
        self.sums.take(records, factor, &self.excluded, tops)?;
        let mut list = std::mem::take(&mut self.list);
        self.first.finish(&mut list);
        self.take_list(first, &list);
        self.second.finish(&mut list);
        self.take_list(second, &list);
        self.list = list;
        Ok(())
    }

    /// Nearest neighbours among the users (or sessions) that touched the query's items lately.
    fn knn<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        self.people.clear();
        for rank in 0..self.history.len().min(KNN_ITEMS) {
            let touch = self.history[rank];
            let Some(facts) = self.facts(records, touch.item.slot())? else {
                continue;
            };
            let session = exp(-(rank as f32) / KNN_SESSION_DECAY) * facts.idf;
            let people = exp(-(rank as f32) / KNN_USER_DECAY) * touch.weight * facts.idf;
            let Some(item) = records.item(touch.item.slot())? else {
                continue;
            };
            for other in item.latest_users().take(KNN_PROBES) {
                if Some(other) != user {
                    self.people.add(other, touch.item, people, session);
                }
            }
        }
        self.people.nearest(KNN_NEIGHBOURS, &mut self.neighbours);
        if self.nearness.is_empty() {
            self.nearness.extend((0..1_000).map(|distance| {
                let distance = distance as f32;
                1.0 / (1.0 + distance * distance * KNN_DISTANCE)
            }));
        }
        for neighbour in &self.neighbours {
            let Some(other) = records
                .user(neighbour.who.slot())?
                .filter(|other| other.generation == neighbour.who.generation())
            else {
                continue;
            };
            // The shared item may have fallen out of their history: then nothing is near it.
            let met = other
                .history
                .iter()
                .rposition(|t| t.item == neighbour.shared);
            let length = other.history.len() as f32;
            let age = self.now_ms.saturating_sub(other.last_ms).max(0) as f32;
            let people = neighbour.people / length.sqrt();
            let session = neighbour.session / length.sqrt() / (1.0 + age / KNN_AGE_MS);
            let Some(met) = met else {
                for touch in &other.history {
                    self.sums.add(touch.item, [people * touch.weight, 0.0]);
                }
                continue;
            };
            let (before, after) = other.history.split_at(met);
            let nearer = |rest: usize| self.nearness.iter().skip(rest);
            let before = before.iter().rev().zip(nearer(1));
            for (touch, near) in before.chain(after.iter().zip(nearer(0))) {
                let by = [people * touch.weight, session * near];
                self.sums.add(touch.item, by);
            }
        }
        let by = Factor::Idf;
        self.take_sums(records, by, Channel::UserKnn, Channel::SessionKnn)
    }

    fn take_board(&mut self, channel: Channel, board: usize) {
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for (n, (_, item)) in self.boards[board].iter().enumerate() {
            if list.len() >= CANDIDATES {
                break;
            }
            if !self.is_excluded(*item) {
                list.push((1.0 / (1.0 + n as f32 / 20.0), *item));
            }
        }
        self.take_list(channel, &list);
        self.list = list;
    }

    fn own_items(&mut self) {
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for (rank, touch) in self.history.iter().enumerate() {
            if list.len() >= CANDIDATES {
                break;
            }
            if !self.is_excluded(touch.item) {
                list.push((1.0 / (1.0 + rank as f32), touch.item));
            }
        }
        self.take_list(Channel::Again, &list);
        self.list = list;
    }

    /// Features that do not come from a channel; drops candidates that are no more.
    fn describe<R: Records>(&mut self, records: &mut R) -> Result<()> {
        let mut n = 0;
        while n < self.candidates.len() {
            let handle = self.candidates[n].item;
            let slot = handle.slot();
            let traits = match self.known.get(slot as usize) {
                Some(Known::Live(traits)) => Some(*traits),
                Some(Known::Free) => None,
                Some(Known::NotAsked) | None => self.ask(records, slot)?,
            };
            let Some(traits) = traits.filter(|traits| traits.handle == handle) else {
                self.candidates.swap_remove(n);
                self.features.swap_remove(n);
                continue;
            };
            let row = &mut self.features[n];
            describe_item(row, &traits, &self.scales);
            if let Some(rank) = self.own.get(slot) {
                describe_own(row, rank as usize, self.history.get(rank as usize));
            }
            n += 1;
        }
        Ok(())
    }
}
