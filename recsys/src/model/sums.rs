//! Sums over items, the inner loop of a query.

use crate::error::Result;
use crate::model::handle::Handle;
use crate::model::records::Records;
use crate::model::scratch::{Marks, Top};

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

const LANES: usize = 8;

/// Eight items side by side, so that the end of a query takes them eight at a time.
#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block {
    /// Bits of the youngest handle met, 0 where there was none.
    holder: [u32; LANES],
    first: [f32; LANES],
    second: [f32; LANES],
    /// Factors, 0 where the holder is no more.
    inverse_root: [f32; LANES],
    idf: [f32; LANES],
    /// Bit n: the factors of lane n are those of the record.
    asked: u8,
    touched: bool,
}

const EMPTY: Block = Block {
    holder: [0; LANES],
    first: [0.0; LANES],
    second: [0.0; LANES],
    inverse_root: [0.0; LANES],
    idf: [0.0; LANES],
    asked: 0,
    touched: false,
};

/// Two sums by item, and the factors they end up with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    blocks: Vec<Block>,
    touched: Vec<u32>,
}

const fn place(slot: u32) -> (usize, usize) {
    (slot as usize / LANES, slot as usize % LANES)
}

impl Sums {
    /// Forgets what was derived of an item; its record has changed.
    pub(crate) fn changed(&mut self, slot: u32) {
        let (at, lane) = place(slot);
        if let Some(block) = self.blocks.get_mut(at) {
            block.holder[lane] = 0;
            block.asked &= !(1 << lane);
        }
    }

    /// Where references of two generations meet in one slot, the younger ones count.
    #[inline]
    pub(crate) fn add(&mut self, handle: Handle, by: [f32; 2]) {
        let (at, lane) = place(handle.slot());
        match self.blocks.get_mut(at) {
            Some(block) if block.touched && block.holder[lane] == handle.bits() => {
                block.first[lane] += by[0];
                block.second[lane] += by[1];
            }
            _ => self.add_first(handle, by),
        }
    }

    #[cold]
    #[inline(never)]
    fn add_first(&mut self, handle: Handle, by: [f32; 2]) {
        let (at, lane) = place(handle.slot());
        let block = self.block(at);
        if block.holder[lane] != handle.bits() {
            let other = Handle::from_bits(block.holder[lane]);
            if block.holder[lane] != 0 && other.is_younger(handle) {
                return;
            }
            block.holder[lane] = handle.bits();
            (block.first[lane], block.second[lane]) = (0.0, 0.0);
            block.asked &= !(1 << lane);
        }
        block.first[lane] += by[0];
        block.second[lane] += by[1];
        if !block.touched {
            block.touched = true;
            self.touched.push(at as u32);
        }
    }

    fn block(&mut self, at: usize) -> &mut Block {
        if at >= self.blocks.len() {
            self.blocks.resize(at + 1, EMPTY);
        }
        &mut self.blocks[at]
    }

    /// The facts of the item now in the slot.
    #[inline]
    pub(crate) fn facts<R: Records>(&mut self, r: &mut R, slot: u32) -> Result<Option<Facts>> {
        let (at, lane) = place(slot);
        let block = self.block(at);
        if block.asked >> lane & 1 == 0 {
            ask(block, lane, slot, r)?;
        }
        Ok((block.inverse_root[lane] > 0.0).then_some(Facts {
            handle: Handle::from_bits(block.holder[lane]),
            inverse_root: block.inverse_root[lane],
            idf: block.idf[lane],
        }))
    }

    /// Multiplies the sums and gives those that are not left out to `tops`; all sums are 0 then.
    pub(crate) fn take<R: Records>(
        &mut self,
        r: &mut R,
        factor: Factor,
        excluded: &Marks,
        tops: [&mut Top; 2],
    ) -> Result<()> {
        let [a, b] = tops;
        for at in self.touched.drain(..) {
            let block = &mut self.blocks[at as usize];
            block.touched = false;
            if block.asked != u8::MAX {
                for lane in 0..LANES {
                    if block.first[lane] > 0.0 && block.asked >> lane & 1 == 0 {
                        ask(block, lane, at * LANES as u32 + lane as u32, r)?;
                    }
                }
            }
            let factors = match factor {
                Factor::InverseRoot => &block.inverse_root,
                Factor::Idf => &block.idf,
            };
            let (mut first, mut second) = (block.first, block.second);
            (block.first, block.second) = ([0.0; LANES], [0.0; LANES]);
            for lane in 0..LANES {
                first[lane] *= factors[lane];
                second[lane] *= factors[lane];
            }
            let (floor_a, floor_b) = (a.floor(), b.floor());
            let mut any = false;
            for lane in 0..LANES {
                any |= (first[lane] >= floor_a) | (second[lane] >= floor_b);
            }
            if !any {
                continue;
            }
            for lane in 0..LANES {
                if first[lane] >= floor_a || second[lane] >= floor_b {
                    let handle = Handle::from_bits(block.holder[lane]);
                    if excluded.get(handle.slot()) != Some(handle.bits()) {
                        a.push(first[lane], handle);
                        b.push(second[lane], handle);
                    }
                }
            }
        }
        Ok(())
    }
}

#[cold]
#[inline(never)]
fn ask<R: Records>(block: &mut Block, lane: usize, slot: u32, r: &mut R) -> Result<()> {
    block.asked |= 1 << lane;
    (block.inverse_root[lane], block.idf[lane]) = (0.0, 0.0);
    let Some(item) = r.item(slot)?.filter(|item| !item.id.is_empty()) else {
        return Ok(());
    };
    let live = Handle::new(slot, item.generation).bits();
    if block.holder[lane] != live {
        block.holder[lane] = live;
        (block.first[lane], block.second[lane]) = (0.0, 0.0);
    }
    block.inverse_root[lane] = item.mass.max(1.0).sqrt().recip();
    block.idf[lane] = (1.0 + item.users as f32).sqrt().recip();
    Ok(())
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
        let (mut sums, mut excluded) = (Sums::default(), Marks::default());
        excluded.clear();
        excluded.set(5, Handle::new(5, 0).bits());
        let mut run = |sums: &mut Sums, factor| {
            let (mut a, mut b, mut lists) = (Top::default(), Top::default(), [vec![], vec![]]);
            a.start(2);
            b.start(2);
            sums.take(&mut r, factor, &excluded, [&mut a, &mut b])
                .unwrap();
            a.finish(&mut lists[0]);
            b.finish(&mut lists[1]);
            lists.map(|list| {
                list.into_iter()
                    .map(|(x, h)| (h.slot(), x))
                    .collect::<Vec<_>>()
            })
        };
        for factor in [Factor::InverseRoot, Factor::Idf, Factor::Idf] {
            for slot in [3, 39, 3, 5, 8] {
                sums.add(Handle::new(slot, 0), [2.0, 0.0]);
            }
            // A stale reference and one into a free slot count for nothing.
            sums.add(Handle::new(7, 0), [90.0, 90.0]);
            sums.add(Handle::new(45, 0), [90.0, 90.0]);
            sums.add(Handle::new(8, 0), [0.0, 6.0]);
            let [a, b] = run(&mut sums, factor);
            assert_eq!(a, [(3, 2.0), (8, 1.0)]);
            assert_eq!(b, [(8, 3.0)]);
        }
        assert_eq!(run(&mut sums, Factor::Idf), [vec![], vec![]]);
    }
}
