//! Checkpoints of an application's own tables, without shards or a runtime.

use crate::blob::BlobStore;
use crate::compact::Compaction;
use crate::draft::{ManifestDraft, OperatorUpdate, WriteKind};
use crate::error::{Error, Result};
use crate::gc::GcMode;
use crate::ids::{CheckpointId, OperatorUid};
use crate::manifest::Manifest;
use crate::protocol::{CompactionPolicy, PassedOver, Retention};
use crate::restore::states_of;
use crate::shard::ShardWriter;
use crate::store::{CheckpointStore, StoreOptions};
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism};
use std::sync::Arc;

/// Checkpoints of an application's own tables: rows of bytes by name of a table and key, of one
/// writer, in one piece. Old checkpoints are removed and chains of deltas shortened on the way.
///
/// ```
/// use checkpoint_store::*;
/// use std::{collections::BTreeMap, sync::Arc};
///
/// # fn main() -> Result<()> {
/// let blobs = Arc::new(MemoryBlobs::new());
/// let mut checkpoints = TableCheckpoints::open(blobs, "my-application")?;
/// checkpoints.save(WriteKind::Full, 0, |rows| rows.put("counts", b"ada", Some(b"3")))?;
///
/// let counts = checkpoints.restore(|counts: &mut BTreeMap<Vec<u8>, Vec<u8>>, row| {
///     counts.insert(row.key.to_vec(), row.value.to_vec());
///     Ok::<_, Error>(())
/// })?;
/// assert_eq!(counts[&b"ada"[..]], b"3");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TableCheckpoints {
    store: CheckpointStore,
    uid: OperatorUid,
    retention: Retention,
    policy: CompactionPolicy,
    previous: Option<Manifest>,
    next: CheckpointId,
    compaction: Option<Compaction>,
    passed_over: Vec<PassedOver>,
}

/// One row of a restore.
#[derive(Debug, Clone, Copy)]
pub struct TableRow<'a> {
    /// The table.
    pub table: &'a str,
    /// The key.
    pub key: &'a [u8],
    /// The value.
    pub value: &'a [u8],
}

/// Takes the rows of one checkpoint; see [`TableCheckpoints::save`].
#[derive(Debug)]
pub struct TableRows {
    writer: ShardWriter,
}

impl TableRows {
    /// Adds a row; `None` deletes the key. Of several rows with the same key the last counts.
    ///
    /// # Errors
    /// As [`ShardWriter::put`].
    pub fn put(&mut self, table: &str, key: &[u8], value: Option<&[u8]>) -> Result<()> {
        self.writer.put(table, GROUP, key, value)
    }
}

/// One writer, one piece: one key group.
const GROUP: KeyGroup = KeyGroup::new(0);
const GROUPS: u16 = 1;

fn groups() -> Result<KeyGroupRange> {
    Ok(KeyGroupRange::all(MaxParallelism::new(GROUPS)?))
}

/// Tells what the storage did wrong from what the caller did not like.
enum Stop<E> {
    Storage(Error),
    Caller(E),
}

impl<E> From<Error> for Stop<E> {
    fn from(error: Error) -> Self {
        Self::Storage(error)
    }
}

impl TableCheckpoints {
    /// Takes the directory over from whoever wrote to it, and finds its newest checkpoint.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a name that is none, and as [`CheckpointStore::latest`].
    pub fn open(blobs: Arc<dyn BlobStore>, name: &str) -> Result<Self> {
        let uid = OperatorUid::new(name)?;
        let store = CheckpointStore::open(blobs, StoreOptions::default())?;
        let latest = store.latest()?;
        Ok(Self {
            policy: store.compaction_policy(),
            store,
            uid,
            retention: Retention::default(),
            previous: latest.manifest,
            next: latest.next_id,
            compaction: None,
            passed_over: latest.passed_over,
        })
    }

    /// Which checkpoints to keep.
    #[must_use]
    pub fn with_retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// Reads the newest checkpoint that is whole, row by row in order of table and key, into a fresh
    /// `T`; without any checkpoint that is what is returned. When one turns out to be damaged, the
    /// one before is read, from the start; see [`passed_over`](Self::passed_over).
    ///
    /// # Errors
    /// Those of `load`, and as [`CheckpointStore::latest`].
    pub fn restore<T: Default, E: From<Error>>(
        &mut self,
        mut load: impl FnMut(&mut T, TableRow<'_>) -> Result<(), E>,
    ) -> Result<T, E> {
        loop {
            let mut into = T::default();
            let Some(manifest) = &self.previous else {
                return Ok(into);
            };
            match self.read(manifest, &mut into, &mut load) {
                Ok(()) => return Ok(into),
                Err(Stop::Storage(error)) if error.is_corruption() => {
                    let before = self.store.latest_before(manifest, &error)?;
                    self.passed_over.push(PassedOver {
                        checkpoint: crate::protocol::CheckpointRef::of(manifest),
                        damage: vec![crate::protocol::Damage::Contents(error.to_string())],
                    });
                    self.passed_over.extend(before.passed_over);
                    self.previous = before.manifest;
                }
                Err(Stop::Storage(error)) => return Err(error.into()),
                Err(Stop::Caller(error)) => return Err(error),
            }
        }
    }

    fn read<T, E>(
        &self,
        manifest: &Manifest,
        into: &mut T,
        load: &mut impl FnMut(&mut T, TableRow<'_>) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        let Some(operator) = manifest.operator(&self.uid) else {
            return Ok(());
        };
        for table in states_of(operator) {
            let visit = |_, key: &[u8], value: &[u8]| {
                load(into, TableRow { table, key, value }).map_err(Stop::Caller)
            };
            self.store
                .for_each_row(manifest, &self.uid, table, groups()?, visit)?;
        }
        Ok(())
    }

    /// Checkpoints that were found damaged, newest first, and why. Tell the user.
    pub fn passed_over(&self) -> &[PassedOver] {
        &self.passed_over
    }

    /// Writes a checkpoint: of [`WriteKind::Full`] all rows, of [`WriteKind::Delta`] those that
    /// changed since the last one. It is durable, or not there at all. `created_ms` is what the
    /// retention by age goes by.
    ///
    /// Then removes what the retention does not keep, and shortens chains that have grown long,
    /// which takes the time of reading and writing them. Neither can fail the checkpoint: what did
    /// not work is tried again the next time.
    ///
    /// # Errors
    /// As [`ShardWriter::put`] and [`CheckpointStore::commit`]; then nothing was saved, and the
    /// changes belong into the next attempt. After [`Error::Fenced`] another process is the writer.
    pub fn save(
        &mut self,
        kind: WriteKind,
        created_ms: i64,
        write: impl FnOnce(&mut TableRows) -> Result<()>,
    ) -> Result<CheckpointId> {
        let id = self.next;
        self.next = id.next();
        let saved = self.try_save(id, kind, created_ms, write);
        match saved {
            Ok(manifest) => self.previous = Some(manifest),
            Err(error) => {
                // What stays behind, a later collection removes.
                let _ = self.store.abandon(id);
                return Err(error);
            }
        }
        self.compaction = None;
        if let Some(manifest) = &self.previous {
            self.compaction = self.store.compact(manifest, &self.policy).unwrap_or(None);
        }
        let _ = self.store.collect_garbage(&self.retention, GcMode::Delete);
        Ok(id)
    }

    fn try_save(
        &self,
        id: CheckpointId,
        kind: WriteKind,
        created_ms: i64,
        write: impl FnOnce(&mut TableRows) -> Result<()>,
    ) -> Result<Manifest> {
        let writer = self.store.shard_writer(id, &self.uid, 0, groups()?, kind)?;
        let mut rows = TableRows { writer };
        write(&mut rows)?;
        let update = OperatorUpdate::new(self.uid.clone(), 1, GROUPS);
        let update = update.with_shard(rows.writer.finish()?);
        let mut draft = ManifestDraft::new(id, created_ms, self.previous.as_ref());
        if let Some(compaction) = &self.compaction {
            draft = draft.with_compaction(compaction);
        }
        let committed = self.store.commit(draft.with_operator(update).build())?;
        Ok(Arc::unwrap_or_clone(committed.manifest))
    }
}
