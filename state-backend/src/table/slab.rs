//! Rows in places that they keep, under an index.
//!
//! Memory comes in pieces of one to two megabytes, of which a slab takes what it needs: address space for a piece is
//! taken at once, the memory behind it, as far as an allocator hands such sizes on to the operating system, as
//! places come into use, and given back as they go. So a slab grows without copying and leaves no holes between the
//! small things that an allocator keeps together. Only a slab of a few dozen kilobytes is one of those. A row keeps its place for as long as it is there: whoever goes through the places from front to back,
//! however long that takes, meets each row that was there all the time once. Only [`compact`](Slab::compact)
//! moves rows, and says which.

use super::{
    index::{Index, MOST},
    prefetch::prefetch,
};
use crate::row_key::RowKey;

/// What has a key to be found by.
pub(crate) trait Keyed {
    fn key(&self) -> &RowKey;
}

/// Items by key.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    index: Index,
    /// All but the last that is used are full.
    pieces: Vec<Vec<Place<T>>>,
    /// Places in use or vacant.
    places: usize,
    /// Places that there is memory for.
    capacity: usize,
    /// The place that was left last, or [`NONE`].
    vacant: u32,
}

#[derive(Debug)]
enum Place<T> {
    Full(T),
    /// And the place that was left before it, or [`NONE`].
    Vacant(u32),
}

const NONE: u32 = u32::MAX;
/// Most bytes of a piece, unless a single item is larger; half of that at least. The tests want several.
const PIECE_BYTES: usize = if cfg!(test) { 64 << 10 } else { 2 << 20 };
const FEWEST: usize = 4;

impl<T> Slab<T> {
    /// Two to the power of this are the places of a piece.
    const BITS: u32 = {
        let size = size_of::<Place<T>>();
        let fit = if size == 0 || size > PIECE_BYTES {
            1
        } else {
            PIECE_BYTES / size
        };
        fit.ilog2()
    };
    const PIECE: usize = 1 << Self::BITS;
    /// What it grows by, once it is as large.
    const STEP: usize = if Self::PIECE < 64 {
        1
    } else {
        Self::PIECE / 64
    };
    /// Up to as many places a piece is allocated as it grows, beyond them as a whole; and so many have to be vacant
    /// for it to shrink, unless half are.
    const MANY: usize = if Self::PIECE < 16 {
        1
    } else {
        Self::PIECE / 16
    };

    pub(crate) fn new() -> Self {
        Self {
            index: Index::default(),
            pieces: Vec::new(),
            places: 0,
            capacity: 0,
            vacant: NONE,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether [`compact`](Self::compact) would give back memory worth its while.
    pub(crate) fn is_loose(&self) -> bool {
        let vacant = self.places - self.len();
        vacant >= Self::MANY || (vacant > 0 && vacant * 2 >= self.places)
    }

    /// All places are below this.
    #[inline]
    pub(crate) fn places(&self) -> usize {
        self.places
    }

    /// Items that there is memory for.
    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Memory that it takes, free places included, and what the items hold elsewhere not.
    pub(crate) fn bytes(&self) -> u64 {
        self.index.bytes() + Self::place_bytes(self.capacity)
    }

    fn place_bytes(places: usize) -> u64 {
        let pieces = places.div_ceil(Self::PIECE);
        (places * size_of::<Place<T>>() + pieces * size_of::<Vec<Place<T>>>()) as u64
    }

    #[inline]
    pub(crate) fn get(&self, place: usize) -> Option<&T> {
        match self
            .pieces
            .get(place >> Self::BITS)?
            .get(place % Self::PIECE)?
        {
            Place::Full(item) => Some(item),
            Place::Vacant(_) => None,
        }
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        let piece = self.pieces.get_mut(place >> Self::BITS)?;
        match piece.get_mut(place % Self::PIECE)? {
            Place::Full(item) => Some(item),
            Place::Vacant(_) => None,
        }
    }

    /// Asks for what a look-up of this hash reads first, and does not wait for it.
    #[inline(always)]
    pub(crate) fn prefetch_index(&self, hash: u64) {
        self.index.prefetch(hash);
    }

    /// Asks for the item that has this hash, which takes a look into the index, and does not wait for it.
    #[inline(always)]
    pub(crate) fn prefetch_item(&self, hash: u64) {
        if let Some(place) = self.index.guess(hash)
            && let Some(piece) = self.pieces.get(place >> Self::BITS)
        {
            prefetch(piece, place % Self::PIECE);
        }
    }

    /// Where the item with this hash is for which `is` is true.
    #[inline(always)]
    pub(crate) fn find(&self, hash: u64, is: impl Fn(&T) -> bool) -> Option<usize> {
        self.index
            .find(hash, |place| self.get(place).is_some_and(&is))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces
            .iter()
            .flatten()
            .filter_map(|place| match place {
                Place::Full(item) => Some(item),
                Place::Vacant(_) => None,
            })
    }

    /// Whether one more item goes in without taking memory.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        (self.places < self.capacity || self.vacant != NONE) && self.index.has_room()
    }

    /// Whether it is as large as it can be.
    pub(crate) fn is_at_its_end(&self) -> bool {
        self.len() >= MOST
    }

    /// Places that [`grow`](Self::grow) makes.
    fn grown(&self) -> usize {
        if self.places < self.capacity || self.vacant != NONE {
            return self.capacity;
        }
        // Twice as many at first.
        let more = self.capacity.max(FEWEST).min(Self::STEP);
        let in_piece = Self::PIECE - self.capacity % Self::PIECE;
        self.capacity + more.min(in_piece)
    }

    /// What [`grow`](Self::grow) takes.
    pub(crate) fn growth_bytes(&self) -> u64 {
        self.index.bytes_for(self.len() + 1) + Self::place_bytes(self.grown()) - self.bytes()
    }

    /// Makes room for one item more, if there is none; returns the memory that took.
    pub(crate) fn grow(&mut self) -> u64 {
        let more = self.growth_bytes();
        self.index.reserve(self.len() + 1);
        self.resize(self.grown());
        more
    }

    /// What [`reserve`](Self::reserve) takes, if so many go in.
    pub(crate) fn reserve_bytes(&self, items: usize) -> Option<u64> {
        let len = self.len().checked_add(items).filter(|len| *len <= MOST)?;
        let places = self.capacity.max(len);
        Some(self.index.bytes_for(len) + Self::place_bytes(places) - self.bytes())
    }

    /// Makes room for so many items more; returns the memory that took.
    pub(crate) fn reserve(&mut self, items: usize) -> u64 {
        let before = self.bytes();
        let len = self.len() + items;
        self.index.reserve(len);
        self.resize(self.capacity.max(len));
        self.bytes() - before
    }

    /// Has so many places, of which all in use are.
    fn resize(&mut self, capacity: usize) {
        let pieces = capacity.div_ceil(Self::PIECE);
        self.pieces.truncate(pieces);
        self.pieces.resize_with(pieces, Vec::new);
        let from = capacity.min(self.capacity) / Self::PIECE;
        for (at, piece) in self.pieces.iter_mut().enumerate().skip(from) {
            let own = (capacity - at * Self::PIECE).min(Self::PIECE);
            if capacity < self.capacity {
                piece.shrink_to(own);
            } else if own > piece.capacity() {
                let room = if own > Self::MANY { Self::PIECE } else { own };
                piece.reserve_exact(room - piece.len());
            }
        }
        self.capacity = capacity;
    }

    /// Adds an item whose key is not there; returns its place.
    #[inline]
    pub(crate) fn insert(&mut self, hash: u64, item: T) -> usize {
        let place = match self.vacant {
            NONE => self.push(item),
            vacant => {
                let place = vacant as usize;
                let left = &mut self.pieces[place >> Self::BITS][place % Self::PIECE];
                if let Place::Vacant(next) = std::mem::replace(left, Place::Full(item)) {
                    self.vacant = next;
                }
                place
            }
        };
        self.index.insert(hash, place);
        place
    }

    #[inline]
    fn push(&mut self, item: T) -> usize {
        if self.places == self.capacity {
            self.resize(self.grown());
        }
        let place = self.places;
        self.pieces[place >> Self::BITS].push(Place::Full(item));
        self.places += 1;
        place
    }
}

impl<T: Keyed> Slab<T> {
    /// Takes the item in this place out.
    pub(crate) fn take(&mut self, place: usize) -> Option<T> {
        let hash = self.get(place)?.key().hash();
        let full = &mut self.pieces[place >> Self::BITS][place % Self::PIECE];
        let Place::Full(item) = std::mem::replace(full, Place::Vacant(self.vacant)) else {
            return None;
        };
        self.vacant = place as u32;
        self.index.remove(hash, place);
        Some(item)
    }

    /// Fills vacant places with items from the end, at most `most` of them, and gives the memory back that is free
    /// at the end then. `moving` gets each item before it goes, and where to.
    ///
    /// # Errors
    /// What `moving` returns; that item stays, and everything is as it must be.
    pub(crate) fn compact<E>(
        &mut self,
        most: usize,
        mut moving: impl FnMut(&mut T, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut vacant = self.vacant_places();
        let mut outcome = Ok(());
        let (mut filled, mut moved) = (0, 0);
        while let Some(last) = self.places.checked_sub(1) {
            if vacant.len() > filled && vacant[vacant.len() - 1] as usize == last {
                vacant.pop();
                self.pop();
                continue;
            }
            let (Some(&to), true) = (vacant.get(filled), moved < most) else {
                break;
            };
            let to = to as usize;
            let Some(item) = self.get_mut(last) else {
                break;
            };
            outcome = moving(item, to);
            if outcome.is_err() {
                break;
            }
            let hash = item.key().hash();
            let Some(item) = self.pop() else { break };
            self.pieces[to >> Self::BITS][to % Self::PIECE] = item;
            self.index.repoint(hash, last, to);
            filled += 1;
            moved += 1;
        }
        self.vacant = NONE;
        for &place in vacant[filled..].iter().rev() {
            let at = place as usize;
            self.pieces[at >> Self::BITS][at % Self::PIECE] = Place::Vacant(self.vacant);
            self.vacant = place;
        }
        self.shrink();
        outcome
    }

    /// Ascending.
    fn vacant_places(&self) -> Vec<u32> {
        let mut vacant = Vec::new();
        let mut next = self.vacant;
        while next != NONE {
            vacant.push(next);
            let place = next as usize;
            next = match &self.pieces[place >> Self::BITS][place % Self::PIECE] {
                Place::Vacant(next) => *next,
                Place::Full(_) => NONE,
            };
        }
        vacant.sort_unstable();
        vacant
    }

    /// Takes the last place away.
    fn pop(&mut self) -> Option<Place<T>> {
        self.places -= 1;
        self.pieces[self.places >> Self::BITS].pop()
    }

    /// Gives back what is free at the end, but for a step.
    fn shrink(&mut self) {
        let needed = match self.places {
            0 => 0,
            few if few < Self::STEP => few.next_power_of_two().max(FEWEST).min(Self::PIECE),
            many => many.next_multiple_of(Self::STEP),
        };
        if needed < self.capacity {
            self.resize(needed);
        }
        self.index.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row_key::hash_row;
    use proptest::prelude::*;
    use std::{collections::BTreeMap, convert::Infallible};

    /// So large that a piece has room for only a few.
    #[derive(Debug)]
    struct Item<const BYTES: usize> {
        key: RowKey,
        number: u16,
        _bulk: [u8; BYTES],
    }

    impl<const BYTES: usize> Keyed for Item<BYTES> {
        fn key(&self) -> &RowKey {
            &self.key
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u16),
        Take(u16),
        Reserve(usize),
        Compact(usize),
        /// Of which the move so many from now is refused.
        Refused(usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            8 => (0_u16..60).prop_map(Op::Insert),
            5 => (0_u16..60).prop_map(Op::Take),
            1 => (0_usize..40).prop_map(Op::Reserve),
            1 => prop_oneof![0_usize..10, Just(usize::MAX)].prop_map(Op::Compact),
            1 => (0_usize..5).prop_map(Op::Refused),
        ]
    }

    fn check<const BYTES: usize>(slab: &Slab<Item<BYTES>>, model: &BTreeMap<u16, usize>) {
        assert_eq!(slab.len(), model.len());
        assert_eq!(slab.iter().count(), model.len());
        assert!(slab.places() <= slab.capacity() && slab.bytes() >= slab.index.bytes());
        for (at, piece) in slab.pieces.iter().enumerate() {
            let own =
                (slab.capacity() - at * Slab::<Item<BYTES>>::PIECE).min(Slab::<Item<BYTES>>::PIECE);
            let few = own <= Slab::<Item<BYTES>>::MANY;
            assert!(own > 0 && own <= piece.capacity());
            assert!(piece.capacity() <= if few { own } else { Slab::<Item<BYTES>>::PIECE });
        }
        let vacant = slab.vacant_places();
        assert_eq!(vacant.len() + slab.len(), slab.places());
        assert!(
            vacant
                .iter()
                .all(|&place| slab.get(place as usize).is_none())
        );
        for (&number, &place) in model {
            assert_eq!(slab.get(place).map(|item| item.number), Some(number));
            let key = number.to_be_bytes();
            let found = slab.find(hash_row(&key), |item| item.key.bytes() == key);
            assert_eq!(found, Some(place));
        }
    }

    fn run<const BYTES: usize>(ops: &[Op]) {
        let mut slab = Slab::<Item<BYTES>>::new();
        let mut model = BTreeMap::new();
        for op in ops {
            match *op {
                Op::Insert(number) if !model.contains_key(&number) => {
                    let before = slab.bytes();
                    let expected = slab.growth_bytes();
                    let grown = if slab.has_room() { 0 } else { slab.grow() };
                    assert!(slab.has_room() && (grown == 0 || grown == expected));
                    let key = number.to_be_bytes();
                    let item = Item {
                        key: RowKey::new(&key),
                        number,
                        _bulk: [0; BYTES],
                    };
                    model.insert(number, slab.insert(hash_row(&key), item));
                    assert_eq!(slab.bytes(), before + grown);
                }
                Op::Insert(number) | Op::Take(number) => {
                    let Some(place) = model.remove(&number) else {
                        continue;
                    };
                    let before = slab.bytes();
                    assert_eq!(slab.take(place).map(|item| item.number), Some(number));
                    assert!(slab.take(place).is_none());
                    assert_eq!(slab.bytes(), before);
                }
                Op::Reserve(items) => {
                    let before = slab.bytes();
                    let expected = slab.reserve_bytes(items);
                    let grown = slab.reserve(items);
                    assert_eq!((expected, slab.bytes()), (Some(grown), before + grown));
                }
                Op::Compact(most) => {
                    let mut left = most;
                    let outcome = slab.compact(most, |item, to| {
                        left -= 1;
                        model.insert(item.number, to);
                        Ok::<_, Infallible>(())
                    });
                    assert!(outcome.is_ok());
                    if left > 0 {
                        assert_eq!(slab.places(), slab.len());
                    }
                }
                Op::Refused(after) => {
                    let mut left = after;
                    let outcome = slab.compact(usize::MAX, |item, to| {
                        left = left.checked_sub(1).ok_or(())?;
                        model.insert(item.number, to);
                        Ok::<_, ()>(())
                    });
                    assert!(outcome.is_err() || slab.places() == slab.len());
                }
            }
            check(&slab, &model);
        }
    }

    proptest! {
        #[test]
        fn items_keep_their_places(ops in prop::collection::vec(op(), 0..150)) {
            run::<0>(&ops);
            run::<{ PIECE_BYTES / 32 - 64 }>(&ops);
            run::<{ PIECE_BYTES / 16 }>(&ops);
        }
    }

    #[test]
    fn a_place_takes_no_more_than_its_item() {
        use super::super::entry::{Entry, Ghost};
        assert_eq!(size_of::<Place<Entry<u64>>>(), size_of::<Entry<u64>>());
        assert_eq!(
            size_of::<Place<Entry<Vec<u8>>>>(),
            size_of::<Entry<Vec<u8>>>()
        );
        assert_eq!(size_of::<Place<Entry<[u8; 100]>>>(), 152);
        assert_eq!(size_of::<Place<Ghost>>(), size_of::<Ghost>());
    }
}
