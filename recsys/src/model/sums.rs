//! Sums over items, the inner loop of a query.

use crate::error::Result;
use crate::model::handle::{Handle, MAX_SLOTS};
use crate::model::records::{ItemRecord, Records};
use crate::model::scratch::Top;

/// What is needed of an item for each of thousands of sums: a pure function of its record.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts {
    pub(crate) handle: Handle,
    /// `mass^-0.5`: how much popular items are held back, on both sides of a pair.
    pub(crate) inverse_root: f32,
    /// `(1 + users)^-0.5`.
    pub(crate) idf: f32,
}

/// What a sum is multiplied with in the end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Factor {
    InverseRoot,
    Idf,
}

const LANES: usize = 4;
/// Blocks that share a flag.
const GROUP: usize = 4;
/// The holder of a slot that nothing is known of.
const UNKNOWN: u32 = 0;
/// The holder of a free slot: no handle has these bits.
const FREE: u32 = 1 << 24;

/// Four items side by side in one cache line: an addition touches no other, and the end of a query
/// takes them four at a time.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Block {
    /// Bits of the handle now in the slot, or [`UNKNOWN`], or [`FREE`].
    holder: [u32; LANES],
    /// Both sums of an item lie side by side: one instruction adds to both.
    sums: [[f32; 2]; LANES],
    inverse_root: [f32; LANES],
}

const EMPTY: Block = Block {
    holder: [UNKNOWN; LANES],
    sums: [[0.0; 2]; LANES],
    inverse_root: [0.0; LANES],
};

/// Two sums by item, and the factors they end up with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    groups: Vec<[Block; GROUP]>,
    /// Beside the blocks.
    idf: Vec<[[f32; LANES]; GROUP]>,
    /// Of each group of blocks: whether anything was added in it.
    touched: Vec<bool>,
    /// Slots of items that are hidden, and their factors.
    hidden: Vec<(u32, [f32; 2])>,
    /// The groups where something was added, the largest products there, and all of them.
    largest: Vec<(u32, [f32; 2])>,
    products: Vec<[[[f32; 2]; LANES]; GROUP]>,
    spare: Vec<u32>,
    /// What could not be added so far, as nothing is known of its slot.
    late: Vec<(u32, [f32; 2])>,
}

/// The group, the block in it and the lane of an item, by its slot plus one as handles have it.
const fn place(of: u32) -> (usize, usize, usize) {
    let of = (of & MAX_SLOTS) as usize;
    (of / (GROUP * LANES), of / LANES % GROUP, of % LANES)
}

/// Kept apart: it would cost the additions their registers.
#[cold]
#[inline(never)]
fn postpone(late: &mut Vec<(u32, [f32; 2])>, bits: u32, by: [f32; 2]) {
    late.push((bits, by));
}

impl Sums {
    /// Forgets what was derived of the item in a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        let (at, block, lane) = place(slot + 1);
        if let Some(group) = self.groups.get_mut(at) {
            group[block].holder[lane] = UNKNOWN;
        }
    }

    /// Derives anew what is needed of an item whose record has changed.
    pub(crate) fn changed(&mut self, slot: u32, item: &ItemRecord) {
        let (at, block, lane) = self.make(slot);
        let (Some(group), Some(idf)) = (self.groups.get_mut(at), self.idf.get_mut(at)) else {
            return;
        };
        let (block, idf) = (&mut group[block], &mut idf[block]);
        if item.id.is_empty() {
            block.holder[lane] = FREE;
            (block.inverse_root[lane], idf[lane]) = (0.0, 0.0);
        } else {
            block.holder[lane] = Handle::new(slot, item.generation).bits();
            block.inverse_root[lane] = item.mass.max(1.0).sqrt().recip();
            idf[lane] = (1.0 + item.users as f32).sqrt().recip();
        }
    }

    /// Looks at the record of the item in a slot.
    #[cold]
    #[inline(never)]
    pub(crate) fn ask<R: Records>(&mut self, r: &mut R, slot: u32) -> Result<()> {
        match r.item(slot)? {
            Some(item) => self.changed(slot, item),
            None => {
                let (at, block, lane) = self.make(slot);
                if let Some(group) = self.groups.get_mut(at) {
                    group[block].holder[lane] = FREE;
                }
            }
        }
        Ok(())
    }

    fn make(&mut self, slot: u32) -> (usize, usize, usize) {
        let place = place(slot + 1);
        if place.0 >= self.groups.len() {
            self.touched.resize(place.0 + 1, false);
            self.groups.resize(place.0 + 1, [EMPTY; GROUP]);
            self.idf.resize(place.0 + 1, [[0.0; LANES]; GROUP]);
        }
        place
    }

    /// Their products are 0 until [`show`](Self::show). They are added to all the same: a query's own items are
    /// met so often that leaving them out would be a branch that nobody can predict.
    pub(crate) fn hide<R: Records>(&mut self, r: &mut R, items: &[Handle]) -> Result<()> {
        for item in items {
            let (at, block, lane) = place(item.bits());
            let known = self.groups.get(at);
            if known.is_none_or(|group| group[block].holder[lane] == UNKNOWN) {
                self.ask(r, item.slot())?;
            }
            if let (Some(group), Some(idf)) = (self.groups.get_mut(at), self.idf.get_mut(at))
                && group[block].holder[lane] == item.bits()
            {
                let factors = [&mut group[block].inverse_root[lane], &mut idf[block][lane]];
                self.hidden.push((item.slot(), factors.map(std::mem::take)));
            }
        }
        Ok(())
    }

    /// Ends what [`hide`](Self::hide) began.
    pub(crate) fn show(&mut self) {
        // The other way round, should an item have been hidden twice.
        for (slot, factors) in self.hidden.drain(..).rev() {
            let (at, block, lane) = place(slot + 1);
            if let (Some(group), Some(idf)) = (self.groups.get_mut(at), self.idf.get_mut(at)) {
                [group[block].inverse_root[lane], idf[block][lane]] = factors;
            }
        }
    }

    /// Drops all sums.
    #[cold]
    pub(crate) fn clear(&mut self) {
        self.show();
        self.late.clear();
        self.touched.fill(false);
        for block in self.groups.as_flattened_mut() {
            block.sums = [[0.0; 2]; LANES];
        }
    }

    /// Adds to the items with these handles' bits, each item at most once; references that have outlived
    /// their items count for nothing. What is not known yet waits for [`catch_up`](Self::catch_up).
    #[inline(always)]
    pub(crate) fn add(&mut self, items: impl Iterator<Item = (u32, [f32; 2])>) {
        // Of one length, so that one comparison says that an item has its place in both.
        let known = self.groups.len().min(self.touched.len());
        let (groups, touched) = (&mut self.groups[..known], &mut self.touched[..known]);
        for (bits, by) in items {
            let (at, block, lane) = place(bits);
            if at >= known {
                postpone(&mut self.late, bits, by);
                continue;
            }
            let block = &mut groups[at][block];
            if block.holder[lane] == bits {
                let sums = &mut block.sums[lane];
                *sums = [sums[0] + by[0], sums[1] + by[1]];
                touched[at] = true;
            } else if block.holder[lane] == UNKNOWN {
                postpone(&mut self.late, bits, by);
            }
        }
    }

    /// Looks up what was not known, and adds it. To be called after each run of distinct items, so that the
    /// order of additions does not depend on what is known.
    #[inline]
    pub(crate) fn catch_up<R: Records>(&mut self, r: &mut R) -> Result<()> {
        match self.late.is_empty() {
            true => Ok(()),
            false => self.look_up(r),
        }
    }

    #[cold]
    fn look_up<R: Records>(&mut self, r: &mut R) -> Result<()> {
        let late = std::mem::take(&mut self.late);
        for (bits, _) in &late {
            self.ask(r, Handle::from_bits(*bits).slot())?;
        }
        self.add(late.into_iter());
        Ok(())
    }

    /// The facts of the item now in the slot.
    #[inline]
    pub(crate) fn facts<R: Records>(&mut self, r: &mut R, slot: u32) -> Result<Option<Facts>> {
        let (at, block, lane) = place(slot + 1);
        let known = self.groups.get(at);
        if known.is_none_or(|group| group[block].holder[lane] == UNKNOWN) {
            self.ask(r, slot)?;
        }
        let (Some(group), Some(idf)) = (self.groups.get(at), self.idf.get(at)) else {
            return Ok(None);
        };
        let (block, idf) = (&group[block], &idf[block]);
        Ok((block.holder[lane] != FREE).then(|| Facts {
            handle: Handle::from_bits(block.holder[lane]),
            inverse_root: block.inverse_root[lane],
            idf: idf[lane],
        }))
    }

    /// Multiplies the sums and gives them to `tops`; all sums are 0 then.
    ///
    /// The n-th largest of the groups' maxima, or of maxima of several groups, is no larger than the n-th largest product: most groups
    /// are passed over for it.
    pub(crate) fn take(&mut self, factor: Factor, tops: [&mut Top; 2]) {
        self.largest.clear();
        self.products.clear();
        let all = self.groups.iter_mut().zip(&self.idf).zip(0..);
        for (touched, ((blocks, idfs), at)) in self.touched.iter_mut().zip(all) {
            if !std::mem::take(touched) {
                continue;
            }
            let mut most = [[0.0_f32; 2]; LANES];
            let mut products = [[[0.0_f32; 2]; LANES]; GROUP];
            for ((block, idf), products) in blocks.iter_mut().zip(idfs).zip(&mut products) {
                let factors = match factor {
                    Factor::InverseRoot => &block.inverse_root,
                    Factor::Idf => idf,
                };
                for (((product, most), sums), by) in products
                    .iter_mut()
                    .zip(&mut most)
                    .zip(&block.sums)
                    .zip(factors)
                {
                    *product = [sums[0] * by, sums[1] * by];
                    *most = [larger(most[0], product[0]), larger(most[1], product[1])];
                }
                block.sums = [[0.0; 2]; LANES];
            }
            let [a, b, c, d] = most;
            let largest = |n: usize| larger(larger(a[n], b[n]), larger(c[n], d[n]));
            self.largest.push((at, [largest(0), largest(1)]));
            self.products.push(products);
        }
        let [a, b] = tops;
        // Some hundreds of maxima say nearly as much as thousands, and are put in order sooner.
        let together = (self.largest.len() / 256).max(1);
        for (part, top) in [&mut *a, &mut *b].into_iter().enumerate() {
            let largest = self.largest.chunks(together).map(|groups| {
                let largest = groups.iter().map(|(_, largest)| largest[part]);
                largest.fold(0.0, larger).to_bits()
            });
            self.spare.clear();
            self.spare.extend(largest);
            top.raise(&mut self.spare);
        }
        // One after the other: what interests one mostly does not interest the other.
        for (part, top) in [a, b].into_iter().enumerate() {
            for ((at, largest), products) in self.largest.iter().zip(&self.products) {
                if largest[part] < top.floor() {
                    continue;
                }
                let Some(blocks) = self.groups.get(*at as usize) else {
                    continue;
                };
                let holders = blocks.iter().flat_map(|block| block.holder);
                for (product, holder) in products.as_flattened().iter().zip(holders) {
                    top.push(product[part], holder);
                }
            }
        }
    }
}

/// Of two numbers; one comparison in a vector register, which [`f32::max`] with its care for NaN is not.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MemoryRecords;

    #[test]
    fn sums_are_multiplied_and_left_out() {
        let mut r = MemoryRecords::default();
        for slot in 0..40_u32 {
            r.update_item(slot, |i| {
                i.id = slot.to_string().into();
                i.generation = u8::from(slot == 7);
                i.mass = 4.0;
                i.users = 3;
            })
            .unwrap();
        }
        let mut sums = Sums::default();
        let add = |sums: &mut Sums, r: &mut MemoryRecords, slot, generation, by| {
            let bits = Handle::new(slot, generation).bits();
            sums.add(std::iter::once((bits, by)));
            sums.catch_up(r).unwrap();
        };
        let run = |sums: &mut Sums, factor| {
            let (mut a, mut b, mut lists) = (Top::default(), Top::default(), [vec![], vec![]]);
            a.start(2);
            b.start(2);
            sums.take(factor, [&mut a, &mut b]);
            a.finish(&mut lists[0]);
            b.finish(&mut lists[1]);
            lists.map(|list| {
                list.into_iter()
                    .map(|(x, bits)| (Handle::from_bits(bits).slot(), x))
                    .collect::<Vec<_>>()
            })
        };
        for factor in [Factor::InverseRoot, Factor::Idf, Factor::Idf] {
            sums.hide(&mut r, &[Handle::new(5, 0), Handle::new(8, 9)])
                .unwrap();
            for slot in [3, 39, 3, 5, 8] {
                add(&mut sums, &mut r, slot, 0, [2.0, 0.0]);
            }
            // A stale reference and one into a free slot count for nothing.
            add(&mut sums, &mut r, 7, 0, [90.0, 90.0]);
            add(&mut sums, &mut r, 45, 0, [90.0, 90.0]);
            add(&mut sums, &mut r, 8, 0, [0.0, 6.0]);
            let [a, b] = run(&mut sums, factor);
            sums.show();
            assert_eq!(a, [(3, 2.0), (8, 1.0)]);
            assert_eq!(b, [(8, 3.0)]);
        }
        assert_eq!(run(&mut sums, Factor::Idf), [vec![], vec![]]);
    }
}
