//! Reading state back: into a state store, or row by row.

use crate::error::{Error, Result};
use crate::ids::OperatorUid;
use crate::manifest::{FileRef, Manifest, OperatorSnapshot};
use crate::merge::MergedRows;
use crate::operator_rows::OperatorRows;
use crate::parquet::BatchBuilder;
use crate::protocol::Damage;
use crate::store::CheckpointStore;
use arrow_array::RecordBatch;
use state_backend::{KeyGroup, KeyGroupRange, StateStore};
use std::collections::BTreeSet;
use std::sync::Arc;

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

impl CheckpointStore {
    /// Restores the key groups of an operator into a state store: its catalog, and each state's rows.
    ///
    /// An operator that the checkpoint does not have is new, and nothing is restored. In memory the rows of
    /// registered states go straight into their tables, on up to four threads, and those of others wait
    /// encoded until they are registered; to restore before that, use
    /// [`restore_lazily`](Self::restore_lazily). Memory beside the state: on each thread what a merge takes
    /// ([`StoreOptions::with_merge_bytes`](crate::StoreOptions::with_merge_bytes)), however long the chain is; over a
    /// backend on disk one thread reads, and three portions of 16 MiB are on their way.
    ///
    /// # Errors
    /// [`Error::Corrupted`] or [`Error::Missing`] for damaged files: the state store is then to be
    /// thrown away, and the checkpoint before to be tried. [`Error::State`] when the state store
    /// refuses, [`Error::Incompatible`] when it has other key groups than the operator.
    pub fn restore(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        into: &mut StateStore,
        progress: &mut (dyn FnMut(RestoreProgress<'_>) + Send),
    ) -> Result<Restored> {
        let Some(operator) = manifest.operator(operator) else {
            return Ok(Restored::default());
        };
        let rows = self.rows_for(manifest, operator, into)?;
        let outcome = into.restore_all_from(&operator.catalog, &rows.reporting(progress));
        rows.outcome_of(outcome)
    }

    /// As [`restore`](Self::restore), except that the rows of a state are read when the state is registered:
    /// so that a store in memory can be restored before its states are known and no row waits, nor passes
    /// twice. None for an operator that the checkpoint does not have.
    ///
    /// When all states are registered call [`StateStore::finish_restore`], and then
    /// [`OperatorRows::outcome`]: whatever became of the registrations, it tells whether the checkpoint
    /// turned out to be damaged. Until then the checkpoint must not be deleted.
    ///
    /// # Errors
    /// As [`restore`](Self::restore).
    pub fn restore_lazily(
        &self,
        manifest: &Manifest,
        operator: &OperatorUid,
        into: &mut StateStore,
    ) -> Result<Option<Arc<OperatorRows>>> {
        let Some(operator) = manifest.operator(operator) else {
            return Ok(None);
        };
        let rows = Arc::new(self.rows_for(manifest, operator, into)?);
        let outcome = into.restore_from(&operator.catalog, Arc::clone(&rows) as _);
        rows.outcome_of(outcome)?;
        Ok(Some(rows))
    }

    fn rows_for(
        &self,
        manifest: &Manifest,
        operator: &OperatorSnapshot,
        into: &StateStore,
    ) -> Result<OperatorRows> {
        let (found, wanted) = (operator.max_parallelism, into.max_parallelism().get());
        if found != wanted {
            return Err(Error::Incompatible {
                operator: operator.uid.to_string(),
                reason: format!("it has {found} key groups, and the state store {wanted}"),
            });
        }
        let unknown = |state: &&str| operator.catalog.get(state).is_none();
        if let Some(state) = states_of(operator).into_iter().find(unknown) {
            return Err(state_backend::Error::UnknownState(state.to_owned()).into());
        }
        Ok(OperatorRows::new(
            &self.blobs,
            manifest,
            operator,
            into.range(),
            self.options.merge_limits(),
        ))
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
        let mut rows = self.merged_rows(manifest, operator, state, groups);
        while let Some(run) = rows.next_run()? {
            for (key, value) in run.iter() {
                visit(run.group, key, value)?;
            }
            count += run.len() as u64;
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
            rows: Some(self.merged_rows(manifest, operator, state, groups)),
        })
    }

    pub(crate) fn merged_rows(
        &self,
        manifest: &Manifest,
        operator: &OperatorSnapshot,
        state: &str,
        groups: KeyGroupRange,
    ) -> MergedRows {
        let files = files_of(operator, state).map(|file| manifest.located(file));
        MergedRows::new(&self.blobs, files, groups, self.options.merge_limits())
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
