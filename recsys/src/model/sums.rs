//! Sums over items, the inner loop of a query.

use crate::error::Result;
use crate::model::handle::Handle;
use crate::model::records::{ItemRecord, Records};
use crate::model::scratch::{Left, Top};

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
/// Blocks that share a flag, and a maximum.
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
    blocks: Vec<Block>,
    /// Beside the blocks.
    idf: Vec<[f32; LANES]>,
    /// Of each group of blocks: whether anything was added in it.
    touched: Vec<bool>,
    /// The groups where something was, and the largest products there.
    largest: Vec<(u32, [f32; 2])>,
    spare: Vec<f32>,
}

const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / LANES, slot as usize % LANES)
}

impl Sums {
    /// Forgets what was derived of the item in a slot.
    pub(crate) fn forget(&mut self, slot: u32) {
        let (at, lane) = place(slot);
        if let Some(block) = self.blocks.get_mut(at) {
            block.holder[lane] = UNKNOWN;
        }
    }

    /// Derives anew what is needed of an item whose record has changed.
    pub(crate) fn changed(&mut self, slot: u32, item: &ItemRecord) {
        let (at, lane) = self.make(slot);
        let (Some(block), Some(idf)) = (self.blocks.get_mut(at), self.idf.get_mut(at)) else {
            return;
        };
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
                let (at, lane) = self.make(slot);
                if let Some(block) = self.blocks.get_mut(at) {
                    block.holder[lane] = FREE;
                }
            }
        }
        Ok(())
    }

    fn make(&mut self, slot: u32) -> (usize, usize) {
        let (at, lane) = place(slot);
        if at >= self.blocks.len() {
            let flags = at / GROUP + 1;
            self.touched.resize(flags, false);
            self.blocks.resize(flags * GROUP, EMPTY);
            self.idf.resize(flags * GROUP, [0.0; LANES]);
        }
        (at, lane)
    }

    /// Drops all sums.
    #[cold]
    pub(crate) fn clear(&mut self) {
        self.touched.fill(false);
        for block in &mut self.blocks {
            block.sums = [[0.0; 2]; LANES];
        }
    }

    /// To add many with.
    #[inline(always)]
    pub(crate) fn adding(&mut self) -> Adding<'_> {
        Adding {
            blocks: &mut self.blocks,
            touched: &mut self.touched,
        }
    }

    /// The facts of the item now in the slot.
    #[inline]
    pub(crate) fn facts<R: Records>(&mut self, r: &mut R, slot: u32) -> Result<Option<Facts>> {
        let (at, lane) = place(slot);
        let known = self.blocks.get(at);
        if known.is_none_or(|block| block.holder[lane] == UNKNOWN) {
            self.ask(r, slot)?;
        }
        let (Some(block), Some(idf)) = (self.blocks.get(at), self.idf.get(at)) else {
            return Ok(None);
        };
        Ok((block.holder[lane] != FREE).then(|| Facts {
            handle: Handle::from_bits(block.holder[lane]),
            inverse_root: block.inverse_root[lane],
            idf: idf[lane],
        }))
    }

    /// Multiplies the sums and gives those that are not left out to `tops`; all sums are 0 then.
    ///
    /// The n-th largest of the groups' maxima is no larger than the n-th largest product: most groups
    /// are passed over for it.
    pub(crate) fn take(&mut self, factor: Factor, excluded: &Left, tops: [&mut Top; 2]) {
        for slot in excluded.slots() {
            let (at, lane) = place(slot);
            if let Some(block) = self.blocks.get_mut(at)
                && excluded.contains(Handle::from_bits(block.holder[lane]))
            {
                block.sums[lane] = [0.0; 2];
            }
        }
        self.largest.clear();
        let groups = self.blocks.as_chunks::<GROUP>().0.iter();
        let groups = groups.zip(self.idf.as_chunks::<GROUP>().0).zip(0..);
        for (touched, ((blocks, idfs), at)) in self.touched.iter_mut().zip(groups) {
            if !std::mem::take(touched) {
                continue;
            }
            let mut most = [[0.0_f32; 2]; LANES];
            for (block, idf) in blocks.iter().zip(idfs) {
                let factors = block.factors(factor, idf);
                for ((most, sums), by) in most.iter_mut().zip(&block.sums).zip(factors) {
                    *most = [larger(most[0], sums[0] * by), larger(most[1], sums[1] * by)];
                }
            }
            let [a, b, c, d] = most;
            let largest = |n: usize| larger(larger(a[n], b[n]), larger(c[n], d[n]));
            self.largest.push((at, [largest(0), largest(1)]));
        }
        let [a, b] = tops;
        for (part, top) in [&mut *a, &mut *b].into_iter().enumerate() {
            self.spare.clear();
            self.spare
                .extend(self.largest.iter().map(|(_, largest)| largest[part]));
            top.raise(&mut self.spare);
        }
        for (at, largest) in self.largest.drain(..) {
            let from = at as usize * GROUP;
            let blocks = self.blocks.iter_mut().zip(&self.idf).skip(from).take(GROUP);
            let hopeless = largest[0] < a.floor() && largest[1] < b.floor();
            for (block, idf) in blocks {
                if !hopeless {
                    let factors = block.factors(factor, idf);
                    for (lane, by) in factors.iter().enumerate() {
                        let [first, second] = block.sums[lane];
                        a.push(first * by, block.holder[lane]);
                        b.push(second * by, block.holder[lane]);
                    }
                }
                block.sums = [[0.0; 2]; LANES];
            }
        }
    }
}

/// Sums that are being added to. Slices, so that an addition need not look again for where they lie.
pub(crate) struct Adding<'a> {
    blocks: &'a mut [Block],
    touched: &'a mut [bool],
}

impl Adding<'_> {
    /// Adds unless the reference has outlived its item. `false`: nothing is known of the slot, which is
    /// to be [asked](Sums::ask) first.
    #[inline(always)]
    #[must_use]
    pub(crate) fn add(&mut self, handle: Handle, by: [f32; 2]) -> bool {
        let (at, lane) = place(handle.slot());
        let (Some(block), Some(touched)) =
            (self.blocks.get_mut(at), self.touched.get_mut(at / GROUP))
        else {
            return false;
        };
        let holder = block.holder[lane];
        if holder == handle.bits() {
            let sums = &mut block.sums[lane];
            *sums = [sums[0] + by[0], sums[1] + by[1]];
            *touched = true;
            return true;
        }
        holder != UNKNOWN
    }
}

impl Block {
    #[inline(always)]
    fn factors(&self, factor: Factor, idf: &[f32; LANES]) -> [f32; LANES] {
        match factor {
            Factor::InverseRoot => self.inverse_root,
            Factor::Idf => *idf,
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
        let (mut sums, mut excluded) = (Sums::default(), Left::default());
        excluded.clear();
        excluded.push(Handle::new(5, 0));
        let mut add = |sums: &mut Sums, slot, generation, by| {
            let handle = Handle::new(slot, generation);
            if !sums.adding().add(handle, by) {
                sums.ask(&mut r, slot).unwrap();
                assert!(sums.adding().add(handle, by));
            }
        };
        let run = |sums: &mut Sums, factor| {
            let (mut a, mut b, mut lists) = (Top::default(), Top::default(), [vec![], vec![]]);
            a.start(2);
            b.start(2);
            sums.take(factor, &excluded, [&mut a, &mut b]);
            a.finish(&mut lists[0]);
            b.finish(&mut lists[1]);
            lists.map(|list| {
                list.into_iter()
                    .map(|(x, bits)| (Handle::from_bits(bits).slot(), x))
                    .collect::<Vec<_>>()
            })
        };
        for factor in [Factor::InverseRoot, Factor::Idf, Factor::Idf] {
            for slot in [3, 39, 3, 5, 8] {
                add(&mut sums, slot, 0, [2.0, 0.0]);
            }
            // A stale reference and one into a free slot count for nothing.
            add(&mut sums, 7, 0, [90.0, 90.0]);
            add(&mut sums, 45, 0, [90.0, 90.0]);
            add(&mut sums, 8, 0, [0.0, 6.0]);
            let [a, b] = run(&mut sums, factor);
            assert_eq!(a, [(3, 2.0), (8, 1.0)]);
            assert_eq!(b, [(8, 3.0)]);
        }
        assert_eq!(run(&mut sums, Factor::Idf), [vec![], vec![]]);
    }
}
