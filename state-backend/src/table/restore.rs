//! Taking rows in: from a checkpoint, or from the backend when a state is registered.

use super::{
    Table,
    entry::Ghost,
    group::Group,
    intake::{Intake, Refusal},
    rows::RowFormat,
};
use crate::{
    Change, DeltaChunk, Error, RestoreSource, Result,
    engine::Engine,
    row_key::{RowKey, hash_row},
};
use std::{collections::BTreeMap, ops::ControlFlow};

/// Rows of the backend rewritten at once.
const SLICE: usize = 4096;

impl<P: Send + 'static> Table<P> {
    /// Takes in chunks as a checkpoint has them, into a store that keeps all state in its tables.
    pub(super) fn take_in(
        &mut self,
        engine: &mut Engine,
        chunks: Vec<DeltaChunk>,
        format: RowFormat,
    ) -> Result<()> {
        let mut by_group: BTreeMap<usize, Vec<DeltaChunk>> = BTreeMap::new();
        for chunk in chunks {
            if let Some(at) = engine.range.offset_of(chunk.group) {
                by_group.entry(at).or_default().push(chunk);
            }
        }
        let (intake, groups) = self.intake(engine, format);
        let mut by_group = by_group.into_iter().peekable();
        let work = groups.iter_mut().enumerate().filter_map(|(at, group)| {
            let (_, chunks) = by_group.next_if(|(number, _)| *number == at)?;
            Some((group, chunks))
        });
        let outcome = intake.take_in_all(work.collect(), &mut engine.used);
        outcome.map_err(|refusal| self.refused(engine, refusal))
    }

    /// Hands a chunk on to the backend, in the format of now.
    pub(super) fn load_beneath(
        &mut self,
        engine: &mut Engine,
        chunk: &DeltaChunk,
        format: RowFormat,
    ) -> Result<()> {
        let Some(at) = engine.range.offset_of(chunk.group) else {
            return Ok(());
        };
        let prefix = chunk.group.to_be_bytes();
        let same = format == self.rows.format();
        let mut arena = Vec::with_capacity(chunk.bytes() + 2 * chunk.len());
        let mut spans = Vec::with_capacity(chunk.len());
        for (key, value) in chunk.iter() {
            if let Some(place) = self.groups[at].place_of(hash_row(key), key) {
                let freed = self.groups[at].forget(place);
                engine.used = engine.used.saturating_sub(freed);
            }
            let start = arena.len();
            arena.extend_from_slice(&prefix);
            arena.extend_from_slice(key);
            let key_end = arena.len();
            match value {
                Some(value) if same => arena.extend_from_slice(value),
                Some(value) => arena.extend_from_slice(&self.translate(engine, value, format)?),
                None => {}
            }
            spans.push((start, key_end, arena.len(), value.is_some()));
            if !same {
                self.note_rewritten(engine, at, key);
            }
        }
        let changes: Vec<_> = spans
            .iter()
            .map(|&(start, key_end, end, live)| Change {
                state: self.id,
                key: &arena[start..key_end],
                value: live.then(|| &arena[key_end..end]),
            })
            .collect();
        self.groups[at].beneath = true;
        engine.backend.load(&changes)
    }

    pub(super) fn intake(
        &mut self,
        engine: &Engine,
        format: RowFormat,
    ) -> (Intake<'_, P>, &mut [Group<P>]) {
        // A row in another format is written anew by the next delta: the checkpoint's catalog will
        // name only one.
        let same = format == self.rows.format();
        let intake = Intake {
            rows: &*self.rows,
            format,
            now: engine.now,
            modified: if same { 0 } else { engine.epoch },
            measured: self.measured,
            budget: engine.budget,
        };
        (intake, &mut self.groups)
    }

    pub(super) fn refused(&self, engine: &Engine, refusal: Refusal) -> Error {
        match refusal {
            Refusal::Damaged(reason) => self.damaged(reason),
            Refusal::NoRoom {
                key_bytes,
                needed,
                used,
            } => Error::BudgetExceeded {
                state: self.name.clone(),
                key_bytes,
                needed_bytes: needed,
                used_bytes: used,
                budget_bytes: engine.budget,
            },
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
            .map_err(|reason| Error::Encode {
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

    /// Claims the rows that were restored before the state was registered: with the memory backend they
    /// all come into the table, those of the source last, else they are in the backend and stay there, in
    /// the format of now.
    pub(super) fn adopt(
        &mut self,
        engine: &mut Engine,
        source: Option<&dyn RestoreSource>,
        format: RowFormat,
    ) -> Result<()> {
        if engine.pinned {
            let waiting = engine.unclaimed.take(self.id);
            self.take_in(engine, waiting, format)?;
            return source.map_or(Ok(()), |source| self.pull(engine, source, format));
        }
        let same = format == self.rows.format();
        let limit = if same { 1 } else { SLICE };
        for at in 0..self.groups.len() {
            let prefix = engine.group_at(at).to_be_bytes();
            let mut after: Option<Vec<u8>> = None;
            loop {
                let mut slice: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
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
                self.groups[at].beneath = true;
                if same {
                    break;
                }
                for (_, value) in &mut slice {
                    *value = self.translate(engine, value, format)?;
                }
                let changes: Vec<_> = slice
                    .iter()
                    .map(|(row, value)| Change {
                        state: self.id,
                        key: row,
                        value: Some(value),
                    })
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
}
