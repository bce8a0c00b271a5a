//! Making room: rows that were not used lately go to the backend.
//!
//! Second chance: a clock hand goes through the places of a group, spares what was used since it
//! last came by, and takes the rest. The rows of one pass are written in one sorted batch, which is
//! what an ordered backend takes best.

use super::{
    Table,
    entry::{Ghost, REFERENCED, UNSAVED},
    group::{Group, ORDER_BYTES},
};
use crate::{Change, Error, Result, engine::Engine};
use std::ops::Range;

/// Most rows that one pass writes.
const BATCH_ROWS: usize = 8192;

struct Victim {
    place: usize,
    key: Range<usize>,
    value: Option<Range<usize>>,
    unsaved: bool,
}

impl<P: Send + 'static> Table<P> {
    /// Evicts some of a group that cannot grow: few enough that most of its places stay in use.
    pub(super) fn evict_from_group(&mut self, engine: &mut Engine, at: usize) -> Result<()> {
        let want = (self.groups[at].rows.len() / 32).clamp(1, BATCH_ROWS);
        self.evict(engine, at, want)
    }

    /// One step of the store's clock hand: evicts from a group, and gives its memory back if it is
    /// mostly empty then.
    pub(super) fn evict_step(&mut self, engine: &mut Engine, at: usize) -> Result<()> {
        let want = self.groups[at].rows.len().min(BATCH_ROWS);
        self.evict(engine, at, want)?;
        let rows = &self.groups[at].rows;
        if rows.len() * 2 <= rows.capacity() {
            self.compact(engine, at)?;
        }
        Ok(())
    }

    /// Moves rows together, and gives back the memory that they leave.
    fn compact(&mut self, engine: &mut Engine, at: usize) -> Result<()> {
        let settled = engine.settled();
        let (table, groups) = self.split();
        let Group { rows, dirty, .. } = &mut groups[at];
        let (before, places) = (rows.bytes(), rows.places());
        let outcome = rows.compact(usize::MAX, |entry, to| {
            // A snapshot's cursor may have passed the place that it goes to.
            if engine.running > 0 {
                engine.preserve(&table, at, entry)?;
            }
            if entry.modified > settled {
                dirty.push(entry.modified, to, places);
            }
            Ok(())
        });
        engine.used = engine.used.saturating_sub(before - rows.bytes());
        outcome
    }

    /// Evicts up to `want` rows of a group.
    fn evict(&mut self, engine: &mut Engine, at: usize, want: usize) -> Result<()> {
        let mut arena = Vec::new();
        let mut victims = self.choose(engine, at, want, &mut arena)?;
        victims.sort_unstable_by(|a, b| arena[a.key.clone()].cmp(&arena[b.key.clone()]));
        let changes: Vec<_> = victims
            .iter()
            .filter(|victim| victim.unsaved)
            .map(|victim| Change {
                state: self.id,
                key: &arena[victim.key.clone()],
                value: victim.value.clone().map(|value| &arena[value]),
            })
            .collect();
        if !changes.is_empty() {
            engine.backend.apply(&changes)?;
        }
        engine.evicted += victims.len() as u64;
        for victim in &victims {
            self.drop_row(engine, at, victim.place);
        }
        Ok(())
    }

    /// Moves the hand on until enough victims are found, at most twice round. Their rows are encoded
    /// into `arena`.
    fn choose(
        &mut self,
        engine: &Engine,
        at: usize,
        want: usize,
        arena: &mut Vec<u8>,
    ) -> Result<Vec<Victim>> {
        let prefix = engine.group_at(at).to_be_bytes();
        let (table, groups) = self.split();
        let group = &mut groups[at];
        let places = group.rows.places();
        let mut victims = Vec::new();
        for _ in 0..2 * places {
            if victims.len() >= want {
                break;
            }
            let place = group.hand % places;
            group.hand = (place + 1) % places;
            let Some(entry) = group.rows.get_mut(place) else {
                continue;
            };
            if entry.has(REFERENCED) {
                entry.flags &= !REFERENCED;
                continue;
            }
            let start = arena.len();
            arena.extend_from_slice(&prefix);
            arena.extend_from_slice(entry.key.bytes());
            let key = start..arena.len();
            let unsaved = entry.has(UNSAVED);
            let mut value = None;
            if let Some(payload) = entry.value.as_ref().filter(|_| unsaved) {
                table
                    .rows
                    .encode(payload, entry.written, arena)
                    .map_err(|reason| Error::Encode {
                        state: table.name.to_owned(),
                        reason,
                    })?;
                value = Some(key.end..arena.len());
            }
            // Second time round the hand meets what it has chosen already.
            entry.flags |= REFERENCED;
            victims.push(Victim {
                place,
                key,
                value,
                unsaved,
            });
        }
        Ok(victims)
    }

    /// Writes what the backend does not have of a group, in order; the rows stay.
    pub(super) fn save_group(&mut self, engine: &mut Engine, at: usize) -> Result<()> {
        let prefix = engine.group_at(at).to_be_bytes();
        let (table, groups) = self.split();
        let group = &mut groups[at];
        let mut unsaved: Vec<usize> = (0..group.rows.places())
            .filter(|place| {
                let entry = group.rows.get(*place);
                entry.is_some_and(|entry| entry.has(UNSAVED))
            })
            .collect();
        unsaved.sort_unstable_by(|a, b| {
            let (a, b) = (group.entry(*a), group.entry(*b));
            a.key.bytes().cmp(b.key.bytes())
        });
        for batch in unsaved.chunks(BATCH_ROWS) {
            let mut arena = Vec::new();
            let mut rows = Vec::with_capacity(batch.len());
            for place in batch {
                let entry = group.entry(*place);
                let start = arena.len();
                arena.extend_from_slice(&prefix);
                arena.extend_from_slice(entry.key.bytes());
                let end = arena.len();
                if let Some(payload) = &entry.value {
                    table
                        .rows
                        .encode(payload, entry.written, &mut arena)
                        .map_err(|reason| Error::Encode {
                            state: table.name.to_owned(),
                            reason,
                        })?;
                }
                rows.push((start..end, entry.value.as_ref().map(|_| end..arena.len())));
            }
            let changes: Vec<_> = rows
                .iter()
                .map(|(key, value)| Change {
                    state: table.id,
                    key: &arena[key.clone()],
                    value: value.clone().map(|value| &arena[value]),
                })
                .collect();
            engine.backend.apply(&changes)?;
            for place in batch {
                group.entry_mut(*place).flags &= !UNSAVED;
            }
        }
        Ok(())
    }

    /// Takes a row out of the table that the backend has as it is.
    fn drop_row(&mut self, engine: &mut Engine, at: usize, place: usize) {
        let settled = engine.settled();
        let group = &mut self.groups[at];
        let entry = group.take(place);
        engine.used = engine.used.saturating_sub(u64::from(entry.heap));
        if entry.value.is_none() {
            group.tombstones -= 1;
        } else {
            group.beneath = true;
            if let Some(order) = &mut group.order
                && order.remove(entry.key.bytes())
            {
                engine.used = engine
                    .used
                    .saturating_sub(ORDER_BYTES + entry.key.heap_bytes());
            }
        }
        // A tombstone's row is gone from the backend, but the table may still hold others of the
        // group beneath; `beneath` stays as it is.
        let in_delta = engine.tracking && entry.modified > settled;
        let in_full = engine.snapshots.iter().any(|s| {
            s.running && s.full && (entry.captured >= s.epoch || entry.modified > s.epoch)
        });
        if in_delta || in_full {
            let hash = entry.key.hash();
            let grown = group.put_ghost(
                hash,
                Ghost {
                    key: entry.key,
                    modified: entry.modified,
                    captured: entry.captured,
                },
            );
            engine.add_used(grown);
        }
    }
}
