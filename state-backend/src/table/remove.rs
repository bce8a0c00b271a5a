//! Deleting rows: at once, or by a tombstone for those who must still hear of it.

use super::{Addr, Table, entry::BENEATH, group::ORDER_BYTES};
use crate::{Result, engine::Engine};

impl<P: Send + 'static> Table<P> {
    /// Deletes a row, if it is there.
    pub(crate) fn remove(&mut self, engine: &mut Engine, addr: Addr<'_>) -> Result<()> {
        let Some(group) = self.groups.get(addr.group) else {
            return self.check_group(engine, addr);
        };
        let found = group.place_at(addr);
        if found.is_none() && !group.beneath {
            return Ok(());
        }
        let place = match found {
            Some(place) => Some(place),
            // Whether there is a row to delete is worth a read: a tombstone would cost more.
            None => self.load(engine, addr)?,
        };
        if let Some(place) = place
            && self.groups[addr.group].entry(place).value.is_some()
        {
            self.remove_at(engine, addr.group, place)?;
        }
        Ok(())
    }

    /// Deletes the live row in this place, at once if nobody has to hear of it, else by a tombstone.
    pub(crate) fn remove_at(
        &mut self,
        engine: &mut Engine,
        group: usize,
        place: usize,
    ) -> Result<Option<P>> {
        self.touch(engine, group, place)?;
        let rows = &mut self.groups[group];
        let entry = rows.entry_mut(place);
        let payload = entry.value.take();
        let key_heap = entry.key.heap_bytes();
        let freed = u64::from(entry.heap) - key_heap.min(u64::from(entry.heap));
        entry.heap -= u32::try_from(freed).unwrap_or(entry.heap);
        engine.used = engine.used.saturating_sub(freed);
        if let Some(order) = &mut rows.order
            && let Some(entry) = rows.rows.get(place)
            && order.remove(entry.key.bytes())
        {
            engine.used = engine.used.saturating_sub(ORDER_BYTES + key_heap);
        }
        let entry = rows.entry(place);
        if !entry.has(BENEATH) && entry.captured == 0 {
            let entry = rows.take(place);
            engine.used = engine.used.saturating_sub(u64::from(entry.heap));
        } else {
            rows.tombstones += 1;
        }
        Ok(payload)
    }

    /// Takes a tombstone out of the table.
    pub(super) fn bury(&mut self, engine: &mut Engine, group: usize, place: usize) {
        let rows = &mut self.groups[group];
        let entry = rows.take(place);
        rows.tombstones -= 1;
        engine.used = engine.used.saturating_sub(u64::from(entry.heap));
    }
}
