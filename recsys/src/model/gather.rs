use prefetch_index::prefetch_index;

use crate::error::Result;
use crate::model::board::Board;
use crate::model::channel::{CHANNELS, Channel};
use crate::model::crowd::Crowd;
use crate::model::features::{
    FEATURES, Scales, Traits, describe_interest, describe_item, describe_own, describe_rank,
    describe_share, describe_wanted,
};
use crate::model::handle::Handle;
use crate::model::history::Touch;
use crate::model::math::exp;
use crate::model::options::{
    CANDIDATES, INTEREST_DECAY, INTEREST_ITEMS, INTERESTS, QUERY_FAR, QUERY_ITEMS, QUERY_NEAR,
};
use crate::model::peers::Peers;
use crate::model::records::{BOARD_ALL_TIME, BOARDS, Global, ItemRecord, Records};
use crate::model::row::Row;
use crate::model::scratch::{Left, Marks, Top};
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
    /// Of the items of the history.
    facts: Vec<Facts>,
    excluded: Left,
    own: Marks,
    sums: Sums,
    crowd: Crowd,
    list: Vec<(f32, u32)>,
    slots: Vec<u32>,
    first: Top,
    second: Top,
    scales: Scales,
    /// The categories of the history and their shares of the interest, strongest first.
    interests: Vec<(Handle, f32)>,
    index: Marks,
    wanted: Vec<f32>,
    /// A query began and did not end: its sums are still there.
    broken_off: bool,
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) features: Vec<[f32; FEATURES]>,
    pub(crate) now_ms: i64,
}

impl Gather {
    /// For histories of so many items at most.
    pub(crate) fn of_histories(items: usize) -> Self {
        let mut gather = Self::default();
        gather.crowd.peers = Peers::of_histories(items);
        gather
    }

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

    /// Forgets what was derived of the user in a slot, whose record has changed.
    pub(crate) fn forget_user(&mut self, slot: u32) {
        self.crowd.peers.forget(slot);
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
        self.resolve(records)?;
        let named = self.personal(records, user);
        self.sums.show();
        named?;
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

    /// What the history leads to: through its items, and through those who touched them.
    fn personal<R: Records>(&mut self, records: &mut R, user: Option<Handle>) -> Result<()> {
        self.sums.hide(records, self.excluded.items())?;
        self.item_cf(records)?;
        self.take_sums(Factor::InverseRoot, Channel::CfNear, Channel::CfFar);
        let history = self.history.iter().zip(&self.facts);
        self.crowd.add_to(&mut self.sums, records, user, history)?;
        self.take_sums(Factor::Idf, Channel::UserKnn, Channel::SessionKnn);
        Ok(())
    }

    /// Looks up what is needed of the history's items; those that are no more are left out of it.
    fn resolve<R: Records>(&mut self, records: &mut R) -> Result<()> {
        self.facts.clear();
        while let Some(touch) = self.history.get(self.facts.len()) {
            match self.sums.facts(records, touch.item.slot())? {
                Some(facts) if facts.handle == touch.item => {
                    self.own.set(touch.item.slot(), self.facts.len() as u32);
                    self.facts.push(facts);
                }
                _ => {
                    self.history.remove(self.facts.len());
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
                    prefetch_index(&self.traits, item.slot() as usize);
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
        let history = self.history.iter().zip(&self.facts).take(QUERY_ITEMS);
        for (rank, (touch, facts)) in history.enumerate() {
            let weight = touch.weight * facts.inverse_root;
            let short = exp(-(rank as f32) / QUERY_NEAR) * weight;
            let long = exp(-(rank as f32) / QUERY_FAR) * weight;
            if let Some(row) = records.row(touch.item.slot())? {
                add_row(&mut self.sums, row, short, long);
                self.sums.catch_up(records)?;
            }
        }
        Ok(())
    }

    /// The two parts of the sums become the lists of two channels.
    fn take_sums(&mut self, factor: Factor, first: Channel, second: Channel) {
        self.first.start(CANDIDATES);
        self.second.start(CANDIDATES);
        let tops = [&mut self.first, &mut self.second];
        self.sums.take(factor, tops);
        let mut list = std::mem::take(&mut self.list);
        self.first.finish(&mut list);
        self.take_list(first, &list);
        self.second.finish(&mut list);
        self.take_list(second, &list);
        self.list = list;
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
        self.wanted.clear();
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
            self.wanted.push(describe_item(row, traits, &self.scales));
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
        describe_wanted(&mut self.features, &mut self.wanted);
        Ok(())
    }
}

/// A function of its own, so that its loop has the registers for itself.
#[inline(never)]
fn add_row(sums: &mut Sums, row: &Row, short: f32, long: f32) {
    let entries = row.entries().iter();
    sums.add(entries.map(|(other, [near, far])| (other.bits(), [short * near, long * far])));
}
