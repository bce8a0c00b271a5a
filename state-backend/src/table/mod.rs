//! The typed table: decoded rows by key, over any backend.
//!
//! An access that hits neither encodes nor decodes nor calls the backend. A row is encoded when a
//! snapshot takes it or when it is evicted, and decoded when it is first read after that.
//!
//! The path of a hit, from `StateStore::scope` on, is inlined as a whole: between two functions a scope or an
//! address would go through memory, to be read back before the stores have retired. That makes look-ups wait for
//! one another, as [`KeyWords`] tells. Everything rarer is a call.

mod addr;
pub(crate) mod any;
mod capture;
pub(crate) mod entry;
pub(crate) mod evict;
pub(crate) mod group;
mod index;
mod intake;
mod prefetch;
mod pull;
mod remove;
mod restore;
pub(crate) mod rows;
mod scan;
mod slab;
pub(crate) mod sweep;
mod write;

use crate::{
    Error, Result, Shape, StateId, StateKind,
    engine::{Engine, RowsOf},
    ttl::Ttl,
};
pub(crate) use addr::Addr;
use entry::{BENEATH, Entry, REFERENCED, UNSAVED};
use group::{Group, ORDER_BYTES};
use rows::Rows;
use std::sync::Arc;

/// What a definition says of a table.
pub(crate) struct TableInfo {
    pub(crate) id: StateId,
    pub(crate) name: String,
    pub(crate) kind: StateKind,
    pub(crate) type_name: String,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) migrates: bool,
}

/// All rows of one state in one store.
pub(crate) struct Table<P> {
    pub(crate) id: StateId,
    /// Position among the store's tables.
    pub(crate) slot: usize,
    pub(crate) name: String,
    pub(crate) kind: StateKind,
    pub(crate) type_name: String,
    pub(crate) shape: Option<Shape>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) rows: Arc<dyn Rows<P>>,
    pub(crate) groups: Vec<Group<P>>,
    /// Payloads hold memory outside the table, which must be measured.
    measured: bool,
    /// The definition reads older versions.
    migrates: bool,
    /// Where a value lies that a read has just expired and still returns.
    pub(crate) expired: Option<P>,
    /// Where the incremental clean-up is: group and place.
    step: (usize, usize),
}

/// Payload changes in place before it is measured again; large ones are measured less often, as
/// that takes time in proportion.
const MEASURE_EVERY: u32 = 64;

impl<P: Send + 'static> Table<P> {
    pub(crate) fn new(slot: usize, groups: usize, info: TableInfo, rows: Box<dyn Rows<P>>) -> Self {
        Self {
            id: info.id,
            slot,
            name: info.name,
            kind: info.kind,
            type_name: info.type_name,
            shape: rows.shape(),
            ttl: info.ttl,
            rows: rows.into(),
            groups: (0..groups).map(|_| Group::new()).collect(),
            measured: std::mem::needs_drop::<P>(),
            migrates: info.migrates,
            expired: None,
            step: (0, 0),
        }
    }

    /// The pieces that writing rows needs, beside the groups.
    fn split(&mut self) -> (RowsOf<'_, P>, &mut Vec<Group<P>>) {
        (
            RowsOf {
                id: self.id,
                name: &self.name,
                ttl: self.ttl.as_ref(),
                rows: &*self.rows,
            },
            &mut self.groups,
        )
    }

    /// Whether each access takes a step of cleaning up.
    #[inline]
    pub(crate) fn steps_cleanup(&self) -> bool {
        self.ttl.is_some_and(|ttl| ttl.cleanup.incremental > 0)
    }

    pub(crate) fn check_group(&self, engine: &Engine, addr: Addr<'_>) -> Result<()> {
        if addr.group < self.groups.len() {
            return Ok(());
        }
        Err(Error::KeyGroupOutOfRange {
            group: addr.key_group,
            range: engine.range,
        })
    }

    /// Place of the row if it is alive, loading it if need be. Knows nothing of time.
    #[inline]
    pub(crate) fn find(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<Option<usize>> {
        let Some(group) = self.groups.get(addr.group) else {
            self.check_group(engine, addr)?;
            return Ok(None);
        };
        match group.place_at(addr) {
            Some(place) => Ok(group.entry(place).value.is_some().then_some(place)),
            None if group.beneath => self.load(engine, addr),
            None => Ok(None),
        }
    }

    /// Brings a row in from the backend.
    #[cold]
    fn load(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<Option<usize>> {
        let (format, now) = (self.rows.format(), engine.now);
        let mut found = None;
        let rows = &self.rows;
        engine.backend.read(self.id, &addr.row(), &mut |bytes| {
            found = Some(rows.decode(bytes, format, now));
        })?;
        let (payload, written) = match found {
            None => return Ok(None),
            Some(Ok(decoded)) => decoded,
            Some(Err(reason)) => return Err(self.damaged(reason)),
        };
        self.make_place(engine, addr)?;
        let group = &mut self.groups[addr.group];
        let ghost = group.take_ghost(addr);
        let seen = engine.full_seen(self.slot, addr.group, &addr.row(), ghost.is_none());
        let (modified, captured) = match &ghost {
            Some(ghost) => {
                engine.used = engine.used.saturating_sub(ghost.key.heap_bytes());
                (ghost.modified, ghost.captured)
            }
            None => (0, 0),
        };
        let mut entry = Entry {
            key: addr.row_key(),
            written,
            modified,
            captured: captured.max(seen),
            heap: 0,
            writes: 0,
            flags: REFERENCED | BENEATH,
            value: Some(payload),
        };
        // A ghost is in the lists of the running snapshots; the entry takes its place too late for
        // a cursor that has passed its place.
        if ghost.is_some() && engine.running > 0 {
            let (table, _) = self.split();
            engine.preserve_loaded(&table, addr.group, &mut entry)?;
        }
        let place = self.insert(engine, addr, entry);
        let group = &mut self.groups[addr.group];
        if modified > engine.settled() {
            let places = group.rows.places();
            group.dirty.push(modified, place, places);
        }
        Ok(Some(place))
    }

    fn damaged(&self, reason: String) -> Error {
        Error::corrupted(format!("value of state {:?}", self.name), reason)
    }

    /// Makes sure that one insertion into the group takes no memory.
    #[inline]
    fn make_place(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<()> {
        if self.groups[addr.group].rows.has_room() {
            return Ok(());
        }
        self.grow(engine, addr)
    }

    #[cold]
    fn grow(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<()> {
        let rows = &self.groups[addr.group].rows;
        let more = rows.growth_bytes();
        // Where rows can be evicted, the next operation makes up for it.
        if rows.is_at_its_end() || (engine.pinned && engine.used + more > engine.budget) {
            return Err(self.over_budget(engine, addr, more));
        }
        engine.used += self.groups[addr.group].rows.grow();
        Ok(())
    }

    fn over_budget(&self, engine: &Engine, addr: Addr<'_>, needed: u64) -> Error {
        Error::BudgetExceeded {
            state: self.name.clone(),
            key_bytes: addr.key_len() as u64,
            needed_bytes: needed,
            used_bytes: engine.used,
            budget_bytes: engine.budget,
        }
    }

    /// Puts an entry into a place that [`make_place`](Self::make_place) has made, and counts it.
    fn insert(&mut self, engine: &mut Engine, addr: Addr<'_>, mut entry: Entry<P>) -> usize {
        let heap = entry.key.heap_bytes()
            + entry
                .value
                .as_ref()
                .filter(|_| self.measured)
                .map_or(0, |payload| self.rows.heap_bytes(payload) as u64);
        entry.heap = u32::try_from(heap).unwrap_or(u32::MAX);
        engine.used += u64::from(entry.heap);
        let group = &mut self.groups[addr.group];
        if entry.value.is_none() {
            group.tombstones += 1;
        } else if let Some(order) = &mut group.order {
            order.insert(entry.key.clone());
            engine.used += ORDER_BYTES + entry.key.heap_bytes();
        }
        group.rows.insert(addr.hash, entry)
    }

    /// To be called before a row changes: snapshots get what they want of it, deltas learn of it.
    #[inline]
    fn touch(&mut self, engine: &mut Engine, group: usize, place: usize) -> Result<()> {
        let entry = self.groups[group].entry_mut(place);
        if entry.modified == engine.epoch {
            entry.flags |= UNSAVED | REFERENCED;
            return Ok(());
        }
        self.first_touch(engine, group, place)
    }

    /// The first change of a row in an epoch.
    fn first_touch(&mut self, engine: &mut Engine, group: usize, place: usize) -> Result<()> {
        let (table, groups) = self.split();
        let group_rows = &mut groups[group];
        let entry = group_rows.entry_mut(place);
        if engine.running > 0 {
            engine.preserve(&table, group, entry)?;
        }
        entry.flags |= UNSAVED | REFERENCED;
        entry.modified = engine.epoch;
        let places = group_rows.rows.places();
        group_rows.dirty.push(engine.epoch, place, places);
        Ok(())
    }

    /// The payload in a place that [`find`](Self::find) gave.
    #[inline]
    pub(crate) fn payload(&self, group: usize, place: usize) -> &P {
        self.groups[group]
            .entry(place)
            .value
            .as_ref()
            .expect("found rows are alive")
    }

    /// Whether the row in this place has expired.
    #[inline]
    pub(crate) fn is_expired(&self, engine: &Engine, group: usize, place: usize) -> bool {
        let entry = self.groups[group].entry(place);
        match (&self.ttl, &entry.value) {
            (Some(ttl), Some(payload)) => {
                self.rows
                    .is_expired(payload, entry.written, ttl, engine.now)
            }
            _ => false,
        }
    }

    /// A read as the state's time to live has it: renews, expires, or just finds.
    #[inline(always)]
    pub(crate) fn get(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<Option<&P>> {
        let place = match self.groups.get(addr.group) {
            Some(group) if self.ttl.is_none() => group.place_at(addr),
            _ => None,
        };
        let Some(place) = place else {
            return self.get_rare(engine, addr.apart());
        };
        let entry = self.groups[addr.group].entry_mut(place);
        if !engine.pinned {
            entry.flags |= REFERENCED;
        }
        Ok(entry.value.as_ref())
    }

    /// As [`get`](Self::get), where there is a time to live or the row is not in the table.
    #[inline(never)]
    fn get_rare(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<Option<&P>> {
        let Some(place) = self.find(engine, addr)? else {
            return Ok(None);
        };
        if self.ttl.is_some() && self.read_timed(engine, addr.group, place)? {
            return Ok(self.expired.as_ref());
        }
        let entry = self.groups[addr.group].entry_mut(place);
        if !engine.pinned {
            entry.flags |= REFERENCED;
        }
        Ok(entry.value.as_ref())
    }

    /// Returns whether the row had expired; `self.expired` is then what the reader sees of it.
    fn read_timed(&mut self, engine: &mut Engine, group: usize, place: usize) -> Result<bool> {
        let Some(ttl) = self.ttl else {
            return Ok(false);
        };
        if self.is_expired(engine, group, place) {
            let payload = self.remove_at(engine, group, place)?;
            self.expired = payload.filter(|_| ttl.returns_expired());
            return Ok(true);
        }
        if ttl.renews_on_read() && self.groups[group].entry(place).written != engine.now {
            self.touch(engine, group, place)?;
            self.groups[group].entry_mut(place).written = engine.now;
        }
        Ok(false)
    }

    /// Removes an expired row, and keeps its payload for the reader to see.
    pub(crate) fn expire(
        &mut self,
        engine: &mut Engine,
        group: usize,
        place: usize,
    ) -> Result<Option<&P>> {
        self.expired = self.remove_at(engine, group, place)?;
        Ok(self.expired.as_ref())
    }

    /// A read and a write in one, if there is a row.
    #[inline(always)]
    pub(crate) fn update<R>(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        change: impl FnOnce(&mut P) -> R,
    ) -> Result<Option<R>> {
        if let Some(payload) = self.find_touched(engine, addr) {
            return Ok(Some(change(payload)));
        }
        self.update_rare(engine, addr.apart(), change)
    }

    /// As [`update`](Self::update), of a row that others have to hear of, or that is not in the table.
    #[inline(never)]
    fn update_rare<R>(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        change: impl FnOnce(&mut P) -> R,
    ) -> Result<Option<R>> {
        match self.find_unexpired(engine, addr)? {
            Some(place) => self.update_at(engine, addr, place, change).map(Some),
            None => Ok(None),
        }
    }

    /// A read and a write in one, of `initial` if there is no row.
    #[inline(always)]
    pub(crate) fn update_or_insert_with<R>(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        initial: impl FnOnce() -> P,
        change: impl FnOnce(&mut P) -> R,
    ) -> Result<R> {
        if let Some(payload) = self.find_touched(engine, addr) {
            return Ok(change(payload));
        }
        self.update_or_insert_rare(engine, addr.apart(), initial, change)
    }

    #[inline(never)]
    fn update_or_insert_rare<R>(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        initial: impl FnOnce() -> P,
        change: impl FnOnce(&mut P) -> R,
    ) -> Result<R> {
        if let Some(place) = self.find_unexpired(engine, addr)? {
            return self.update_at(engine, addr, place, change);
        }
        let mut payload = initial();
        let result = change(&mut payload);
        self.set(engine, addr, payload)?;
        Ok(result)
    }

    /// The payload of a row that was changed in this epoch already, without time to live, and that
    /// need not be measured now: nobody has to hear of a further change. Counts as one.
    #[inline(always)]
    fn find_touched(&mut self, engine: &Engine, addr: Addr<'_>) -> Option<&mut P> {
        if self.ttl.is_some() {
            return None;
        }
        let group = self.groups.get_mut(addr.group)?;
        let place = group.place_at(addr)?;
        let entry = group.rows.get_mut(place)?;
        if entry.modified != engine.epoch {
            return None;
        }
        if self.measured {
            if u32::from(entry.writes) + 1 >= MEASURE_EVERY || engine.used > engine.budget {
                return None;
            }
            entry.writes += 1;
        }
        entry.flags |= UNSAVED | REFERENCED;
        entry.value.as_mut()
    }

    /// Place of the row if it is alive or the state returns expired ones; else it is removed.
    #[inline]
    fn find_unexpired(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<Option<usize>> {
        let Some(place) = self.find(engine, addr)? else {
            return Ok(None);
        };
        if let Some(ttl) = self.ttl
            && !ttl.returns_expired()
            && self.is_expired(engine, addr.group, place)
        {
            self.remove_at(engine, addr.group, place)?;
            return Ok(None);
        }
        Ok(Some(place))
    }
}

impl<P> std::fmt::Debug for Table<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("type", &self.type_name)
            .finish_non_exhaustive()
    }
}
