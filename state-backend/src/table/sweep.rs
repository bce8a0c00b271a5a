//! Removing expired state that nobody reads: in the background, and a few entries with each access.

use super::{Table, entry::Ghost, rows::Unexpired, slab::Slab};
use crate::{
    Change, Error, Result, engine::Engine, row_key::RowKey, row_key::hash_row, snapshot::Work,
};
use std::{convert::Infallible, ops::ControlFlow};

/// Most ghosts that are moved together at once.
const COMPACTED: usize = 2048;

/// How far a sweep has come in a table.
#[derive(Debug, Default)]
pub(crate) struct SweepCursor {
    pub(crate) group: usize,
    ghost: usize,
    place: usize,
    /// Through the table's rows; now through the backend's, after this one.
    beneath: Option<Option<Vec<u8>>>,
}

impl<P: Send + 'static> Table<P> {
    /// Whether a sweep for expired state has anything to look for.
    pub(super) fn expires_in_background(&self) -> bool {
        self.ttl.is_some_and(|ttl| ttl.cleanup.background)
    }

    /// Goes on with a sweep; returns whether the table is through. Not while a snapshot is captured:
    /// the sweep can wait, and need not care then.
    pub(super) fn sweep(
        &mut self,
        engine: &mut Engine,
        cursor: &mut SweepCursor,
        work: &mut Work,
    ) -> Result<bool> {
        let expires = self.expires_in_background();
        while cursor.group < self.groups.len() {
            let at = cursor.group;
            work.looked();
            if !self.drop_ghosts(engine, at, &mut cursor.ghost, work) {
                return Ok(false);
            }
            let worthwhile = expires || self.groups[at].tombstones > 0;
            while worthwhile
                && cursor.beneath.is_none()
                && cursor.place < self.groups[at].rows.places()
            {
                if work.is_spent() {
                    return Ok(false);
                }
                work.looked();
                self.sweep_place(engine, at, cursor.place, expires, work)?;
                cursor.place += 1;
            }
            if expires && self.groups[at].beneath {
                let after = cursor.beneath.take().flatten();
                if let Some(last) = self.sweep_beneath(engine, at, after, work)? {
                    cursor.beneath = Some(Some(last));
                    if work.is_spent() {
                        return Ok(false);
                    }
                    continue;
                }
            }
            *cursor = SweepCursor {
                group: at + 1,
                ..SweepCursor::default()
            };
            if work.is_spent() {
                return Ok(cursor.group >= self.groups.len());
            }
        }
        Ok(true)
    }

    /// Goes on dropping the ghosts of a group that nobody has to be told of any more, from a place on; returns whether
    /// it is through. Not while somebody goes through them.
    pub(super) fn drop_ghosts(
        &mut self,
        engine: &mut Engine,
        at: usize,
        next: &mut usize,
        work: &mut Work,
    ) -> bool {
        let ghosts = &mut self.groups[at].ghosts;
        // A snapshot of all state is told by them what it has.
        if *next >= ghosts.places() || engine.full_running() {
            return true;
        }
        let (settled, before) = (engine.settled(), ghosts.bytes());
        let mut freed = 0;
        while *next < ghosts.places() {
            if work.is_spent() {
                break;
            }
            work.looked();
            if ghosts.get(*next).is_some_and(|g| g.modified <= settled)
                && let Some(ghost) = ghosts.take(*next)
            {
                work.looked();
                freed += ghost.key.heap_bytes();
            }
            *next += 1;
        }
        let through = *next >= ghosts.places();
        if through && ghosts.is_empty() {
            *ghosts = Slab::new();
        } else if through && ghosts.len() * 4 < ghosts.capacity() {
            let Ok(()) = ghosts.compact(COMPACTED, |_, _| Ok::<_, Infallible>(()));
            *next = ghosts.places();
        }
        engine.used = engine.used.saturating_sub(freed + before - ghosts.bytes());
        through
    }

    fn sweep_place(
        &mut self,
        engine: &mut Engine,
        at: usize,
        place: usize,
        expires: bool,
        work: &mut Work,
    ) -> Result<()> {
        let Some(entry) = self.groups[at].rows.get_mut(place) else {
            return Ok(());
        };
        if entry.is_spent_tombstone(engine.settled(), engine.pinned) {
            self.bury(engine, at, place);
        } else if expires {
            self.expire_place(engine, at, place, work)?;
        }
        Ok(())
    }

    /// Removes the row in this place, or the elements of its list, that have expired.
    fn expire_place(
        &mut self,
        engine: &mut Engine,
        at: usize,
        place: usize,
        work: &mut Work,
    ) -> Result<()> {
        let Some(ttl) = self.ttl else {
            return Ok(());
        };
        if self.is_expired(engine, at, place) {
            work.encoded(0);
            self.remove_at(engine, at, place)?;
            return Ok(());
        }
        let now = engine.now;
        let entry = self.groups[at].entry(place);
        let Some(payload) = &entry.value else {
            return Ok(());
        };
        if !self.rows.has_expired_part(payload, &ttl, now) {
            return Ok(());
        }
        self.touch(engine, at, place)?;
        let entry = self.groups[at].entry_mut(place);
        if let Some(payload) = &mut entry.value {
            self.rows.drop_expired(payload, &ttl, now);
        }
        work.encoded(0);
        Ok(())
    }

    /// Deletes expired rows that only the backend has; returns the last row seen if there are more.
    fn sweep_beneath(
        &mut self,
        engine: &mut Engine,
        at: usize,
        after: Option<Vec<u8>>,
        work: &mut Work,
    ) -> Result<Option<Vec<u8>>> {
        let Some(ttl) = self.ttl else {
            return Ok(None);
        };
        let (limit, now) = (work.reads_left(), engine.now);
        let (mut seen, mut last, mut failed) = (0, None, None);
        let mut expired: Vec<Vec<u8>> = Vec::new();
        let (rows, group) = (&*self.rows, &self.groups[at]);
        engine.backend.scan(
            self.id,
            &engine.group_at(at).to_be_bytes(),
            after.as_deref(),
            &mut |row, value| {
                seen += 1;
                match rows.filter_row(value, &ttl, now, &mut Vec::new()) {
                    // What is in the table as well has been dealt with there.
                    Ok(Unexpired::Nothing)
                        if group.place_of(hash_row(&row[2..]), &row[2..]).is_none() =>
                    {
                        expired.push(row.to_vec());
                    }
                    Ok(_) => {}
                    Err(reason) => {
                        failed = Some(reason);
                        return ControlFlow::Break(());
                    }
                }
                if seen >= limit {
                    last = Some(row.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            },
        )?;
        if let Some(reason) = failed {
            return Err(Error::corrupted(
                format!("value of state {:?}", self.name),
                reason,
            ));
        }
        work.read(seen);
        work.encoded(expired.len() * 512);
        let changes: Vec<_> = expired
            .iter()
            .map(|row| Change {
                state: self.id,
                key: row,
                value: None,
            })
            .collect();
        if !changes.is_empty() {
            engine.backend.apply(&changes)?;
        }
        if engine.tracking {
            for row in &expired {
                let key = &row[2..];
                let ghost = Ghost {
                    key: RowKey::new(key),
                    modified: engine.epoch,
                    captured: 0,
                };
                let grown = self.groups[at].put_ghost(hash_row(key), ghost);
                engine.add_used(grown);
            }
        }
        Ok(last)
    }

    /// Looks at a few further entries and removes the expired ones.
    #[cold]
    pub(crate) fn step_cleanup(&mut self, engine: &mut Engine) -> Result<()> {
        let Some(ttl) = self.ttl else {
            return Ok(());
        };
        let mut work = Work::new(crate::PumpBudget::default());
        let (mut at, mut place) = self.step;
        let mut looked = 0;
        // A step past the end of a group counts as a look, so that empty groups cost what they cost.
        while looked < ttl.cleanup.incremental.saturating_mul(2) {
            if at >= self.groups.len() {
                (at, place) = (0, 0);
            }
            looked += 1;
            if place >= self.groups[at].rows.places() || self.groups[at].rows.is_empty() {
                (at, place) = (at + 1, 0);
                continue;
            }
            if self.groups[at].rows.get(place).is_some() {
                self.expire_place(engine, at, place, &mut work)?;
            }
            place += 1;
        }
        self.step = (at, place);
        Ok(())
    }
}
