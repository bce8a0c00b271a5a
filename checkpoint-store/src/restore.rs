//! Reading state back: into a state store, or row by row.

use crate::error::{Error, Result};
use crate::ids::OperatorUid;
use crate::manifest::{FileRef, Manifest, OperatorSnapshot};
use crate::merge::MergedRows;
use crate::parquet::BatchBuilder;
use crate::protocol::Damage;
use crate::read_ahead::{Portions, Stop, read_ahead};
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

/// Rows on their way from the files to the state store.
struct Portion<'a> {
    state: &'a str,
    chunks: Vec<DeltaChunk>,
    /// How many rows the key groups have that are in more portions than this, about.
    expected: Vec<(KeyGroup, u64)>,
    /// What is restored when these are taken in.
    restored: Restored,
    /// Of its state.
    is_last: bool,
}

/// A portion holds about this many bytes: several key groups of a large state, for several threads.
const PORTION_BYTES: usize = 16 << 20;

/// Reads the live rows of one state, a portion at a time.
fn read_state<'a>(
    mut rows: MergedRows,
    state: &'a str,
    restored: &mut Restored,
    portions: &Portions<Portion<'a>>,
) -> Result<(), Stop> {
    let bytes_before = restored.bytes_read;
    let (mut chunks, mut bytes) = (Vec::new(), 0);
    let mut open: Option<DeltaChunk> = None;
    while let Some(row) = rows.next()? {
        let Some(value) = row.value else { continue };
        let group = KeyGroup::new(row.group);
        if let Some(chunk) = &mut open
            && chunk.group == group
            && bytes + chunk.bytes() < PORTION_BYTES
        {
            chunk.push(row.key, Some(value));
            continue;
        }
        // The next is about as large as the last.
        let like = |of: fn(&DeltaChunk) -> usize| open.as_ref().map_or(0, |last| of(last) * 9 / 8);
        let (len, size) = (like(DeltaChunk::len), like(DeltaChunk::bytes));
        let mut chunk = DeltaChunk::with_capacity(StateId::new(0), group, len, size);
        chunk.push(row.key, Some(value));
        if let Some(full) = open.replace(chunk) {
            bytes += full.bytes();
            restored.rows += full.len() as u64;
            let cut = (full.group == group).then(|| (group, rows.rows_of(group)));
            chunks.push(full);
            if bytes >= PORTION_BYTES {
                restored.bytes_read = bytes_before + rows.bytes_read();
                bytes = 0;
                portions.put(Portion {
                    state,
                    chunks: std::mem::take(&mut chunks),
                    expected: cut.into_iter().collect(),
                    restored: *restored,
                    is_last: false,
                })?;
            }
        }
    }
    restored.rows += open.as_ref().map_or(0, DeltaChunk::len) as u64;
    restored.bytes_read = bytes_before + rows.bytes_read();
    chunks.extend(open);
    portions.put(Portion {
        state,
        chunks,
        expected: Vec::new(),
        restored: *restored,
        is_last: true,
    })
}

impl CheckpointStore {
    /// Restores the key groups of `groups` of an operator into a state store: its catalog, then
    /// each state's rows in ascending order of key group and key.
    ///
    /// An operator that the checkpoint does not have is new, and nothing is restored. Files are read on
    /// another thread than this one, which takes the rows in. Memory: one row group a file of the chain,
    /// and three portions of 16 MiB on their way.
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
        let read = |portions: &Portions<_>| {
            let mut read = Restored::default();
            for state in states_of(operator) {
                let files = files_of(operator, state);
                let rows = MergedRows::new(&self.blobs, manifest, files, groups);
                read_state(rows, state, &mut read, portions)?;
            }
            Ok(())
        };
        let take = |portion: Portion<'_>| {
            let state = portion.state;
            for (group, rows) in portion.expected {
                into.expect_rows(state, group, rows);
            }
            into.restore_chunks(state, portion.chunks)?;
            let told = restored.rows >> 16;
            restored = portion.restored;
            if portion.is_last || restored.rows >> 16 > told {
                progress(RestoreProgress {
                    state,
                    rows: restored.rows,
                    bytes_read: restored.bytes_read,
                    bytes_total,
                });
            }
            Ok(())
        };
        read_ahead(read, take)?;
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
