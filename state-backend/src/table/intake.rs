//! Taking rows in by the chunk, in a store that keeps all state in its tables.

use super::{
    entry::{BENEATH, Entry},
    group::{Group, ORDER_BYTES},
    rows::{RowFormat, Rows},
};
use crate::{
    DeltaChunk, KeyWords,
    row_key::{RowKey, hash_row, hash_words},
};
use std::{
    num::NonZeroUsize,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

/// What all rows that come in have in common.
pub(super) struct Intake<'a, P> {
    pub(super) rows: &'a dyn Rows<P>,
    /// Format in which they come.
    pub(super) format: RowFormat,
    pub(super) now: i64,
    /// Epoch that the rows count as changed in; 0 if they are as the checkpoint has them.
    pub(super) modified: u32,
    /// Payloads hold memory outside the table.
    pub(super) measured: bool,
    pub(super) budget: u64,
}

/// Why a row was not taken in.
#[derive(Debug)]
pub(super) enum Refusal {
    Damaged(String),
    NoRoom {
        key_bytes: u64,
        needed: u64,
        used: u64,
    },
}

/// Below this many rows a thread costs more than it saves.
const ROWS_A_THREAD: usize = 1 << 15;
/// Other subtasks may be restoring at the same time.
const MOST_THREADS: usize = 4;

impl<P: Send> Intake<'_, P> {
    /// Makes room for so many rows in a group that has none, if the budget has it.
    pub(super) fn reserve(&self, group: &mut Group<P>, rows: usize, used: &mut u64) {
        let own = &mut group.rows;
        if own.is_empty()
            && rows > own.capacity()
            && own
                .reserve_bytes(rows)
                .is_some_and(|more| used.saturating_add(more) <= self.budget)
        {
            *used += own.reserve(rows);
        }
    }

    /// Takes in rows, of which `None` deletes; `used` is the store's memory before and after.
    pub(super) fn take_in<'r>(
        &self,
        group: &mut Group<P>,
        rows: impl Iterator<Item = (&'r [u8], Option<&'r [u8]>)>,
        used: &mut u64,
    ) -> Result<(), Refusal> {
        for (key, value) in rows {
            let words = KeyWords::of(key);
            let hash = words.map_or_else(|| hash_row(key), hash_words);
            let found = match words {
                Some(words) => group.rows.find(hash, |entry| entry.key.is(words)),
                None => group.place_of(hash, key),
            };
            if let Some(place) = found {
                *used = used.saturating_sub(group.forget(place));
            }
            let Some(value) = value else { continue };
            let decoded = self.rows.decode(value, self.format, self.now);
            let (payload, written) = decoded.map_err(Refusal::Damaged)?;
            let no_room = |needed, used| Refusal::NoRoom {
                key_bytes: key.len() as u64,
                needed,
                used,
            };
            if !group.rows.has_room() {
                let more = group.rows.growth_bytes();
                if *used + more > self.budget || group.rows.is_at_its_end() {
                    return Err(no_room(more, *used));
                }
                *used += group.rows.grow();
            }
            let key = words.map_or_else(|| RowKey::new(key), RowKey::short);
            let mut heap = key.heap_bytes();
            if self.measured {
                heap += self.rows.heap_bytes(&payload) as u64;
            }
            let heap = u32::try_from(heap).unwrap_or(u32::MAX);
            *used += u64::from(heap);
            if let Some(order) = &mut group.order {
                *used += ORDER_BYTES + key.heap_bytes();
                order.insert(key.clone());
            }
            let entry = Entry {
                key,
                written,
                modified: self.modified,
                captured: 0,
                heap,
                writes: 0,
                flags: BENEATH,
                value: Some(payload),
            };
            let place = group.rows.insert(hash, entry);
            if self.modified > 0 {
                let places = group.rows.places();
                group.dirty.push(self.modified, place, places);
            }
            if *used > self.budget {
                return Err(no_room(0, *used));
            }
        }
        Ok(())
    }

    /// Takes in all chunks of many groups, on several threads if they are worth it. What one thread takes
    /// in, another sees in the budget when a chunk of it is through.
    pub(super) fn take_in_all(
        &self,
        work: Vec<(&mut Group<P>, Vec<DeltaChunk>)>,
        used: &mut u64,
    ) -> Result<(), Refusal> {
        let rows: usize = work.iter().map(|(_, chunks)| rows_of(chunks)).sum();
        let all_used = AtomicU64::new(*used);
        let work = Mutex::new(work);
        let next = || work.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let share = || {
            while let Some((group, chunks)) = next() {
                let outcome = self.take_in_group(group, chunks, &all_used);
                if outcome.is_err() {
                    work.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return outcome;
                }
            }
            Ok(())
        };
        let outcome = on_threads(threads_for(rows), share);
        *used = all_used.into_inner();
        outcome
    }

    fn take_in_group(
        &self,
        group: &mut Group<P>,
        chunks: Vec<DeltaChunk>,
        all_used: &AtomicU64,
    ) -> Result<(), Refusal> {
        let add = |own: &mut u64, change: &mut dyn FnMut(&mut u64) -> Result<(), Refusal>| {
            let before = *own;
            let outcome = change(own);
            let grown = own.wrapping_sub(before);
            *own = all_used
                .fetch_add(grown, Ordering::Relaxed)
                .wrapping_add(grown);
            outcome
        };
        let mut own = all_used.load(Ordering::Relaxed);
        add(&mut own, &mut |used| {
            self.reserve(group, rows_of(&chunks), used);
            Ok(())
        })?;
        // Chunk by chunk their memory is given back.
        chunks.into_iter().try_for_each(|chunk| {
            add(&mut own, &mut |used| {
                self.take_in(group, chunk.iter(), used)
            })
        })
    }
}

/// How many threads so many rows are worth.
pub(super) fn threads_for(rows: usize) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    cores.min(MOST_THREADS).min(rows / ROWS_A_THREAD).max(1)
}

/// Does the work on so many threads, this one among them; an error of any is the outcome.
pub(super) fn on_threads<E: Send>(
    threads: usize,
    share: impl Fn() -> Result<(), E> + Sync,
) -> Result<(), E> {
    std::thread::scope(|scope| {
        let spawn = |_| {
            std::thread::Builder::new()
                .name("weir-restore".into())
                .spawn_scoped(scope, &share)
        };
        // A thread that cannot be had leaves its share to the others.
        let helpers: Vec<_> = (1..threads).map(spawn).filter_map(Result::ok).collect();
        let own = share();
        helpers.into_iter().fold(own, |outcome, helper| {
            let joined = helper.join();
            outcome.and(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })
    })
}

fn rows_of(chunks: &[DeltaChunk]) -> usize {
    chunks.iter().map(DeltaChunk::len).sum()
}

impl<P> Group<P> {
    /// Drops a row without telling anybody; returns the memory that it held outside the table.
    pub(super) fn forget(&mut self, place: usize) -> u64 {
        let entry = self.take(place);
        let mut freed = u64::from(entry.heap);
        if entry.value.is_none() {
            self.tombstones -= 1;
        } else if let Some(order) = &mut self.order
            && order.remove(entry.key.bytes())
        {
            freed += ORDER_BYTES + entry.key.heap_bytes();
        }
        freed
    }
}
