use crate::error::Result;
use crate::model::board::Board;
use crate::model::channel::{CHANNELS, Channel};
use crate::model::features::{
    FEATURES, Scales, Traits, describe_interest, describe_item, describe_own, describe_rank,
    describe_share,
};
use crate::model::handle::Handle;
use crate::model::history::Touch;
use crate::model::math::exp;
use crate::model::options::{
    CANDIDATES, INTEREST_DECAY, INTEREST_ITEMS, INTERESTS, KNN_AGE_MS, KNN_DISTANCE, KNN_ITEMS,
    KNN_NEIGHBOURS, KNN_PROBES, KNN_SESSION_DECAY, KNN_USER_DECAY, QUERY_FAR, QUERY_ITEMS,
    QUERY_NEAR,
};
use crate::model::records::{BOARD_ALL_TIME, BOARDS, Global, ItemRecord, Records};
use crate::model::scratch::{Left, Marks, Neighbour, Neighbours, Top};
use crate::model::sums::{Factor, Facts, Sums};

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
    traits: Vec<Traits>,
    /// Most recent first.
    pub(crate) history: Vec<Touch>,
    excluded: Left,
    own: Marks,
    sums: Sums,
    people: Neighbours,
    neighbours: Vec<Neighbour>,
    list: Vec<(f32, u32)>,
    slots: Vec<u32>,
    first: Top,
    second: Top,
    /// How much a neighbour's item counts, by its distance to the match.
    nearness: Vec<f32>,
    scales: Scales,
    /// The categories of the history and their shares of the interest, strongest first.
    interests: Vec<(Handle, f32)>,
    index: Marks,
    /// A query began and did not end: its sums are still there.
    broken_off: bool,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) features: Vec<[f32; FEATURES]>,
    pub(crate) now_ms: i64,
}

impl Gather {
    /// Forgets what was derived of the item in a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        self.sums.forget(slot);
        if let Some(traits) = self.traits.get_mut(slot as usize) {
            *traits = Traits::UNKNOWN;
        }
    }

    /// Derives anew what is needed of an item whose record has changed.
    pub(crate) fn changed(&mut self, slot: u32, item: &ItemRecord) {
        self.sums.changed(slot, item);
        if let Some(traits) = self.traits.get_mut(slot as usize) {
            *traits = Traits::of(slot, Some(item));
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
    fn ask<R: Records>(&mut self, records: &mut R, slot: u32) -> Result<()> {
        let at = slot as usize;
        if at >= self.traits.len() {
            self.traits.resize(at + 1, Traits::UNKNOWN);
        }
        self.traits[at] = Traits::of(slot, records.item(slot)?);
        Ok(())
    }

    /// Finds the candidates, and what their channels say of them, for the history in `self.history`.
    pub(crate) fn name<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        self.candidates.clear();
        self.features.clear();
        self.index.clear();
        self.own.clear();
        if std::mem::replace(&mut self.broken_off, true) {
            self.sums.clear();
        }
        for (rank, touch) in self.history.iter().enumerate() {
            self.own.set(touch.item.slot(), rank as u32);
        }
        self.item_cf(records)?;
        self.knn(records, user)?;
        let mut categories = false;
        if let Some(global) = records.global()? {
            categories = global.categories.live > 0;
            self.take_boards(global);
        }
        self.own_items();
        self.interests.clear();
        if categories {
            self.by_category(records)?;
        }
        self.broken_off = false;
        Ok(())
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
        self.excluded.push(item);
    }

    /// Nothing is left out, nothing is known of the user.
    pub(crate) fn start(&mut self) {
        self.history.clear();
        self.excluded.clear();
    }

    /// What is on the boards and not left out, the most popular ever first. May repeat.
    pub(crate) fn on_boards(&self, boards: &[Board; BOARDS]) -> Vec<Handle> {
        let boards = boards.iter().skip(BOARD_ALL_TIME).chain(boards);
        let items = boards.flat_map(|board| board.entries().iter().map(|(_, item)| *item));
        items.filter(|item| !self.is_excluded(*item)).collect()
    }

    pub(crate) fn is_excluded(&self, item: Handle) -> bool {
        self.excluded.contains(item)
    }

    /// Where among the candidates it is.
    pub(crate) fn place_of(&self, item: Handle) -> Option<usize> {
        self.candidates.iter().position(|c| c.item == item)
    }

    /// Whether a channel names the item.
    pub(crate) fn is_named(&self, item: Handle, by: Channel) -> bool {
        let mut named = self.candidates.iter().filter(|c| c.named_by(by.index()));
        named.any(|c| c.item == item)
    }

    fn take_boards(&mut self, global: &Global) {
        self.now_ms = global.now_ms;
        let best = global
            .boards
            .each_ref()
            .map(|board| board.largest().unwrap_or(0.0));
        let wanted_share = (global.positives as f32 + 1.0) / (global.events as f32 + 1.0);
        self.scales = Scales::new(global.now_ms, &best, wanted_share);
        for channel in CHANNELS {
            if let Some(board) = channel.board().and_then(|at| global.boards.get(at)) {
                self.take_board(channel, board);
            }
        }
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        let rising = global.trending.rising().iter();
        let rising = rising.filter(|(_, item)| !self.is_excluded(*item));
        list.extend(rising.map(|(above, item)| (*above, item.bits())));
        self.take_list(Channel::Trending, &list);
        self.list = list;
    }

    fn take_list(&mut self, channel: Channel, list: &[(f32, u32)]) {
        let best = list.first().map_or(1.0, |e| e.0).max(f32::MIN_POSITIVE);
        let mut shares = [[0.0; 2]; CANDIDATES];
        for (share, (score, _)) in shares.iter_mut().zip(list) {
            *share = describe_share(score / best);
        }
        for (rank, ((_, bits), share)) in list.iter().zip(shares).enumerate() {
            let item = Handle::from_bits(*bits);
            let at = match self.index.get(item.slot()) {
                Some(at) => at as usize,
                None => {
                    if let Some(traits) = self.traits.get(item.slot() as usize) {
                        traits.prefetch();
                    }
                    let at = self.candidates.len();
                    self.index.set(item.slot(), at as u32);
                    self.candidates.push(Candidate { item, channels: 0 });
                    self.features.push([0.0; FEATURES]);
                    at
                }
            };
            self.candidates[at].channels |= 1 << channel.index();
            describe_rank(&mut self.features[at], channel, rank, share);
        }
    }

    fn item_cf<R: Records>(&mut self, records: &mut R) -> Result<()> {
        self.slots.clear();
        let latest = self.history.iter().take(QUERY_ITEMS);
        self.slots.extend(latest.map(|touch| touch.item.slot()));
        records.prefetch_rows(&self.slots)?;
        for rank in 0..self.history.len().min(QUERY_ITEMS) {
            let touch = self.history[rank];
            let Some(facts) = self.facts(records, touch.item.slot())? else {
                continue;
            };
            let weight = touch.weight * facts.inverse_root;
            let short = exp(-(rank as f32) / QUERY_NEAR) * weight;
            let long = exp(-(rank as f32) / QUERY_FAR) * weight;
            let mut done = 0;
            // From where something has to be looked up it goes on after that: in which order the
            // parts are added does not depend on what is known.
            while let Some(row) = records.row(touch.item.slot())? {
                let rest = row.entries().get(done..).unwrap_or_default();
                let mut sums = self.sums.adding();
                let stopped = rest
                    .iter()
                    .position(|(other, [near, far])| !sums.add(*other, [short * near, long * far]));
                let Some((other, _)) = stopped.and_then(|at| rest.get(at)) else {
                    break;
                };
                let unknown = other.slot();
                done += stopped.unwrap_or(0);
                self.sums.ask(records, unknown)?;
            }
        }
        self.take_sums(Factor::InverseRoot, Channel::CfNear, Channel::CfFar);
        Ok(())
    }

    /// The two parts of the sums become the lists of two channels.
    fn take_sums(&mut self, factor: Factor, first: Channel, second: Channel) {
        self.first.start(CANDIDATES);
        self.second.start(CANDIDATES);
        let tops = [&mut self.first, &mut self.second];
        self.sums.take(factor, &self.excluded, tops);
        let mut list = std::mem::take(&mut self.list);
        self.first.finish(&mut list);
        self.take_list(first, &list);
        self.second.finish(&mut list);
        self.take_list(second, &list);
        self.list = list;
    }

    /// Nearest neighbours among the users (or sessions) that touched the query's items lately.
    fn knn<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        let now_ms = records.global()?.map_or(0, |global| global.now_ms);
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
        self.people.nearest(KNN_NEIGHBOURS, &mut self.neighbours);
        self.bring_near(records)?;
        if self.nearness.is_empty() {
            self.nearness.extend((0..1_000).map(|distance| {
                let distance = distance as f32;
                1.0 / (1.0 + distance * distance * KNN_DISTANCE)
            }));
        }
        for at in 0..self.neighbours.len() {
            let neighbour = self.neighbours[at];
            let mut done = 0;
            while let Some(other) = records
                .user(neighbour.who.slot())?
                .filter(|other| other.generation == neighbour.who.generation())
            {
                let theirs = other.history.items();
                let length = theirs.len() as f32;
                let age = now_ms.saturating_sub(other.last_ms).max(0) as f32;
                let people = neighbour.people / length.sqrt();
                let session = neighbour.session / length.sqrt() / (1.0 + age / KNN_AGE_MS);
                // The shared item may have fallen out of their history: then nothing is near it.
                let met = theirs
                    .iter()
                    .rposition(|(item, _)| *item == neighbour.shared);
                let (met, session) = met.map_or((0, 0.0), |met| (met, session));
                let rest = theirs.iter().enumerate().skip(done);
                let nearness = self.nearness.as_slice();
                let stopped = rest.map(|(n, (item, weight))| {
                    // After the match comes what followed it: the match itself is at 0.
                    let near = nearness.get(met.abs_diff(n)).copied().unwrap_or(0.0);
                    (n, item, [people * weight, session * near])
                });
                let mut sums = self.sums.adding();
                let mut stopped = stopped.filter(|(_, item, by)| !sums.add(**item, *by));
                let Some((n, item, _)) = stopped.next() else {
                    break;
                };
                let unknown = item.slot();
                done = n;
                self.sums.ask(records, unknown)?;
            }
        }
        self.take_sums(Factor::Idf, Channel::UserKnn, Channel::SessionKnn);
        Ok(())
    }

    /// Has the neighbours' histories read all at once.
    fn bring_near<R: Records>(&mut self, records: &mut R) -> Result<()> {
        self.slots.clear();
        let neighbours = self.neighbours.iter();
        self.slots
            .extend(neighbours.map(|neighbour| neighbour.who.slot()));
        records.prefetch_users(&self.slots)?;
        for slot in &self.slots {
            if let Some(user) = records.user(*slot)? {
                user.history.prefetch();
            }
        }
        Ok(())
    }

    fn take_board(&mut self, channel: Channel, board: &Board) {
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for (n, (_, item)) in board.entries().iter().enumerate() {
            if list.len() >= CANDIDATES {
                break;
            }
            if !self.is_excluded(*item) {
                list.push((1.0 / (1.0 + n as f32 / 20.0), item.bits()));
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
                list.push((1.0 / (1.0 + rank as f32), touch.item.bits()));
            }
        }
        self.take_list(Channel::Again, &list);
        self.list = list;
    }

    /// What is popular in the categories of the user's items: the profile's interests, as far as the
    /// history goes back, the latest counting most.
    fn by_category<R: Records>(&mut self, records: &mut R) -> Result<()> {
        let mut total = 0.0;
        for rank in 0..self.history.len().min(INTEREST_ITEMS) {
            let touch = self.history[rank];
            let Some(category) = self.traits_of(records, touch.item.slot())?.category() else {
                continue;
            };
            let interest = exp(-(rank as f32) / INTEREST_DECAY) * touch.weight;
            total += interest;
            match self.interests.iter_mut().find(|(c, _)| *c == category) {
                Some((_, sum)) => *sum += interest,
                None => self.interests.push((category, interest)),
            }
        }
        for (_, interest) in &mut self.interests {
            *interest /= total;
        }
        self.interests
            .sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut list = std::mem::take(&mut self.list);
        list.clear();
        for (category, share) in self.interests.iter().take(INTERESTS) {
            let Some(record) = records.category(category.slot())? else {
                continue;
            };
            if record.is(*category) {
                let items = record.board.entries().iter().map(|(_, item)| *item);
                let items = items.filter(|item| !self.is_excluded(*item)).zip(0_u8..);
                let scored =
                    items.map(|(item, n)| (share / (1.0 + f32::from(n) / 10.0), item.bits()));
                list.extend(scored);
            }
        }
        list.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
        list.truncate(CANDIDATES);
        self.take_list(Channel::Category, &list);
        self.list = list;
        Ok(())
    }

    fn traits_of<R: Records>(&mut self, records: &mut R, slot: u32) -> Result<Traits> {
        let known = self.traits.get(slot as usize);
        if known.is_none_or(|traits| !traits.is_known()) {
            self.ask(records, slot)?;
        }
        let traits = self.traits.get(slot as usize);
        Ok(traits.copied().unwrap_or(Traits::UNKNOWN))
    }

    /// Features that do not come from a channel; drops candidates that are no more.
    pub(crate) fn describe<R: Records>(&mut self, records: &mut R) -> Result<()> {
        let mut n = 0;
        while n < self.candidates.len() {
            let handle = self.candidates[n].item;
            let slot = handle.slot();
            if self
                .traits
                .get(slot as usize)
                .is_none_or(|traits| !traits.is_known())
            {
                self.ask(records, slot)?;
            }
            let traits = self.traits.get(slot as usize);
            let Some(traits) = traits.filter(|traits| traits.are_of(handle)) else {
                self.candidates.swap_remove(n);
                self.features.swap_remove(n);
                continue;
            };
            let row = &mut self.features[n];
            describe_item(row, traits, &self.scales);
            if let Some(category) = traits.category()
                && let Some((_, share)) = self.interests.iter().find(|(c, _)| *c == category)
            {
                describe_interest(row, *share);
            }
            if let Some(rank) = self.own.get(slot) {
                describe_own(row, rank as usize, self.history.get(rank as usize));
            }
            n += 1;
        }
        Ok(())
    }
}
