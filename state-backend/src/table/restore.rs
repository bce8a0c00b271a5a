//! Taking rows in: from a checkpoint, or from the backend when a state is registered.

use super::{
    Addr, Table,
    entry::{BENEATH, Entry, Ghost},
    rows::RowFormat,
};
use crate::{
    Change, Result,
    engine::Engine,
    row_key::{RowKey, hash_row},
};
use std::ops::ControlFlow;

/// Rows taken from the backend at once.
const SLICE: usize = 4096;

impl<P: Send + 'static> Table<P> {
    /// Takes in one row as a checkpoint has it; `None` deletes it. `row` begins with the group.
    pub(super) fn absorb(
        &mut self,
        engine: &mut Engine,
        at: usize,
        row: &[u8],
        value: Option<&[u8]>,
        format: RowFormat,
    ) -> Result<()> {
        let addr = Addr::of(row, at);
        if let Some(bucket) = self.groups[at].bucket_at(addr) {
            self.forget(engine, at, bucket);
        }
        let Some(value) = value else {
            return Ok(());
        };
        let (payload, written) = self
            .rows
            .decode(value, format, engine.now)
            .map_err(|reason| self.damaged(reason))?;
        self.make_slot(engine, addr)?;
        // A row in another format is written anew by the next delta: the checkpoint's catalog will
        // name only one.
        let modified = if format == self.rows.format() {
            0
        } else {
            engine.epoch
        };
        let entry = Entry {
            key: addr.row_key(),
            written,
            modified,
            captured: 0,
            heap: 0,
            writes: 0,
            flags: BENEATH,
            value: Some(payload),
        };
        let bucket = self.insert(engine, addr, entry);
        if modified > 0 {
            let group = &mut self.groups[at];
            let buckets = group.rows.num_buckets();
            group.dirty.push(modified, bucket, buckets);
        }
        if engine.used > engine.budget {
            return Err(self.over_budget(engine, addr, 0));
        }
        Ok(())
    }

    /// Drops a row from the table without telling anybody.
    pub(super) fn forget(&mut self, engine: &mut Engine, at: usize, bucket: usize) {
        let group = &mut self.groups[at];
        let entry = group.take(bucket);
        engine.used = engine.used.saturating_sub(u64::from(entry.heap));
        if entry.value.is_none() {
            group.tombstones -= 1;
        } else if let Some(order) = &mut group.order
            && order.remove(entry.key.bytes())
        {
            engine.used = engine
                .used
                .saturating_sub(super::group::ORDER_BYTES + entry.key.heap_bytes());
        }
    }

    /// The row in the format of now, for a backend that keeps rows.
    pub(super) fn translate(
        &self,
        engine: &Engine,
        value: &[u8],
        format: RowFormat,
    ) -> Result<Vec<u8>> {
        let (payload, written) = self
            .rows
            .decode(value, format, engine.now)
            .map_err(|reason| self.damaged(reason))?;
        let mut out = Vec::with_capacity(value.len() + 8);
        self.rows
            .encode(&payload, written, &mut out)
            .map_err(|reason| crate::Error::Encode {
                state: self.name.clone(),
                reason,
            })?;
        Ok(out)
    }

    /// Notes that a row in the backend was rewritten, so that the next delta has it.
    pub(super) fn note_rewritten(&mut self, engine: &mut Engine, at: usize, key: &[u8]) {
        let ghost = Ghost {
            key: RowKey::new(key),
            modified: engine.epoch,
            captured: 0,
        };
        let grown = self.groups[at].put_ghost(hash_row(key), ghost);
        engine.add_used(grown);
    }

    /// Claims the rows that the backend holds of this state: with the memory backend they all come
    /// into the table, else they stay, in the format of now.
    pub(super) fn adopt(&mut self, engine: &mut Engine, format: RowFormat) -> Result<()> {
        for at in 0..self.groups.len() {
            let prefix = engine.group_at(at).to_be_bytes();
            let mut after: Option<Vec<u8>> = None;
            loop {
                let mut slice: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
                let same = format == self.rows.format();
                let limit = if engine.pinned || !same { SLICE } else { 1 };
                engine
                    .backend
                    .scan(self.id, &prefix, after.as_deref(), &mut |row, value| {
                        slice.push((row.to_vec(), value.to_vec()));
                        if slice.len() < limit {
                            ControlFlow::Continue(())
                        } else {
                            ControlFlow::Break(())
                        }
                    })?;
                if slice.is_empty() {
                    break;
                }
                if engine.pinned {
                    for (row, value) in &slice {
                        self.absorb(engine, at, row, Some(value), format)?;
                    }
                    let gone: Vec<_> = slice
                        .iter()
                        .map(|(row, _)| self.change(row, None))
                        .collect();
                    engine.backend.apply(&gone)?;
                    continue;
                }
                self.groups[at].beneath = true;
                if same {
                    break;
                }
                for (_, value) in &mut slice {
                    *value = self.translate(engine, value, format)?;
                }
                let changes: Vec<_> = slice
                    .iter()
                    .map(|(row, value)| self.change(row, Some(value)))
                    .collect();
                engine.backend.apply(&changes)?;
                for (row, _) in &slice {
                    self.note_rewritten(engine, at, &row[2..]);
                }
                after = slice.pop().map(|(row, _)| row);
            }
        }
        Ok(())
    }

    fn change<'a>(&self, key: &'a [u8], value: Option<&'a [u8]>) -> Change<'a> {
        Change {
            state: self.id,
            key,
            value,
        }
    }
}
