//! Savepoints: complete in one directory, to keep, copy and move.

use crate::blob::BlobStore;
use crate::compact::{Deletions, MergeJob};
use crate::draft::WriteKind;
use crate::error::{Error, Result};
use crate::ids::{BlobPath, CheckpointId, OperatorUid, WriterEpoch};
use crate::manifest::{FileRef, Manifest, ManifestKind};
use crate::protocol::{self, CHECKPOINTS, MANIFEST, Role};
use crate::restore::{files_of, states_of};
use crate::shard::{Columns, ShardTarget, ShardWriter, create};
use crate::store::{CheckpointStore, StoreOptions};
use crate::typed::StateDecoder;
use state_backend::KeyGroupRange;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Where the data of a savepoint lies, below its directory.
const DATA: &str = "data";

/// Writes one savepoint, in a directory of its own.
///
/// All paths in its manifest are relative to the manifest, and nothing it needs lies elsewhere, so
/// the directory can be moved, copied or downloaded, and restored from where it then is. Keys and
/// values are the same bytes for every backend, and key groups are restored by range, so it fits
/// any backend and any parallelism.
#[derive(Debug, Clone)]
pub struct SavepointWriter {
    blobs: Arc<dyn BlobStore>,
    dir: BlobPath,
    options: StoreOptions,
    columns: Columns,
}

impl SavepointWriter {
    /// Begins a savepoint in `dir` (the root: in the whole of `blobs`).
    ///
    /// # Errors
    /// [`Error::Conflict`] when there is anything in that directory.
    pub fn create(blobs: Arc<dyn BlobStore>, dir: BlobPath, options: StoreOptions) -> Result<Self> {
        if let Some(found) = blobs.list(&dir)?.into_iter().next() {
            return Err(Error::Conflict { path: found.path });
        }
        Ok(Self {
            blobs,
            dir,
            options,
            columns: Columns::Plain,
        })
    }

    /// Adds to each file a column `typed` with what the values mean, so that a query can use it: a
    /// struct for a struct, a map for a map. For states whose type has a known shape; the files
    /// become about twice as large.
    #[must_use]
    pub fn with_typed_columns(mut self) -> Self {
        self.columns = Columns::Typed;
        self
    }

    /// Begins to write one shard's state, all of it.
    pub fn shard_writer(
        &self,
        id: CheckpointId,
        operator: &OperatorUid,
        subtask: u16,
        groups: KeyGroupRange,
    ) -> ShardWriter {
        ShardWriter::new(ShardTarget {
            blobs: Arc::clone(&self.blobs),
            base: self.dir.clone(),
            dir: BlobPath::root().join(DATA),
            id,
            operator: operator.clone(),
            subtask,
            groups,
            kind: WriteKind::Full,
            options: self.options.clone(),
            columns: self.columns,
        })
    }

    /// Publishes the savepoint: writes its manifest, after all files.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the manifest names a file that is not in the savepoint,
    /// [`Error::Conflict`] when there is another manifest, [`Error::Blob`].
    pub fn commit(&self, manifest: Manifest) -> Result<Manifest> {
        let mut manifest = manifest.based_at(self.dir.clone());
        manifest.kind = ManifestKind::Savepoint;
        manifest.parent = None;
        manifest.writer = WriterEpoch::default();
        let invalid = |what| Error::invalid("savepoint", self.dir.as_str(), what);
        manifest.check().map_err(invalid)?;
        let sizes = protocol::sizes(&self.blobs.list(&self.dir)?);
        if let Some(damage) = protocol::missing_files(&manifest, &sizes).first() {
            return Err(invalid(damage.to_string()));
        }
        let _ = create(&*self.blobs, &self.dir.join(MANIFEST), manifest.encode()?)?;
        Ok(manifest)
    }

    /// Removes what was written of a savepoint that will not be committed.
    ///
    /// # Errors
    /// [`Error::Blob`].
    pub fn discard(self) -> Result<()> {
        for blob in self.blobs.list(&self.dir)? {
            self.blobs.delete(&blob.path)?;
        }
        Ok(())
    }
}

impl CheckpointStore {
    /// Makes a savepoint of a checkpoint (or copies a savepoint): each state becomes one sorted
    /// sequence of files without deletions. Needs no job, and disturbs none.
    ///
    /// # Errors
    /// As of [`restore`](Self::restore) and [`SavepointWriter::commit`].
    pub fn save_as(&self, manifest: &Manifest, savepoint: &SavepointWriter) -> Result<Manifest> {
        let mut copy = manifest.clone();
        for operator in &mut copy.operators {
            let mut chain: Vec<FileRef> = Vec::new();
            for state in states_of(operator) {
                let inputs = files_of(operator, state).map(|file| manifest.located(file));
                let decoder = match savepoint.columns {
                    Columns::Plain => None,
                    Columns::Typed => operator.catalog.get(state).and_then(StateDecoder::of),
                };
                chain.extend(self.merge_files(MergeJob {
                    operator: &operator.uid,
                    state,
                    inputs: inputs.collect(),
                    deletions: Deletions::Drop,
                    blobs: &savepoint.blobs,
                    base: &savepoint.dir,
                    dir: &BlobPath::root().join(DATA).join(operator.uid.as_str()),
                    decoder: decoder.as_ref(),
                    stop: &AtomicBool::new(false),
                })?);
            }
            chain.sort_by_key(|file| file.checkpoint);
            operator.chain = chain;
        }
        copy.recount();
        savepoint.commit(copy)
    }

    /// The savepoints below `dir` of this store, by their directory.
    ///
    /// # Errors
    /// [`Error::Blob`]. One that cannot be read is listed with its error.
    pub fn savepoints(&self, dir: &BlobPath) -> Result<Vec<(BlobPath, Result<Manifest>)>> {
        let mut found = Vec::new();
        for blob in self.blobs.list(dir)? {
            let Some(name) = blob.path.as_str().strip_suffix(MANIFEST) else {
                continue;
            };
            if !matches!(protocol::role(&blob.path), Role::Other) || name.starts_with(CHECKPOINTS) {
                continue;
            }
            let place = BlobPath::new(name.trim_end_matches('/'))?;
            let manifest = self.load(&crate::store::Location::Savepoint(place.clone()));
            found.push((place, manifest));
        }
        Ok(found)
    }

    /// Removes a savepoint: first its manifest, then all files that it named. Other files that
    /// lie in its directory stay.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Blob`]; [`Error::Corrupted`], removing nothing, when it is
    /// not known what belongs to it.
    pub fn dispose_savepoint(&self, dir: &BlobPath) -> Result<()> {
        let manifest = self.load(&crate::store::Location::Savepoint(dir.clone()))?;
        if manifest.kind != ManifestKind::Savepoint {
            return Err(Error::NotFound {
                location: format!("savepoint {dir}"),
            });
        }
        self.blobs.delete(&dir.join(MANIFEST))?;
        for (_, file) in manifest.files() {
            self.blobs.delete(&manifest.locate(file))?;
        }
        Ok(())
    }
}
