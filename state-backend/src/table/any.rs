//! A table whose type has been forgotten, as the store keeps them.

use super::{Table, rows::RowFormat, sweep::SweepCursor};
use crate::{
    DeltaChunk, RestoreSource, Result, Shape, StateId, StateKind, Ttl, engine::Engine,
    snapshot::Work,
};
use std::{any::Any, fmt::Debug};

/// What the store does with a table whatever its type.
pub(crate) trait AnyTable: Any + Debug + Send {
    fn id(&self) -> StateId;
    fn name(&self) -> &str;
    fn kind(&self) -> StateKind;
    fn type_name(&self) -> &str;
    fn shape(&self) -> Option<&Shape>;
    fn ttl(&self) -> Option<Ttl>;
    fn format(&self) -> RowFormat;
    /// Whether rows of older versions can be read.
    fn migrates(&self) -> bool;
    /// Live rows in the table, and deleted or evicted ones still remembered.
    fn counts(&self) -> (u64, u64);
    /// Asks for what a look-up of a key's row reads first; whether there is such a row: those of a map have keys of
    /// their own.
    fn prefetch_index(&self, group: usize, hash: u64) -> bool;
    /// Asks for a row whose part of the index has been asked for.
    fn prefetch_row(&self, group: usize, hash: u64);

    fn capture(&mut self, engine: &mut Engine, snapshot: usize, work: &mut Work) -> Result<bool>;
    fn sweep(
        &mut self,
        engine: &mut Engine,
        cursor: &mut SweepCursor,
        work: &mut Work,
    ) -> Result<bool>;
    fn expires_in_background(&self) -> bool;
    /// See [`Table::evict_step`].
    fn evict_step(&mut self, engine: &mut Engine, group: usize) -> Result<bool>;
    /// Whether no row was changed after this epoch.
    fn is_unchanged_since(&self, epoch: u32) -> bool;
    /// Brings every row that the backend does not have as it is into the backend.
    fn save_all(&mut self, engine: &mut Engine) -> Result<()>;
    /// Claims the rows that were restored before the state was registered; `source` has more of them.
    fn adopt(
        &mut self,
        engine: &mut Engine,
        source: Option<&dyn RestoreSource>,
        format: RowFormat,
    ) -> Result<()>;
    /// Takes in all rows that the source has of the state, into memory.
    fn pull(
        &mut self,
        engine: &mut Engine,
        source: &dyn RestoreSource,
        format: RowFormat,
    ) -> Result<()>;
    fn restore(
        &mut self,
        engine: &mut Engine,
        chunks: Vec<DeltaChunk>,
        format: RowFormat,
    ) -> Result<()>;
}

impl<P: Send + 'static> AnyTable for Table<P> {
    fn id(&self) -> StateId {
        self.id
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn kind(&self) -> StateKind {
        self.kind
    }

    fn type_name(&self) -> &str {
        &self.type_name
    }

    fn shape(&self) -> Option<&Shape> {
        self.shape.as_ref()
    }

    fn ttl(&self) -> Option<Ttl> {
        self.ttl
    }

    fn format(&self) -> RowFormat {
        self.rows.format()
    }

    fn migrates(&self) -> bool {
        self.migrates
    }

    fn counts(&self) -> (u64, u64) {
        self.groups.iter().fold((0, 0), |(live, rest), group| {
            (
                live + group.live() as u64,
                rest + (group.tombstones + group.ghosts.len()) as u64,
            )
        })
    }

    #[inline]
    fn prefetch_index(&self, group: usize, hash: u64) -> bool {
        match self.groups.get(group) {
            Some(group) if self.kind != StateKind::Map => {
                group.rows.prefetch_index(hash);
                true
            }
            _ => false,
        }
    }

    #[inline]
    fn prefetch_row(&self, group: usize, hash: u64) {
        if let Some(group) = self.groups.get(group) {
            group.rows.prefetch_item(hash);
        }
    }

    fn capture(&mut self, engine: &mut Engine, snapshot: usize, work: &mut Work) -> Result<bool> {
        Self::capture(self, engine, snapshot, work)
    }

    fn sweep(
        &mut self,
        engine: &mut Engine,
        cursor: &mut SweepCursor,
        work: &mut Work,
    ) -> Result<bool> {
        Self::sweep(self, engine, cursor, work)
    }

    fn expires_in_background(&self) -> bool {
        Self::expires_in_background(self)
    }

    fn evict_step(&mut self, engine: &mut Engine, group: usize) -> Result<bool> {
        Self::evict_step(self, engine, group)
    }

    fn is_unchanged_since(&self, epoch: u32) -> bool {
        self.groups.iter().all(|group| {
            group.rows.iter().all(|entry| entry.modified <= epoch)
                && group.ghosts.iter().all(|ghost| ghost.modified <= epoch)
        })
    }

    fn save_all(&mut self, engine: &mut Engine) -> Result<()> {
        (0..self.groups.len()).try_for_each(|at| self.save_group(engine, at))
    }

    fn adopt(
        &mut self,
        engine: &mut Engine,
        source: Option<&dyn RestoreSource>,
        format: RowFormat,
    ) -> Result<()> {
        Self::adopt(self, engine, source, format)
    }

    fn pull(
        &mut self,
        engine: &mut Engine,
        source: &dyn RestoreSource,
        format: RowFormat,
    ) -> Result<()> {
        Self::pull(self, engine, source, format)
    }

    fn restore(
        &mut self,
        engine: &mut Engine,
        chunks: Vec<DeltaChunk>,
        format: RowFormat,
    ) -> Result<()> {
        if engine.pinned {
            return self.take_in(engine, chunks, format);
        }
        chunks
            .iter()
            .try_for_each(|chunk| self.load_beneath(engine, chunk, format))
    }
}
