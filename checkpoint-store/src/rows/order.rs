//! Rows of one key group in the order of their keys.
//!
//! Keys are compared by eight bytes that lie side by side in an array: those behind what all keys of the group
//! begin with, so that they tell most keys apart. Only keys that agree in them are looked up. Many are sorted by
//! radix (Knuth, The Art of Computer Programming 3, 5.2.5), byte by byte from the last one, passing over
//! bytes that all have in common: numbers that are close to each other differ in two or three.

/// A row and eight bytes of its key.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Prefixed {
    /// Equal where keys are, and in the same order otherwise unless it is equal.
    pub(super) prefix: u64,
    pub(super) row: usize,
}

/// Below this a sort by comparisons is faster.
const RADIX_ROWS: usize = 1024;

/// Sorts the rows of one key group after the other, in the same memory.
#[derive(Debug, Default)]
pub(super) struct Order {
    rows: Vec<Prefixed>,
    scratch: Vec<Prefixed>,
}

impl Order {
    /// The rows in ascending order of their keys, those with equal keys in the order in which they are given.
    pub(super) fn sort<'k>(
        &mut self,
        rows: impl Iterator<Item = usize>,
        key: impl Fn(usize) -> &'k [u8],
    ) -> &[Prefixed] {
        self.rows.clear();
        self.rows
            .extend(rows.map(|row| Prefixed { prefix: 0, row }));
        let common = self.common_prefix(&key);
        for item in &mut self.rows {
            item.prefix = prefix(&key(item.row)[common..]);
        }
        if self.rows.len() < RADIX_ROWS {
            self.rows.sort_by_key(|item| item.prefix);
        } else {
            self.sort_by_radix();
        }
        for alike in self.rows.chunk_by_mut(|a, b| a.prefix == b.prefix) {
            if alike.len() > 1 {
                alike.sort_by(|a, b| key(a.row).cmp(key(b.row)));
            }
        }
        &self.rows
    }

    /// How many bytes all keys begin with alike.
    fn common_prefix<'k>(&self, key: impl Fn(usize) -> &'k [u8]) -> usize {
        let Some(first) = self.rows.first() else {
            return 0;
        };
        // Most keys are told apart by their first eight bytes, which is one look at each.
        let start = prefix(key(first.row));
        let look = |differing, item: &Prefixed| {
            let key = key(item.row);
            let short = if key.len() < 8 { u64::MAX } else { 0 };
            differing | short | (prefix(key) ^ start)
        };
        let differing = self.rows.iter().fold(0, look);
        if differing != 0 {
            return differing.leading_zeros() as usize / 8;
        }
        let mut common = key(first.row);
        for item in &self.rows {
            let key = key(item.row);
            if !key.starts_with(common) {
                let alike = common.iter().zip(key).take_while(|(a, b)| a == b);
                common = &common[..alike.count()];
            }
            if common.is_empty() {
                break;
            }
        }
        common.len()
    }

    /// Stable, as each of its passes is.
    fn sort_by_radix(&mut self) {
        let Some(Prefixed { prefix: first, .. }) = self.rows.first().copied() else {
            return;
        };
        let differing = self
            .rows
            .iter()
            .fold(0, |differing, item| differing | (item.prefix ^ first));
        self.scratch.resize(self.rows.len(), Prefixed::default());
        for shift in (0..u64::BITS).step_by(8) {
            let digit = |item: &Prefixed| usize::from((item.prefix >> shift) as u8);
            if (differing >> shift) as u8 == 0 {
                continue;
            }
            let mut next = [0_usize; 256];
            for item in &self.rows {
                next[digit(item)] += 1;
            }
            let mut before = 0;
            for count in &mut next {
                before += std::mem::replace(count, before);
            }
            for item in &self.rows {
                let next = &mut next[digit(item)];
                self.scratch[*next] = *item;
                *next += 1;
            }
            std::mem::swap(&mut self.rows, &mut self.scratch);
        }
    }
}

/// The first eight bytes, zeros behind the end.
fn prefix(key: &[u8]) -> u64 {
    if let Some(prefix) = key.first_chunk() {
        return u64::from_be_bytes(*prefix);
    }
    let mut prefix = [0; 8];
    prefix[..key.len()].copy_from_slice(key);
    u64::from_be_bytes(prefix)
}
