//! Capturing a snapshot in slices, while the table goes on changing.
//!
//! A row that is about to change is written out first (`Engine::preserve`), so the cursor below has
//! only to visit every row that did not change. Those keep their places; one that is moved all the same is written
//! out before, too.

use super::{Table, entry::Ghost, rows::Unexpired};
use crate::{
    Error, Result,
    engine::Engine,
    row_key::hash_row,
    snapshot::{Cursor, Phase, Work},
    store::frozen::{Filter, Kept, Task},
};
use std::{ops::ControlFlow, sync::Arc};

/// What a read of one row from the backend counts for, in bytes encoded: it takes about ten times as long as to write
/// a row out of the table.
const READ_COST: usize = 2 << 10;

impl<P: Send + 'static> Table<P> {
    /// Goes on with the snapshot at `index`; returns whether this table is done.
    pub(crate) fn capture(
        &mut self,
        engine: &mut Engine,
        index: usize,
        work: &mut Work,
    ) -> Result<bool> {
        let mut cursor = std::mem::take(&mut engine.snapshots[index].cursor);
        let mut result = Ok(true);
        while cursor.group < self.groups.len() {
            if work.is_spent() {
                result = Ok(false);
                break;
            }
            match self.capture_group(engine, index, &mut cursor, work) {
                Ok(true) => {
                    let group = engine.group_at(cursor.group);
                    engine.snapshots[index].sink.close(self.id, group);
                    cursor.group += 1;
                    cursor.phase = Phase::Start;
                    work.looked();
                }
                Ok(false) => {
                    result = Ok(false);
                    break;
                }
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        engine.snapshots[index].cursor = cursor;
        result
    }

    fn capture_group(
        &mut self,
        engine: &mut Engine,
        index: usize,
        cursor: &mut Cursor,
        work: &mut Work,
    ) -> Result<bool> {
        let at = cursor.group;
        loop {
            if work.is_spent() {
                return Ok(false);
            }
            match &mut cursor.phase {
                Phase::Start => {
                    self.forget_settled(engine, at, work);
                    cursor.phase = Phase::Settling { next: 0 };
                }
                Phase::Settling { next } => {
                    if self.drop_ghosts(engine, at, next, work) {
                        cursor.phase = if self.list_serves(engine, index, at) {
                            Phase::Dirty { next: 0 }
                        } else {
                            Phase::Scan { next: 0 }
                        };
                    }
                }
                Phase::Dirty { next } => {
                    match self.groups[at].dirty.get(*next) {
                        Some((_, place)) => {
                            self.capture_place(engine, index, at, place as usize, work)?;
                            *next += 1;
                        }
                        // Losing the list empties it, and is no end.
                        None if !self.list_serves(engine, index, at) => {
                            cursor.phase = Phase::Scan { next: 0 };
                        }
                        None => cursor.phase = Phase::Ghosts { next: 0 },
                    }
                }
                Phase::Scan { next } => {
                    if *next >= self.groups[at].rows.places() {
                        cursor.phase = Phase::Ghosts { next: 0 };
                        continue;
                    }
                    self.capture_place(engine, index, at, *next, work)?;
                    *next += 1;
                }
                Phase::Ghosts { next } => {
                    let snapshot = &engine.snapshots[index];
                    let ghosts = &self.groups[at].ghosts;
                    // Without deletions the walk through the backend meets all that counts.
                    if !snapshot.deletions || ghosts.is_empty() || *next >= ghosts.places() {
                        if snapshot.frozen.is_some() {
                            self.hand_to_reader(engine, index, at);
                            return Ok(true);
                        }
                        if !snapshot.full || !self.groups[at].beneath {
                            return Ok(true);
                        }
                        cursor.phase = Phase::Beneath { after: None };
                        continue;
                    }
                    self.capture_ghost(engine, index, at, *next, work)?;
                    *next += 1;
                }
                Phase::Beneath { after } => {
                    if self.capture_beneath(engine, index, at, after, work)? {
                        return Ok(true);
                    }
                }
            }
        }
    }

    /// Whether the list of changes has all that this snapshot wants of the group.
    fn list_serves(&self, engine: &Engine, index: usize, at: usize) -> bool {
        let snapshot = &engine.snapshots[index];
        !snapshot.full && self.groups[at].dirty.is_complete_since(snapshot.base)
    }

    /// Takes what nobody has to be told of any more off the list of changes, and out of the table where it is deleted.
    fn forget_settled(&mut self, engine: &mut Engine, at: usize, work: &mut Work) {
        let (settled, pinned) = (engine.settled(), engine.pinned);
        let full_running = engine.full_running();
        let group = &mut self.groups[at];
        let mut spent = Vec::new();
        let (rows, tombstones) = (&group.rows, group.tombstones);
        group.dirty.drain_upto(settled, |place| {
            work.looked();
            // What was frozen may have rows that are deleted by now: a snapshot of all state is told of each.
            if tombstones > 0
                && !full_running
                && rows
                    .get(place)
                    .is_some_and(|entry| entry.is_spent_tombstone(settled, pinned))
            {
                spent.push(place);
            }
        });
        for place in spent {
            // One place may have been listed twice.
            if self.groups[at].rows.get(place).is_some() {
                self.bury(engine, at, place);
            }
        }
    }

    fn capture_place(
        &mut self,
        engine: &mut Engine,
        index: usize,
        at: usize,
        place: usize,
        work: &mut Work,
    ) -> Result<()> {
        work.looked();
        let (max_value, group) = (engine.max_value, engine.group_at(at));
        let settled = engine.settled();
        let (table, groups) = self.split();
        let Some(entry) = groups[at].rows.get_mut(place) else {
            return Ok(());
        };
        let snapshot = &mut engine.snapshots[index];
        if snapshot.wants(entry.modified, entry.captured) {
            let bytes = table.write(snapshot, group, entry, max_value)?;
            entry.captured = snapshot.epoch;
            work.encoded(bytes);
        } else if entry.is_spent_tombstone(settled, engine.pinned) {
            self.bury(engine, at, place);
        }
        Ok(())
    }

    /// Writes a row that was evicted after it changed.
    fn capture_ghost(
        &mut self,
        engine: &mut Engine,
        index: usize,
        at: usize,
        place: usize,
        work: &mut Work,
    ) -> Result<()> {
        work.looked();
        let group = engine.group_at(at);
        let Some(ghost) = self.groups[at].ghosts.get_mut(place) else {
            return Ok(());
        };
        let snapshot = &mut engine.snapshots[index];
        if !snapshot.wants(ghost.modified, ghost.captured) {
            return Ok(());
        }
        if let Some(frozen) = &mut snapshot.frozen {
            frozen.changed.push(ghost.key.bytes());
            ghost.captured = snapshot.epoch;
            work.encoded(0);
            return Ok(());
        }
        let mut row = group.to_be_bytes().to_vec();
        row.extend_from_slice(ghost.key.bytes());
        let (ttl, rows) = (self.ttl, &*self.rows);
        let mut outcome = Ok(());
        let key = ghost.key.bytes();
        let Engine {
            backend, snapshots, ..
        } = engine;
        let snapshot = &mut snapshots[index];
        let now = snapshot.now;
        let bytes = snapshot.sink.write(self.id, group, |chunk| {
            let before = chunk.bytes();
            let found = backend.read(self.id, &row, &mut |value| match filter(
                rows,
                ttl.as_ref(),
                now,
                value,
            ) {
                Ok(value) => chunk.push(key, value.as_deref()),
                Err(reason) => outcome = Err(reason),
            })?;
            if !found {
                chunk.push(key, None);
            }
            Ok::<_, Error>(chunk.bytes() - before)
        })?;
        outcome.map_err(|reason| {
            Error::corrupted(format!("value of state {:?}", self.name), reason)
        })?;
        ghost.captured = snapshot.epoch;
        work.encoded(bytes + READ_COST);
        Ok(())
    }

    /// Leaves what the snapshot wants of the group's rows in the backend to the thread that reads them.
    fn hand_to_reader(&self, engine: &mut Engine, index: usize, at: usize) {
        let group = engine.group_at(at);
        let snapshot = &mut engine.snapshots[index];
        let (full, now, deletions) = (snapshot.full, snapshot.now, snapshot.deletions);
        let Some(frozen) = &mut snapshot.frozen else {
            return;
        };
        let changed = std::mem::take(&mut frozen.changed);
        let written = frozen.written.remove(&(self.id, group));
        if changed.is_empty() && !(full && self.groups[at].beneath) {
            return;
        }
        let filter = self.ttl.filter(|ttl| ttl.cleanup.full_snapshot);
        frozen.reader.add(Task {
            state: self.id,
            group,
            filter: filter.map(|ttl| -> Filter {
                let rows = Arc::clone(&self.rows);
                Box::new(move |value, out| {
                    Ok(match rows.filter_row(value, &ttl, now, out)? {
                        Unexpired::All => Kept::All,
                        Unexpired::Nothing => Kept::Nothing,
                        Unexpired::Part => Kept::Part,
                    })
                })
            }),
            changed,
            all_but: full.then(|| written.unwrap_or_default()),
            deletions,
        });
    }

    /// Writes the backend's rows that are not in the table; returns whether the group is through.
    fn capture_beneath(
        &mut self,
        engine: &mut Engine,
        index: usize,
        at: usize,
        after: &mut Option<Vec<u8>>,
        work: &mut Work,
    ) -> Result<bool> {
        let group = engine.group_at(at);
        let limit = work.reads_left();
        let Engine {
            backend, snapshots, ..
        } = engine;
        let snapshot = &mut snapshots[index];
        let rows = &mut self.groups[at];
        let (codec, ttl) = (&*self.rows, self.ttl);
        let (mut seen, mut bytes) = (0, 0);
        let mut failed = None;
        let mut last = None;
        let (epoch, now, deletions) = (snapshot.epoch, snapshot.now, snapshot.deletions);
        let prefix = group.to_be_bytes();
        snapshot.sink.write(self.id, group, |chunk| {
            backend.scan(self.id, &prefix, after.as_deref(), &mut |row, value| {
                seen += 1;
                let key = &row[2..];
                let hash = hash_row(key);
                if !rows.mark_captured(hash, key, epoch) {
                    match filter(codec, ttl.as_ref(), now, value) {
                        Ok(Some(value)) => {
                            chunk.push(key, Some(&value));
                            bytes += key.len() + value.len();
                        }
                        Ok(None) if deletions => chunk.push(key, None),
                        Ok(None) => {}
                        Err(reason) => {
                            failed = Some(reason);
                            return ControlFlow::Break(());
                        }
                    }
                }
                if seen >= limit || bytes >= 64 << 10 {
                    last = Some(row.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })
        })?;
        if let Some(reason) = failed {
            return Err(Error::corrupted(
                format!("value of state {:?}", self.name),
                reason,
            ));
        }
        work.read(seen);
        work.encoded(bytes);
        let done = last.is_none();
        if last.is_some() {
            *after = last;
        }
        Ok(done)
    }
}

impl<P> super::group::Group<P> {
    /// Notes that a full snapshot takes this row from the backend; returns whether it must not,
    /// because it has the row already or the row is newer than the snapshot.
    fn mark_captured(&mut self, hash: u64, key: &[u8], epoch: u32) -> bool {
        if let Some(place) = self.place_of(hash, key) {
            let entry = self.entry_mut(place);
            if entry.captured >= epoch || entry.modified > epoch {
                return true;
            }
            entry.captured = epoch;
            return false;
        }
        match self.ghost_mut(hash, key) {
            Some(Ghost {
                captured, modified, ..
            }) => {
                if *captured >= epoch || *modified > epoch {
                    return true;
                }
                *captured = epoch;
                false
            }
            None => false,
        }
    }
}

/// The row without what has expired, if the state's snapshots are to be cleaned.
fn filter<'v, P>(
    rows: &dyn super::rows::Rows<P>,
    ttl: Option<&crate::Ttl>,
    now: i64,
    value: &'v [u8],
) -> Result<Option<std::borrow::Cow<'v, [u8]>>, String> {
    let Some(ttl) = ttl.filter(|ttl| ttl.cleanup.full_snapshot) else {
        return Ok(Some(value.into()));
    };
    let mut out = Vec::new();
    Ok(match rows.filter_row(value, ttl, now, &mut out)? {
        Unexpired::All => Some(value.into()),
        Unexpired::Nothing => None,
        Unexpired::Part => Some(out.into()),
    })
}
