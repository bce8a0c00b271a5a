use crate::error::Result;
use crate::model::channel::{CHANNELS, Channel};
use crate::model::features::{FEATURES, describe_item, describe_own, describe_rank};
use crate::model::handle::Handle;
use crate::model::math::exp;
use crate::model::options::{
    CANDIDATES, KNN_AGE_MS, KNN_DISTANCE, KNN_ITEMS, KNN_NEIGHBOURS, KNN_PROBES, KNN_SESSION_DECAY,
    KNN_USER_DECAY, QUERY_FAR, QUERY_ITEMS, QUERY_NEAR,
};
use crate::model::records::{BOARD_ALL_TIME, BOARDS, Records, Touch};
use crate::model::scratch::{Marks, Sums, Top};

/// What is needed of an item for each of thousands of sums: kept by slot, a pure function of the
/// item's record, filled when first asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) handle: Handle,
    /// `mass^-0.5`: how much popular items are held back, on both sides of a pair.
    pub(crate) inverse_root: f32,
    /// `(1 + users)^-0.5`.
    idf: f32,
}

#[derive(Clone, Copy, Debug, Default)]
enum Known {
    #[default]
    NotAsked,
    Free,
    Live(Facts),
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

/// Somebody who has an item in common with the query.
#[derive(Clone, Copy, Debug)]
struct Neighbour {
    who: u32,
    /// The item in common that is most recent in the query.
    shared: Handle,
    people: f32,
    session: f32,
}

const NOBODY: Neighbour = Neighbour {
    who: 0,
    shared: Handle::new(0, 0),
    people: 0.0,
    session: 0.0,
};

/// Finds the candidates of a query and their features. All fields are working memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gather {
    facts: Vec<Known>,
    /// Most recent first.
    pub(crate) history: Vec<Touch>,
    excluded: Marks,
    excluded_items: Vec<Handle>,
    own: Marks,
    sums: Sums,
    people: Sums,
    list: Vec<(f32, Handle)>,
    first: Top,
    second: Top,
    neighbours: Vec<Neighbour>,
    /// How much a neighbour's item counts, by its distance to the match.
    nearness: Vec<f32>,
    boards: [Vec<(f64, Handle)>; BOARDS],
    board_max: [f64; BOARDS],
    index: Marks,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) features: Vec<[f32; FEATURES]>,
    pub(crate) now_ms: i64,
    wanted_share: f32,
}

impl Gather {
    /// Forgets what was derived of an item; its record has changed.
    pub(crate) fn changed(&mut self, slot: u32) {
        if let Some(facts) = self.facts.get_mut(slot as usize) {
            *facts = Known::NotAsked;
        }
    }

    /// The facts of the item now in the slot.
    #[inline]
    pub(crate) fn facts<R: Records>(
        &mut self,
        records: &mut R,
        slot: u32,
    ) -> Result<Option<Facts>> {
        match self.facts.get(slot as usize) {
            Some(Known::Live(facts)) => Ok(Some(*facts)),
            Some(Known::Free) => Ok(None),
            Some(Known::NotAsked) | None => self.ask_facts(records, slot),
        }
    }

    #[cold]
    fn ask_facts<R: Records>(&mut self, records: &mut R, slot: u32) -> Result<Option<Facts>> {
        let at = slot as usize;
        if at >= self.facts.len() {
            self.facts.resize(at + 1, Known::NotAsked);
        }
        let facts = records
            .item(slot)?
            .filter(|item| !item.id.is_empty())
            .map(|item| {
                let root = item.mass.max(1.0).sqrt();
                Facts {
                    handle: Handle::new(slot, item.generation),
                    inverse_root: root.recip(),
                    idf: (1.0 + item.users as f32).sqrt().recip(),
                }
            });
        self.facts[at] = facts.map_or(Known::Free, Known::Live);
        Ok(facts)
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
        self.excluded_items.push(item);
    }

    /// Nothing is left out, nothing is known of the user.
    pub(crate) fn start(&mut self) {
        self.history.clear();
        self.excluded.clear();
        self.excluded_items.clear();
    }

    /// What is on the boards and not left out, the most popular ever first. May repeat.
    pub(crate) fn on_boards(&self) -> Vec<Handle> {
        let boards = self.boards.iter().skip(BOARD_ALL_TIME).chain(&self.boards);
        let items = boards.flat_map(|board| board.iter().map(|(_, item)| *item));
        items.filter(|item| !self.is_excluded(*item)).collect()
    }

    fn clear_sums(&mut self) {
        self.sums.clear();
        for item in &self.excluded_items {
            self.sums.block(*item);
        }
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
            self.wanted_share = (global.positives as f32 + 1.0) / (global.events as f32 + 1.0);
            for (n, board) in global.boards.iter().enumerate() {
                self.boards[n].clear();
                self.boards[n].extend_from_slice(board.entries());
                self.board_max[n] = board.largest().unwrap_or(0.0);
            }
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
        self.clear_sums();
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
        self.take_sums(records, Channel::CfFar, Channel::CfNear, |facts| {
            facts.inverse_root
        })
    }

    /// The two parts of the sums become the lists of two channels.
    fn take_sums<R: Records>(
        &mut self,
        records: &mut R,
        first: Channel,
        second: Channel,
        factor: impl Fn(&Facts) -> f32,
    ) -> Result<()> {
        let (mut a, mut b) = (
            std::mem::take(&mut self.first),
            std::mem::take(&mut self.second),
        );
        let sums = std::mem::take(&mut self.sums);
        a.start(CANDIDATES);
        b.start(CANDIDATES);
        for (handle, [x, y]) in sums.iter() {
            match self.facts(records, handle.slot())? {
                Some(facts) if facts.handle == handle && x > 0.0 => {
                    let factor = factor(&facts);
                    a.push(x * factor, handle);
                    if y > 0.0 {
                        b.push(y * factor, handle);
                    }
                }
                _ => {}
            }
        }
        self.sums = sums;
        self.take_list(first, a.finish());
        self.take_list(second, b.finish());
        (self.first, self.second) = (a, b);
        Ok(())
    }

    /// Nearest neighbours among the users (or sessions) that touched the query's items lately.
    fn knn<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        self.people.clear();
        let mut neighbours = std::mem::take(&mut self.neighbours);
        neighbours.clear();
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
                    self.people.add(other, [people, session]);
                }
            }
            // Those that came in now share this item with the query, and none more recent.
            let shared = touch.item;
            neighbours.resize(self.people.len(), Neighbour { shared, ..NOBODY });
        }
        for (neighbour, (who, [people, session])) in neighbours.iter_mut().zip(self.people.iter()) {
            *neighbour = Neighbour {
                who: who.slot(),
                people,
                session,
                ..*neighbour
            };
        }
        if neighbours.len() > KNN_NEIGHBOURS {
            neighbours.select_nth_unstable_by(KNN_NEIGHBOURS, |a, b| {
                (b.people + b.session)
                    .total_cmp(&(a.people + a.session))
                    .then_with(|| a.who.cmp(&b.who))
            });
            neighbours.truncate(KNN_NEIGHBOURS);
        }
        neighbours.sort_unstable_by_key(|n| n.who);
        self.clear_sums();
        let near_at = |distance: usize| {
            let distance = distance as f32;
            1.0 / (1.0 + distance * distance * KNN_DISTANCE)
        };
        if self.nearness.is_empty() {
            self.nearness.extend((0..128).map(near_at));
        }
        for neighbour in &neighbours {
            let Some(other) = records.user(neighbour.who)? else {
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
            for (position, touch) in other.history.iter().enumerate() {
                let distance = position.abs_diff(met);
                let near = match self.nearness.get(distance) {
                    Some(near) => *near,
                    None => near_at(distance),
                };
                self.sums
                    .add(touch.item, [people * touch.weight, session * near]);
            }
        }
        self.neighbours = neighbours;
        self.take_sums(records, Channel::UserKnn, Channel::SessionKnn, |facts| {
            facts.idf
        })
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
            let row = &mut self.features[n];
            match records.item(handle.slot())? {
                Some(item) if item.generation == handle.generation() && !item.id.is_empty() => {
                    describe_item(row, item, self.now_ms, &self.board_max, self.wanted_share);
                }
                _ => {
                    self.candidates.swap_remove(n);
                    self.features.swap_remove(n);
                    continue;
                }
            }
            if let Some(rank) = self.own.get(handle.slot()) {
                describe_own(row, rank as usize, self.history.get(rank as usize));
            }
            n += 1;
        }
        Ok(())
    }
}
