//! The rows of one key group: a hash table, and what changed in it.

use super::{
    Addr,
    entry::{Entry, Ghost},
};
use crate::{KeyWords, row_key::RowKey};
use hashbrown::HashTable;
use std::collections::BTreeSet;

#[derive(Debug)]
pub(crate) struct Group<P> {
    pub(crate) rows: HashTable<Entry<P>>,
    pub(crate) ghosts: HashTable<Ghost>,
    pub(crate) dirty: DirtyList,
    pub(crate) tombstones: usize,
    /// Grows with every rehash of `rows` or `ghosts`: bucket numbers from before mean nothing.
    pub(crate) layout: u32,
    /// Bucket that the clock hand points at.
    pub(crate) hand: usize,
    /// The backend may hold rows that are not here.
    pub(crate) beneath: bool,
    /// Keys of the live rows in order: made when rows of the group are first iterated by prefix, kept up
    /// from then on. Most maps are only ever looked up in.
    pub(crate) order: Option<BTreeSet<RowKey>>,
}

/// What an entry of `order` costs, about.
pub(crate) const ORDER_BYTES: u64 = 36;

impl<P> Group<P> {
    pub(crate) fn new() -> Self {
        Self {
            rows: HashTable::new(),
            ghosts: HashTable::new(),
            dirty: DirtyList::default(),
            tombstones: 0,
            layout: 0,
            hand: 0,
            beneath: false,
            order: None,
        }
    }

    #[inline(always)]
    pub(crate) fn bucket_at(&self, addr: Addr<'_>) -> Option<usize> {
        self.rows
            .find_bucket_index(addr.hash, |entry| addr.is(&entry.key))
    }

    /// As [`bucket_at`](Self::bucket_at), of a key in bytes.
    pub(crate) fn bucket_of(&self, hash: u64, key: &[u8]) -> Option<usize> {
        match KeyWords::of(key) {
            Some(words) => self
                .rows
                .find_bucket_index(hash, |entry| entry.key.is(words)),
            None => self
                .rows
                .find_bucket_index(hash, |entry| entry.key.bytes() == key),
        }
    }

    /// Makes `order` if it is not there; returns the memory it took.
    pub(crate) fn list_in_order(&mut self) -> u64 {
        if self.order.is_some() {
            return 0;
        }
        let live = self.rows.iter().filter(|entry| entry.value.is_some());
        let order: BTreeSet<RowKey> = live.map(|entry| entry.key.clone()).collect();
        let bytes = order.iter().map(|key| ORDER_BYTES + key.heap_bytes()).sum();
        self.order = Some(order);
        bytes
    }

    /// Reads what a look-up of this row will read. Look-ups of several rows wait for memory one after the
    /// other; these reads do not wait for each other.
    #[inline]
    pub(crate) fn prefetch(&self, hash: u64) {
        let found = self.rows.find(hash, |entry| {
            std::hint::black_box(entry.modified);
            true
        });
        std::hint::black_box(found.is_some());
    }

    /// The entry in a bucket known to be full.
    #[inline]
    pub(crate) fn entry(&self, bucket: usize) -> &Entry<P> {
        self.rows.get_bucket(bucket).expect(FULL)
    }

    /// The entry in a bucket known to be full.
    #[inline]
    pub(crate) fn entry_mut(&mut self, bucket: usize) -> &mut Entry<P> {
        self.rows.get_bucket_mut(bucket).expect(FULL)
    }

    /// Takes the entry out of a bucket known to be full.
    pub(crate) fn take(&mut self, bucket: usize) -> Entry<P> {
        match self.rows.get_bucket_entry(bucket) {
            Ok(entry) => entry.remove().0,
            Err(_) => panic!("{FULL}"),
        }
    }

    pub(crate) fn live(&self) -> usize {
        self.rows.len() - self.tombstones
    }

    pub(crate) fn ghost_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Ghost> {
        if self.ghosts.is_empty() {
            return None;
        }
        self.ghosts.find_mut(hash, |ghost| ghost.key.bytes() == key)
    }

    pub(crate) fn take_ghost(&mut self, addr: Addr<'_>) -> Option<Ghost> {
        if self.ghosts.is_empty() {
            return None;
        }
        self.ghosts
            .find_entry(addr.hash, |ghost| addr.is(&ghost.key))
            .ok()
            .map(|found| found.remove().0)
    }

    /// Adds or replaces; returns the memory it took.
    pub(crate) fn put_ghost(&mut self, hash: u64, ghost: Ghost) -> i64 {
        if let Some(old) = self.ghost_mut(hash, ghost.key.bytes()) {
            *old = ghost;
            return 0;
        }
        let before = self.ghosts.allocation_size() as i64;
        if self.ghosts.len() == self.ghosts.capacity() {
            self.ghosts.reserve(1, |ghost| ghost.key.hash());
            self.layout = self.layout.wrapping_add(1);
        }
        let heap = ghost.key.heap_bytes() as i64;
        self.ghosts
            .insert_unique(hash, ghost, |ghost| ghost.key.hash());
        self.ghosts.allocation_size() as i64 - before + heap
    }

    /// Drops the ghosts that `keep` does not keep; returns the memory that freed.
    pub(crate) fn retain_ghosts(&mut self, keep: impl Fn(&Ghost) -> bool) -> i64 {
        if self.ghosts.is_empty() {
            return 0;
        }
        let before = self.ghosts.allocation_size() as i64;
        let mut heap = 0;
        self.ghosts.retain(|ghost| {
            let kept = keep(ghost);
            if !kept {
                heap += ghost.key.heap_bytes() as i64;
            }
            kept
        });
        if self.ghosts.len() * 4 < self.ghosts.capacity() {
            self.ghosts.shrink_to_fit(|ghost| ghost.key.hash());
            self.layout = self.layout.wrapping_add(1);
        }
        heap + before - self.ghosts.allocation_size() as i64
    }
}

const FULL: &str = "a bucket that was found holds its entry until the next insertion";

/// Which buckets were changed in which epoch, while that is few: beyond a share of the table a scan
/// is cheaper than a list.
#[derive(Debug, Default)]
pub(crate) struct DirtyList {
    /// Epoch and bucket of each first change in an epoch.
    events: Vec<(u32, u32)>,
    /// Changes in epochs up to this one may be missing.
    lost_upto: u32,
}

impl DirtyList {
    #[inline]
    pub(crate) fn push(&mut self, epoch: u32, bucket: usize, buckets: usize) {
        if epoch <= self.lost_upto {
            return;
        }
        if self.events.len() >= 64 + buckets / 16 {
            self.lose(epoch);
            return;
        }
        self.events.push((epoch, bucket as u32));
    }

    /// Forgets everything up to and including this epoch.
    pub(crate) fn lose(&mut self, epoch: u32) {
        self.events = Vec::new();
        self.lost_upto = epoch;
    }

    /// The buckets have moved: what was listed says nothing any more.
    pub(crate) fn rehashed(&mut self, epoch: u32) {
        if !self.events.is_empty() {
            self.lose(epoch);
        }
    }

    /// Whether every change after epoch `base` is listed.
    pub(crate) fn is_complete_since(&self, base: u32) -> bool {
        self.lost_upto <= base
    }

    pub(crate) fn get(&self, index: usize) -> Option<(u32, u32)> {
        self.events.get(index).copied()
    }

    /// Takes out the buckets changed up to `settled`.
    pub(crate) fn drain_upto(&mut self, settled: u32, mut take: impl FnMut(usize)) {
        self.events.retain(|&(epoch, bucket)| {
            if epoch <= settled {
                take(bucket as usize);
            }
            epoch > settled
        });
        if self.events.capacity() > 64 && self.events.len() * 4 < self.events.capacity() {
            self.events.shrink_to_fit();
        }
    }
}
