//! Writing rows: new ones, over old ones, and in place.

use super::{
    Addr, MEASURE_EVERY, Table,
    entry::{BENEATH, Entry, REFERENCED, UNSAVED},
    group::ORDER_BYTES,
};
use crate::{Error, Result, engine::Engine};

impl<P: Send + 'static> Table<P> {
    /// Writes a row, whatever was there.
    #[inline]
    pub(crate) fn set(&mut self, engine: &mut Engine, addr: Addr<'_>, payload: P) -> Result<()> {
        let heap = self.measure(engine, addr, &payload)?;
        let Some(group) = self.groups.get(addr.group) else {
            return self.check_group(engine, addr);
        };
        match group.place_at(addr) {
            Some(place) => self.overwrite(engine, addr, place, payload, heap),
            None => self.set_new(engine, addr, payload, heap),
        }
    }

    /// Memory that the payload holds, within the limit for one value.
    #[inline]
    fn measure(&self, engine: &Engine, addr: Addr<'_>, payload: &P) -> Result<u64> {
        let heap = if self.measured {
            self.rows.heap_bytes(payload) as u64
        } else {
            0
        };
        if heap.max(size_of::<P>() as u64) > engine.max_value {
            return Err(Error::ValueTooLarge {
                state: self.name.clone(),
                key_bytes: addr.key_len() as u64,
                value_bytes: heap.max(size_of::<P>() as u64),
                limit_bytes: engine.max_value,
            });
        }
        Ok(heap)
    }

    #[inline]
    fn overwrite(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        place: usize,
        payload: P,
        heap: u64,
    ) -> Result<()> {
        if engine.pinned && engine.used + heap > engine.budget {
            let old = u64::from(self.groups[addr.group].entry(place).heap);
            if engine.used + heap > engine.budget + old {
                return Err(self.over_budget(engine, addr, heap - old.min(heap)));
            }
        }
        self.touch(engine, addr.group, place)?;
        let now = engine.now;
        let group = &mut self.groups[addr.group];
        let entry = group.entry_mut(place);
        let revived = entry.value.is_none();
        if self.measured {
            let heap = u32::try_from(heap + entry.key.heap_bytes()).unwrap_or(u32::MAX);
            engine.used = engine.used.saturating_sub(u64::from(entry.heap)) + u64::from(heap);
            entry.heap = heap;
            entry.writes = 0;
        }
        entry.value = Some(payload);
        entry.written = now;
        if revived {
            let key = entry.key.clone();
            group.tombstones -= 1;
            if let Some(order) = &mut group.order {
                engine.used += ORDER_BYTES + key.heap_bytes();
                order.insert(key);
            }
        }
        Ok(())
    }

    fn set_new(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        payload: P,
        heap: u64,
    ) -> Result<()> {
        if engine.pinned && engine.used + heap > engine.budget {
            return Err(self.over_budget(engine, addr, heap));
        }
        let beneath = self.groups[addr.group].beneath;
        // A running snapshot may want what lies beneath before it is overwritten.
        if beneath
            && engine.running > 0
            && let Some(place) = self.load(engine, addr)?
        {
            return self.overwrite(engine, addr, place, payload, heap);
        }
        self.create(engine, addr, Some(payload), beneath)
    }

    /// Adds an entry for a row that is not in the table.
    fn create(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        payload: Option<P>,
        beneath: bool,
    ) -> Result<()> {
        self.make_place(engine, addr)?;
        let group = &mut self.groups[addr.group];
        let ghost = group.take_ghost(addr);
        let mut entry = Entry {
            key: addr.row_key(),
            written: engine.now,
            modified: engine.epoch,
            captured: 0,
            heap: 0,
            writes: 0,
            flags: UNSAVED | REFERENCED | if beneath { BENEATH } else { 0 },
            value: None,
        };
        if let Some(ghost) = ghost {
            engine.used = engine.used.saturating_sub(ghost.key.heap_bytes());
            entry.captured = ghost.captured;
            // While a snapshot runs, a row beneath would have been loaded: this ghost is of a
            // deletion, and a snapshot may want it.
            if engine.running > 0 {
                entry.modified = ghost.modified;
                let (table, _) = self.split();
                engine.preserve(&table, addr.group, &mut entry)?;
                entry.modified = engine.epoch;
            }
        }
        entry.value = payload;
        let place = self.insert(engine, addr, entry);
        let group = &mut self.groups[addr.group];
        let places = group.rows.places();
        group.dirty.push(engine.epoch, place, places);
        Ok(())
    }

    /// Changes the payload in place. The place comes from [`find`](Self::find).
    #[inline]
    pub(crate) fn update_at<R>(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        place: usize,
        change: impl FnOnce(&mut P) -> R,
    ) -> Result<R> {
        if engine.pinned && engine.used > engine.budget {
            return Err(self.over_budget(engine, addr, 0));
        }
        self.touch(engine, addr.group, place)?;
        let entry = self.groups[addr.group].entry_mut(place);
        entry.written = engine.now;
        let payload = entry.value.as_mut().expect("found rows are alive");
        let result = change(payload);
        if self.measured {
            entry.writes = entry.writes.saturating_add(1);
            if u32::from(entry.writes) >= MEASURE_EVERY.max((entry.heap / 1024).min(60_000)) {
                self.remeasure(engine, addr, place)?;
            }
        }
        Ok(result)
    }

    /// Counts the payload's memory anew.
    ///
    /// # Errors
    /// The value has grown past the limit. It is kept: take something out of it.
    #[cold]
    pub(crate) fn remeasure(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        place: usize,
    ) -> Result<()> {
        let entry = self.groups[addr.group].entry_mut(place);
        let Some(payload) = &entry.value else {
            return Ok(());
        };
        let payload_heap = self.rows.heap_bytes(payload) as u64;
        let heap = u32::try_from(payload_heap + entry.key.heap_bytes()).unwrap_or(u32::MAX);
        engine.used = engine.used.saturating_sub(u64::from(entry.heap)) + u64::from(heap);
        entry.heap = heap;
        entry.writes = 0;
        if payload_heap > engine.max_value {
            let (table, _) = self.split();
            return Err(table.too_large(addr.key_len(), payload_heap as usize, engine.max_value));
        }
        Ok(())
    }
}
