//! Snapshots and background work, in slices.

use super::{
    StateStore, Sweep,
    frozen::{Keys, Task},
};
use crate::{
    DeltaChunk, Error, Maintenance, PumpBudget, PumpStatus, Result, SnapshotKind,
    snapshot::{Cursor, Phase, Sink, Snapshot, Work},
    table::sweep::SweepCursor,
};
use std::ops::ControlFlow;

/// Bytes of maintenance asked of the backend in one slice, for each entry of the slice.
const MAINTENANCE_BYTES: u64 = 64;

impl StateStore {
    /// Begins a snapshot of the state as it is now, in constant time: nothing is copied or written
    /// until [`pump`](Self::pump), and what changes meanwhile is written as it was before.
    ///
    /// A delta holds what changed since the newest *acknowledged* snapshot, deletions and expiry
    /// included; several may be pending, and applying them over that snapshot's chain in order of
    /// their beginning is right whichever of them are abandoned. With no snapshot acknowledged and
    /// nothing restored, a delta holds all state.
    ///
    /// # Errors
    /// A snapshot with this id is pending, or the backend failed. A full one first
    /// [finishes the restore](Self::finish_restore), if nobody has yet.
    pub fn begin_snapshot(&mut self, id: u64, kind: SnapshotKind) -> Result<()> {
        if kind == SnapshotKind::Full {
            self.finish_restore()?;
        }
        let engine = &mut self.engine;
        if engine.snapshots.iter().any(|snapshot| snapshot.id == id) {
            return Err(Error::SnapshotExists(id));
        }
        let first = engine.acked == 0 && !self.restored;
        let full = first || kind == SnapshotKind::Full;
        let epoch = engine.epoch;
        let next = epoch
            .checked_add(1)
            .ok_or_else(|| Error::InvalidOptions("4 billion snapshots in one store".to_owned()))?;
        let frozen = engine.freeze(full)?;
        self.newest_snapshot = Some(id);
        engine.epoch = next;
        engine.tracking = true;
        engine.running += 1;
        engine.snapshots.push(Snapshot {
            id,
            full,
            deletions: kind == SnapshotKind::Delta,
            epoch,
            base: engine.acked,
            now: engine.now,
            running: true,
            sink: Sink::within(engine.limit),
            cursor: Cursor::default(),
            frozen,
            evicted: engine.evicted,
        });
        Ok(())
    }

    /// Does one slice of what is to be done: captures the oldest pending snapshot, else evicts,
    /// removes expired state, and lets the backend clean up. Full chunks are appended to `out`.
    ///
    /// Call it between batches of work, with the default budget well under a millisecond a call.
    ///
    /// # Errors
    /// A value does not encode or is too large, or the backend failed. The snapshot goes on with the
    /// next call, so that a failed one should be [abandoned](Self::abandon).
    pub fn pump(&mut self, budget: PumpBudget, out: &mut Vec<DeltaChunk>) -> Result<PumpStatus> {
        let mut work = Work::new(budget);
        if self.engine.asked_at != self.engine.evicted {
            self.engine.measure_backend();
        }
        let before = self.engine.evicted;
        self.hold_budget()?;
        work.evicted(self.engine.evicted - before);
        if let Some(index) = self.engine.snapshots.iter().position(|s| s.running) {
            let captured = self.capture(index, &mut work);
            let snapshot = &mut self.engine.snapshots[index];
            snapshot.sink.drain_into(out);
            let captured = captured?;
            let read = match &mut snapshot.frozen {
                Some(frozen) => frozen.reader.take_turn(captured, out)?,
                None => true,
            };
            if !captured {
                return Ok(PumpStatus::Working);
            }
            snapshot.sink.close_all();
            snapshot.sink.drain_into(out);
            if !read {
                return Ok(PumpStatus::Waiting);
            }
            snapshot.running = false;
            snapshot.frozen = None;
            self.engine.running -= 1;
            return Ok(PumpStatus::SnapshotDone(snapshot.id));
        }
        if !self.sweep_slice(&mut work)? || work.is_spent() {
            return Ok(PumpStatus::Working);
        }
        let bytes = work.entries_left() as u64 * MAINTENANCE_BYTES;
        let maintained = self.engine.backend.maintain(bytes)?;
        Ok(match maintained {
            Maintenance::Idle => PumpStatus::Idle,
            Maintenance::Pending => PumpStatus::Working,
        })
    }

    fn capture(&mut self, index: usize, work: &mut Work) -> Result<bool> {
        loop {
            let at = self.engine.snapshots[index].cursor.table;
            let done = match self.tables.get_mut(at) {
                Some(table) => table.capture(&mut self.engine, index, work)?,
                None => return self.capture_dormant(index, work),
            };
            if !done {
                return Ok(false);
            }
            let cursor = &mut self.engine.snapshots[index].cursor;
            *cursor = Cursor {
                table: at + 1,
                ..Cursor::default()
            };
        }
    }

    /// Rows of states that nobody registered are part of full snapshots.
    fn capture_dormant(&mut self, index: usize, work: &mut Work) -> Result<bool> {
        let engine = &mut self.engine;
        let snapshot = &mut engine.snapshots[index];
        if !snapshot.full {
            return Ok(true);
        }
        let (sink, cursor) = (&mut snapshot.sink, &mut snapshot.cursor);
        let tables = self.tables.len();
        while let Some(entry) = self.dormant.values().nth(cursor.table - tables) {
            while let Some(group) = engine.range.iter().nth(cursor.group) {
                if work.is_spent() {
                    return Ok(false);
                }
                if let Some(frozen) = &mut snapshot.frozen {
                    frozen.reader.add(Task {
                        state: entry.id,
                        group,
                        filter: None,
                        changed: Keys::default(),
                        all_but: Some(Keys::default()),
                        deletions: false,
                    });
                    work.looked();
                    cursor.group += 1;
                    continue;
                }
                let after = match &mut cursor.phase {
                    Phase::Beneath { after } => after.take(),
                    _ => None,
                };
                let (limit, mut seen, mut last) = (work.reads_left(), 0, None);
                let bytes = sink.write(entry.id, group, |chunk| {
                    let before = chunk.bytes();
                    let mut take = |key: &[u8], value: &[u8]| {
                        seen += 1;
                        chunk.push(key, Some(value));
                        if seen < limit {
                            return ControlFlow::Continue(());
                        }
                        last = Some(key.to_vec());
                        ControlFlow::Break(())
                    };
                    if engine.pinned {
                        let rows = &mut engine.unclaimed;
                        rows.scan(entry.id, group, after.as_deref(), take);
                    } else {
                        let prefix = group.to_be_bytes();
                        let after = after.map(|key| [&prefix[..], &key].concat());
                        engine.backend.scan(
                            entry.id,
                            &prefix,
                            after.as_deref(),
                            &mut |row, value| take(&row[2..], value),
                        )?;
                    }
                    Ok::<_, Error>(chunk.bytes() - before)
                })?;
                work.read(seen);
                work.encoded(bytes);
                if last.is_some() {
                    cursor.phase = Phase::Beneath { after: last };
                } else {
                    sink.close(entry.id, group);
                    cursor.group += 1;
                    cursor.phase = Phase::Start;
                }
            }
            *cursor = Cursor {
                table: cursor.table + 1,
                ..Cursor::default()
            };
        }
        Ok(true)
    }

    /// The snapshot is durable: its changes are in no later delta.
    ///
    /// # Errors
    /// No such snapshot is pending, or it has not handed out all its chunks.
    pub fn acknowledge(&mut self, id: u64) -> Result<()> {
        let index = self.pending(id)?;
        if self.engine.snapshots[index].running {
            return Err(Error::SnapshotRunning(id));
        }
        let snapshot = self.engine.snapshots.remove(index);
        self.engine.acked = self.engine.acked.max(snapshot.epoch);
        self.engine.evicted_settled = self.engine.evicted_settled.max(snapshot.evicted);
        self.sweep.acknowledged = true;
        Ok(())
    }

    /// The snapshot failed or is not wanted any more, captured or not: its changes ride in the next.
    ///
    /// # Errors
    /// No such snapshot is pending.
    pub fn abandon(&mut self, id: u64) -> Result<()> {
        let index = self.pending(id)?;
        let snapshot = self.engine.snapshots.remove(index);
        if snapshot.running {
            self.engine.running -= 1;
        }
        Ok(())
    }

    fn pending(&self, id: u64) -> Result<usize> {
        self.engine
            .snapshots
            .iter()
            .position(|snapshot| snapshot.id == id)
            .ok_or(Error::UnknownSnapshot(id))
    }

    /// Takes expired state and settled tombstones out; returns whether it is through.
    fn sweep_slice(&mut self, work: &mut Work) -> Result<bool> {
        if !self.sweep.running && !self.sweep_due() {
            return Ok(true);
        }
        self.sweep.running = true;
        while let Some(table) = self.tables.get_mut(self.sweep.table) {
            if !table.sweep(&mut self.engine, &mut self.sweep.cursor, work)? {
                return Ok(false);
            }
            self.sweep.table += 1;
            self.sweep.cursor = SweepCursor::default();
        }
        let interval = self
            .tables
            .iter()
            .filter(|table| table.expires_in_background())
            .filter_map(|table| table.ttl())
            .map(|ttl| (ttl.ttl_ms() / 4).max(1))
            .min();
        self.sweep = Sweep {
            due: interval.map(|interval| self.engine.now.saturating_add(interval)),
            ..Sweep::default()
        };
        Ok(true)
    }

    fn sweep_due(&mut self) -> bool {
        let expires = self.tables.iter().any(|t| t.expires_in_background());
        let now = self.engine.now;
        self.sweep.acknowledged || (expires && self.sweep.due.is_none_or(|due| now >= due))
    }
}
