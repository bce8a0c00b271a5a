//! Making room: rows that were not used lately go to the backend.
//!
//! Second chance: a clock hand goes through the places of all groups, spares what was used since it last came by,
//! and takes the rest, some dozen rows a step: each is a pause for whoever owns the store.

use super::{
    Table,
    entry::{Ghost, REFERENCED, UNSAVED},
    group::{Group, ORDER_BYTES},
};
use crate::{Change, Error, Result, engine::Engine};
use std::ops::Range;

/// Most rows that one step evicts, some tenths of a millisecond with what the backend does for it.
pub(crate) const STEP_ROWS: usize = 64;
/// Most places that one step looks at.
const STEP_PLACES: usize = 512;
/// Most rows written to the backend at once when all are.
const BATCH_ROWS: usize = 8192;

struct Victim {
    place: usize,
    key: Range<usize>,
    value: Option<Range<usize>>,
    unsaved: bool,
}

impl<P: Send + 'static> Table<P> {
    /// One step of the store's clock hand through a group: evicts what was not used since it last came by, and
    /// gives back the memory that leaves. Returns whether the hand has come to the group's end.
    pub(super) fn evict_step(&mut self, engine: &mut Engine, at: usize) -> Result<bool> {
        self.evict(engine, at)?;
        let group = &mut self.groups[at];
        let through = group.hand >= group.rows.places();
        if through {
            group.hand = 0;
        }
        if group.rows.is_loose() {
            self.compact(engine, at)?;
        }
        Ok(through)
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

    /// Evicts some rows of a group, in one sorted batch, which is what an ordered backend takes best.
    fn evict(&mut self, engine: &mut Engine, at: usize) -> Result<()> {
        let mut arena = Vec::new();
        let mut victims = self.choose(engine, at, &mut arena)?;
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
        let frozen = engine.frozen_running();
        for victim in &victims {
            if frozen {
                let (table, groups) = self.split();
                let entry = groups[at].entry_mut(victim.place);
                engine.preserve(&table, at, entry)?;
            }
            self.drop_row(engine, at, victim.place);
        }
        Ok(())
    }

    /// Moves the hand on, not past the group's end, until enough victims are found. Their rows are encoded into
    /// `arena`.
    fn choose(&mut self, engine: &Engine, at: usize, arena: &mut Vec<u8>) -> Result<Vec<Victim>> {
        let prefix = engine.group_at(at).to_be_bytes();
        let (table, groups) = self.split();
        let group = &mut groups[at];
        let end = group.rows.places().min(group.hand + STEP_PLACES);
        let mut victims = Vec::new();
        while group.hand < end && victims.len() < STEP_ROWS {
            let place = group.hand;
            group.hand += 1;
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
        // Where rows were frozen, one that comes back is known to be in the snapshot.
        let in_full = engine.snapshots.iter().any(|s| {
            s.running
                && s.full
                && s.frozen.is_none()
                && (entry.captured >= s.epoch || entry.modified > s.epoch)
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
