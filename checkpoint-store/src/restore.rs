//! Reading state back: into a state store, or row by row.

use crate::error::{Error, Result};
use crate::ids::OperatorUid;
use crate::manifest::{FileRef, Manifest, OperatorSnapshot};
use crate::merge::MergedRows;
use crate::parquet::BatchBuilder;
use crate::protocol::Damage;
use crate::store::CheckpointStore;
use arrow_array::RecordBatch;
use state_backend::{DeltaChunk, KeyGroup, KeyGroupRange, StateId, StateStore};
use std::collections::BTreeSet;

/// How far a restore has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreProgress<'a> {
    /// The state being restored.
    pub state: &'a str,
    /// Rows restored so far, of all states.
    pub rows: u64,
    /// Bytes of row groups read so far.
    pub bytes_read: u64,
    /// Bytes of all files concerned; a restore of some of the key groups reads fewer.
    pub bytes_total: u64,
}

/// What a restore did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Restored {
    /// Rows restored.
    pub rows: u64,
    /// Bytes of row groups read.
    pub bytes_read: u64,
}

/// A chunk handed to the state store holds about this many bytes.
const CHUNK_BYTES: usize = 1 << 20;

impl CheckpointStore {
    /// Restores the key groups of `groups` of an operator into a state store: its catalog, then
    /// each state's rows in ascending order of key group and key.
    ///
    /// An operator that the checkpoint does not have is new, and nothing is restored. Memory: one
    /// row group a file of the chain. Cost: about 0.5 s a million rows into memory.
    ///
    /// # Errors
    /// [`Error::Corrupted`] or [`Error::Missing`] for damaged files: the state store is then to be
    /// thrown away, and the checkpoint before to be tried. [`Error::State`] when the state store
    /// refuses, [`Error::Incompatible`] for key groups that the operator does not have.
    pub fn restore(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        groups: KeyGroupRange,
        into: &mut StateStore,
        progress: &mut dyn FnMut(RestoreProgress<'_>),
    ) -> Result<Restored> {
        let mut restored = Restored::default();
        let Some(operator) = manifest.operator(operator) else {
            return Ok(restored);
        };
        check_groups(operator, groups)?;
        if into.max_parallelism().get() != operator.max_parallelism {
            return Err(Error::Incompatible {
                operator: operator.uid.to_string(),
                reason: format!(
                    "it has {} key groups, and the state store {}",
                    operator.max_parallelism,
                    into.max_parallelism().get()
                ),
            });
        }
        into.restore_catalog(&operator.catalog)?;
        let concerned = operator
            .chain
            .iter()
            .filter(|file| file.groups.intersects(groups));
        let bytes_total = concerned.map(|file| file.bytes).sum();
        for state in states_of(operator) {
            let mut rows =
                MergedRows::new(&self.blobs, manifest, files_of(operator, state), groups);
            let read_before = restored.bytes_read;
            let mut chunk = DeltaChunk::new(StateId::new(0), groups.start());
            while let Some(row) = rows.next()? {
                let Some(value) = row.value else { continue };
                let group = KeyGroup::new(row.group);
                if group != chunk.group || chunk.bytes() >= CHUNK_BYTES {
                    if !chunk.is_empty() {
                        into.restore_rows(state, &chunk)?;
                    }
                    chunk = DeltaChunk::new(StateId::new(0), group);
                }
                chunk.push(row.key, Some(value));
                restored.rows += 1;
                if restored.rows.is_multiple_of(1 << 16) {
                    let bytes_read = read_before + rows.bytes_read();
                    progress(RestoreProgress {
                        state,
                        rows: restored.rows,
                        bytes_read,
                        bytes_total,
                    });
                }
            }
            if !chunk.is_empty() {
                into.restore_rows(state, &chunk)?;
            }
            restored.bytes_read = read_before + rows.bytes_read();
            let Restored { rows, bytes_read } = restored;
            progress(RestoreProgress {
                state,
                rows,
                bytes_read,
                bytes_total,
            });
        }
        Ok(restored)
    }

    /// Visits the rows of one state in ascending order of key group and key: group, key, value.
    /// Returns how many there were. Breaks off at the first error of `visit`.
    ///
    /// # Errors
    /// As [`restore`](Self::restore), and those of `visit`.
    pub fn for_each_row<E: From<Error>>(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        state: &str,
        groups: KeyGroupRange,
        mut visit: impl FnMut(KeyGroup, &[u8], &[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut count = 0;
        let Some(operator) = manifest.operator(operator) else {
            return Ok(count);
        };
        let mut rows = MergedRows::new(&self.blobs, manifest, files_of(operator, state), groups);
        while let Some(row) = rows.next()? {
            if let Some(value) = row.value {
                visit(KeyGroup::new(row.group), row.key, value)?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// One state as record batches of [`schema`](crate::schema), without deletions, in ascending
    /// order of key group and key.
    ///
    /// # Errors
    /// [`Error::NotFound`] when the checkpoint does not have the operator. Each batch may be an
    /// error, as of [`restore`](Self::restore), after which there are no more.
    pub fn read_state(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        state: &str,
        groups: KeyGroupRange,
    ) -> Result<StateBatches> {
        let operator = manifest.operator(operator).ok_or_else(|| Error::NotFound {
            location: format!("operator {operator} of checkpoint {}", manifest.id),
        })?;
        Ok(StateBatches {
            rows: Some(MergedRows::new(
                &self.blobs,
                manifest,
                files_of(operator, state),
                groups,
            )),
        })
    }

    /// Reads every file that the manifest names and compares size and checksum. An empty list
    /// means that all is as it was written.
    ///
    /// # Errors
    /// [`Error::Blob`] when a file cannot be read at all.
    pub fn verify(&self, manifest: &Manifest) -> Result<Vec<Damage>> {
        let mut damage = Vec::new();
        let mut seen = BTreeSet::new();
        for (_, file) in manifest.files() {
            let path = manifest.locate(file);
            if !seen.insert(path.clone()) {
                continue;
            }
            // Read again before it is called damaged: a transfer may have broken off.
            let bytes = match self.blobs.get(&path)? {
                Some(bytes) if crate::checksum::Crc32::of(&bytes) != file.crc32 => {
                    self.blobs.get(&path)?
                }
                bytes => bytes,
            };
            match bytes {
                None => damage.push(Damage::Missing(path)),
                Some(bytes) if bytes.len() as u64 != file.bytes => damage.push(Damage::Size {
                    path,
                    expected: file.bytes,
                    found: bytes.len() as u64,
                }),
                Some(bytes) => {
                    let found = crate::checksum::Crc32::of(&bytes);
                    if found != file.crc32 {
                        let expected = file.crc32;
                        damage.push(Damage::Contents(format!(
                            "the checksum of {path} is {found} instead of {expected}"
                        )));
                    }
                }
            }
        }
        Ok(damage)
    }
}

fn check_groups(operator: &OperatorSnapshot, groups: KeyGroupRange) -> Result<()> {
    if groups.end().get() < operator.max_parallelism {
        return Ok(());
    }
    Err(Error::Incompatible {
        operator: operator.uid.to_string(),
        reason: format!(
            "it has {} key groups, and {groups} were asked for",
            operator.max_parallelism
        ),
    })
}

/// Names of the states that have files.
pub(crate) fn states_of(operator: &OperatorSnapshot) -> BTreeSet<&str> {
    operator
        .chain
        .iter()
        .map(|file| file.state.as_str())
        .collect()
}

/// The files of one state, in the order in which they apply.
pub(crate) fn files_of<'a>(
    operator: &'a OperatorSnapshot,
    state: &'a str,
) -> impl Iterator<Item = &'a FileRef> {
    operator
        .chain
        .iter()
        .filter(move |file| file.state == state)
}

/// Record batches of one state; see [`CheckpointStore::read_state`].
#[derive(Debug)]
pub struct StateBatches {
    rows: Option<MergedRows>,
}

const BATCH_ROWS: usize = 8192;
const BATCH_BYTES: usize = 8 << 20;

impl StateBatches {
    fn read(&mut self) -> Result<Option<RecordBatch>> {
        let Some(rows) = &mut self.rows else {
            return Ok(None);
        };
        let mut batch = BatchBuilder::default();
        while batch.rows() < BATCH_ROWS && batch.bytes() < BATCH_BYTES {
            let Some(row) = rows.next()? else {
                self.rows = None;
                break;
            };
            if row.value.is_some() {
                batch.push(row.group, row.key, row.value);
            }
        }
        if batch.rows() == 0 {
            return Ok(None);
        }
        let batch = batch.take();
        batch.map(Some).map_err(|error| Error::Parquet {
            path: crate::ids::BlobPath::root(),
            source: error.into(),
        })
    }
}

impl Iterator for StateBatches {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.read();
        if batch.is_err() {
            self.rows = None;
        }
        batch.transpose()
    }
}
