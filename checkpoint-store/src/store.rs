//! The checkpoint store: publish, find, load.

use crate::blob::{BlobInfo, BlobStore, PutMode, PutOutcome};
use crate::draft::WriteKind;
use crate::error::{Error, Result};
use crate::ids::{BlobPath, CheckpointId, OperatorUid, WriterEpoch};
use crate::manifest::{Manifest, ManifestKind};
use crate::merge::MergeLimits;
use crate::parquet::{RowGroupLimits, WHOLE_BELOW};
use crate::protocol::{
    self, CHECKPOINTS, CheckpointRef, CompactionPolicy, Damage, PassedOver, WRITERS,
};
use crate::shard::{Columns, ShardTarget, ShardWriter, create};
use bytes::Bytes;
use state_backend::KeyGroupRange;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the parsed footer of a file takes, about: some 300 bytes for each column of each row group.
const FOOTER_BYTES: usize = 64 << 10;

/// How a [`CheckpointStore`] works.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    pub(crate) buffer_bytes: usize,
    pub(crate) file_bytes: usize,
    pub(crate) upload_threads: usize,
    pub(crate) merge_bytes: usize,
}

impl Default for StoreOptions {
    /// 16 MiB of buffer a shard, files of up to 32 MiB, four files of a shard at a time, 64 MiB for a merge.
    fn default() -> Self {
        Self {
            buffer_bytes: 16 << 20,
            file_bytes: 32 << 20,
            upload_threads: 4,
            merge_bytes: 64 << 20,
        }
    }
}

impl StoreOptions {
    /// Bytes of rows that one [`ShardWriter`] holds before it writes a file; at least 64 KiB.
    #[must_use]
    pub fn with_buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.max(64 << 10);
        self
    }

    /// Files that one [`ShardWriter`] hands to the storage at a time when it finishes, at least one. A
    /// file waits for a disk or a network rather than for the processor, and a shard has one a
    /// state. Before that, it hands over one at a time, while it takes more rows.
    #[must_use]
    pub fn with_upload_threads(mut self, threads: usize) -> Self {
        self.upload_threads = threads.max(1);
        self
    }

    /// Size at which a compaction or a savepoint begins a new file; at least 64 KiB.
    #[must_use]
    pub fn with_file_bytes(mut self, bytes: usize) -> Self {
        self.file_bytes = bytes.max(64 << 10);
        self
    }

    /// Bytes that a merge of files takes to read them: a compaction, a savepoint made of a checkpoint, each thread
    /// of a restore. Of how many files it holds a part at a time goes by them: [`fan_in`](Self::fan_in).
    ///
    /// A compaction holds, besides, the files that it writes: four times
    /// [`with_file_bytes`](Self::with_file_bytes) at most. Files with larger row groups than this store would write
    /// (by a store with a larger buffer) take more.
    #[must_use]
    pub fn with_merge_bytes(mut self, bytes: usize) -> Self {
        self.merge_bytes = bytes;
        self
    }

    /// How many files of a state a merge has open at most where all have rows of the same key groups; at least 2.
    /// For each it allows for two row groups, a whole small file and a footer.
    ///
    /// A compaction of more merges some of them into one first, in as many passes as it takes. A reader, which can
    /// write nowhere, reads them `fan_in` at a time, a part of their rows after the other, so it opens each
    /// several times: [`CompactionPolicy`](crate::CompactionPolicy) keeps chains from becoming so long.
    pub fn fan_in(&self) -> usize {
        let row_group = RowGroupLimits::of_buffer(self.buffer_bytes).max_bytes;
        let whole = usize::try_from(WHOLE_BELOW).unwrap_or(usize::MAX);
        (self.merge_bytes / (2 * row_group + whole + FOOTER_BYTES)).max(2)
    }

    pub(crate) fn merge_limits(&self) -> MergeLimits {
        MergeLimits {
            fan_in: self.fan_in(),
            // Portions of rows grow by doubling, and half of the files that may be open are, beside them.
            waiting_bytes: self.merge_bytes / 4,
        }
    }
}

/// The checkpoints of one job in one [`BlobStore`].
///
/// Cheap to clone; all clones are one writer. Thread safe.
#[derive(Debug, Clone)]
pub struct CheckpointStore {
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) options: StoreOptions,
    /// None when opened for reading.
    writer: Option<Arc<Writer>>,
}

#[derive(Debug)]
struct Writer {
    epoch: WriterEpoch,
    newest_committed: Mutex<CheckpointId>,
    compactions: AtomicU64,
}

/// What [`CheckpointStore::latest`] found.
#[derive(Debug, Clone)]
pub struct Latest {
    /// The newest checkpoint that is whole, if there is any.
    pub manifest: Option<Manifest>,
    /// Newer ones that are not, and why. Tell the user.
    pub passed_over: Vec<PassedOver>,
    /// A number that no checkpoint has used yet, and no lower one should.
    pub next_id: CheckpointId,
}

/// What [`CheckpointStore::commit`] did.
#[derive(Debug, Clone)]
pub struct CommitOutcome {
    /// The manifest as it was published; what the next one builds on.
    pub manifest: Arc<Manifest>,
    /// Whether this call or an earlier attempt published it.
    pub published: Published,
}

/// Which attempt published a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// This one.
    Now,
    /// An earlier one whose outcome was unknown.
    Before,
}

/// Where a manifest is to be loaded from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A checkpoint of this store, by its number; of several writers' the newest writer's.
    Checkpoint(CheckpointId),
    /// The savepoint in this directory of the store.
    Savepoint(BlobPath),
}

impl CheckpointStore {
    /// The default policy, with chains as short as this store's merges read at once: a reader of a longer one opens
    /// its files again and again. Not below 8 files, so that a small memory for merges does not mean one after each
    /// checkpoint.
    #[must_use]
    pub fn compaction_policy(&self) -> CompactionPolicy {
        let policy = CompactionPolicy::default();
        let inputs = policy.max_inputs().min(self.options.fan_in());
        policy.with_max_inputs(inputs.max(8))
    }

    /// Opens a directory for writing, and takes it over: every other writer, wherever it runs,
    /// gets [`Error::Fenced`] at its next commit.
    ///
    /// Do this *before* looking for the latest checkpoint: then whatever the writer before
    /// believes to have committed is seen.
    ///
    /// # Errors
    /// [`Error::Blob`].
    pub fn open(blobs: Arc<dyn BlobStore>, options: StoreOptions) -> Result<Self> {
        let claims = blobs.list(&BlobPath::root().join(WRITERS))?;
        let mut epoch =
            protocol::newest_claim(&claims).map_or(WriterEpoch::new(1), WriterEpoch::next);
        // Each round ends with this claim or with another writer's, so somebody moves on.
        while let Err(error) = claim(&*blobs, epoch) {
            if !matches!(error, Error::Conflict { .. }) {
                return Err(error);
            }
            epoch = epoch.next();
        }
        Ok(Self {
            blobs,
            options,
            writer: Some(Arc::new(Writer {
                epoch,
                newest_committed: Mutex::new(CheckpointId::default()),
                compactions: AtomicU64::new(0),
            })),
        })
    }

    /// Opens a directory for reading (and for collecting garbage), which disturbs no writer.
    pub fn open_read_only(blobs: Arc<dyn BlobStore>, options: StoreOptions) -> Self {
        Self {
            blobs,
            options,
            writer: None,
        }
    }

    /// The storage beneath.
    pub fn blobs(&self) -> &Arc<dyn BlobStore> {
        &self.blobs
    }

    /// Which writer this is; none when opened for reading.
    pub fn epoch(&self) -> Option<WriterEpoch> {
        self.writer.as_ref().map(|writer| writer.epoch)
    }

    fn writer(&self) -> Result<&Writer> {
        self.writer.as_deref().ok_or(Error::ReadOnly)
    }

    pub(crate) fn next_compaction(&self) -> Result<(WriterEpoch, u64)> {
        let writer = self.writer()?;
        Ok((
            writer.epoch,
            writer.compactions.fetch_add(1, Ordering::Relaxed),
        ))
    }

    /// Begins to write one shard's part of a checkpoint.
    ///
    /// # Errors
    /// [`Error::ReadOnly`].
    pub fn shard_writer(
        &self,
        id: CheckpointId,
        operator: &OperatorUid,
        subtask: u16,
        groups: KeyGroupRange,
        kind: WriteKind,
    ) -> Result<ShardWriter> {
        let writer = self.writer()?.epoch;
        Ok(ShardWriter::new(ShardTarget {
            blobs: Arc::clone(&self.blobs),
            base: BlobPath::root(),
            dir: protocol::checkpoint_dir(CheckpointRef { writer, id }),
            id,
            operator: operator.clone(),
            subtask,
            groups,
            kind,
            options: self.options.clone(),
            columns: Columns::Plain,
        }))
    }

    /// Publishes a checkpoint whose files are all written: the one moment from which it exists.
    ///
    /// Calling it again with the same manifest after an error is safe, and settles whether it
    /// had happened.
    ///
    /// # Errors
    /// [`Error::Fenced`] when another writer has taken over: the checkpoint must not be relied on,
    /// and this writer should stop. [`Error::Subsumed`] when a newer one is committed.
    /// [`Error::Invalid`] for a manifest that contradicts itself. [`Error::Blob`]: not known
    /// whether it happened.
    pub fn commit(&self, manifest: Manifest) -> Result<CommitOutcome> {
        let writer = self.writer()?;
        let mut manifest = manifest.based_at(BlobPath::root());
        manifest.writer = writer.epoch;
        let invalid =
            |what: String| Error::invalid("manifest of checkpoint", manifest.id.to_string(), what);
        manifest.check().map_err(invalid)?;
        if manifest.kind != ManifestKind::Checkpoint {
            return Err(invalid("it is not a checkpoint's".to_owned()));
        }
        // Held to the end, so that two commits of one writer cannot overtake each other.
        let mut newest = lock(&writer.newest_committed);
        if manifest.id < *newest {
            return Err(Error::Subsumed {
                id: manifest.id,
                newest: *newest,
            });
        }
        self.check_fence(writer.epoch)?;
        let path = protocol::manifest_path(CheckpointRef::of(&manifest));
        let published = match create(&*self.blobs, &path, manifest.encode()?)? {
            PutOutcome::Written => Published::Now,
            PutOutcome::AlreadyExists => Published::Before,
        };
        // Again, and this is the one that counts: a writer that claims after this list sees our
        // manifest; one that claimed before may have missed it, so we must not rely on it.
        self.check_fence(writer.epoch)?;
        *newest = manifest.id;
        Ok(CommitOutcome {
            manifest: Arc::new(manifest),
            published,
        })
    }

    fn check_fence(&self, epoch: WriterEpoch) -> Result<()> {
        let claims = self.blobs.list(&BlobPath::root().join(WRITERS))?;
        match protocol::newest_claim(&claims) {
            Some(by) if by > epoch => Err(Error::Fenced { epoch, by }),
            _ => Ok(()),
        }
    }

    /// Removes what was written for a checkpoint that will not be committed.
    ///
    /// What cannot be removed now, the garbage collection removes later.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Blob`]; [`Error::Subsumed`], changing nothing, when the
    /// checkpoint has been committed.
    pub fn abandon(&self, id: CheckpointId) -> Result<()> {
        let writer = self.writer()?;
        let checkpoint = CheckpointRef {
            writer: writer.epoch,
            id,
        };
        if self
            .blobs
            .get(&protocol::manifest_path(checkpoint))?
            .is_some()
        {
            return Err(Error::Subsumed { id, newest: id });
        }
        for blob in self.blobs.list(&protocol::checkpoint_dir(checkpoint))? {
            self.blobs.delete(&blob.path)?;
        }
        Ok(())
    }

    /// The newest checkpoint whose manifest is sound and whose files are all there in full size.
    ///
    /// Contents are verified as they are read; when [`restore`](Self::restore) then reports
    /// corruption, go on with [`latest_before`](Self::latest_before).
    ///
    /// # Errors
    /// [`Error::Blob`]; [`Error::UnsupportedVersion`] when the newest checkpoint was written by a
    /// newer version of Weir, since to fall back behind it would silently lose what it has.
    pub fn latest(&self) -> Result<Latest> {
        self.newest(|_| true)
    }

    /// The newest usable checkpoint older than one whose restore reported corruption.
    ///
    /// A writer also leaves a note beside the damaged one, so that nobody, not even a garbage
    /// collection in another process, takes it for sound again. To give it another chance after
    /// a repair, remove the note (`condemned.txt` in its directory).
    ///
    /// # Errors
    /// As [`latest`](Self::latest).
    pub fn latest_before(&self, damaged: &Manifest, why: &Error) -> Result<Latest> {
        let limit = CheckpointRef::of(damaged);
        if self.writer.is_some() && damaged.kind == ManifestKind::Checkpoint {
            let mut note = why.to_string();
            let mut below = std::error::Error::source(why);
            while let Some(source) = below {
                note = format!("{note}: {source}");
                below = source.source();
            }
            let path = protocol::condemned_path(limit);
            let _ = self
                .blobs
                .put(&path, format!("{note}\n").into(), PutMode::Create)?;
        }
        self.newest(|checkpoint| checkpoint < limit)
    }

    fn newest(&self, eligible: impl Fn(CheckpointRef) -> bool) -> Result<Latest> {
        let listing = self.blobs.list(&BlobPath::root())?;
        let sizes = protocol::sizes(&listing);
        let mut passed_over = Vec::new();
        let mut manifest = None;
        for checkpoint in protocol::published(&listing)
            .into_iter()
            .filter(|c| eligible(*c))
        {
            match self.inspect(checkpoint, &sizes)? {
                Inspected::Whole(found) => {
                    manifest = Some(*found);
                    break;
                }
                Inspected::Damaged(damage, _) => {
                    passed_over.push(PassedOver { checkpoint, damage })
                }
                Inspected::Gone => {}
            }
        }
        Ok(Latest {
            manifest,
            passed_over,
            next_id: protocol::next_id(&listing),
        })
    }

    pub(crate) fn inspect(
        &self,
        checkpoint: CheckpointRef,
        sizes: &protocol::Sizes,
    ) -> Result<Inspected> {
        let path = protocol::manifest_path(checkpoint);
        let Some(document) = self.blobs.get(&path)? else {
            return Ok(Inspected::Gone);
        };
        match self.decode_twice(&path, &document) {
            Ok(manifest) => {
                let damage = protocol::judge(checkpoint, &manifest, sizes);
                Ok(if damage.is_empty() {
                    Inspected::Whole(Box::new(manifest))
                } else {
                    Inspected::Damaged(damage, Some(Box::new(manifest)))
                })
            }
            Err(Error::Corrupted { what, .. }) => {
                let damage = vec![Damage::Manifest(format!("its manifest is damaged: {what}"))];
                Ok(Inspected::Damaged(damage, None))
            }
            Err(error) => Err(error),
        }
    }

    /// Decodes a manifest; one that looks damaged is read again first, since a transfer that broke
    /// off looks the same.
    pub(crate) fn decode_twice(&self, path: &BlobPath, document: &[u8]) -> Result<Manifest> {
        match Manifest::decode(path, document) {
            Err(Error::Corrupted { .. }) => {
                let again = self.blobs.get(path)?;
                Manifest::decode(path, again.as_deref().unwrap_or(document))
            }
            decoded => decoded,
        }
    }

    /// All published checkpoints, newest first, whole or damaged.
    ///
    /// # Errors
    /// [`Error::Blob`], [`Error::UnsupportedVersion`].
    pub fn checkpoints(&self) -> Result<Vec<Listed>> {
        let listing = self.blobs.list(&BlobPath::root().join(CHECKPOINTS))?;
        let all = self.blobs.list(&BlobPath::root())?;
        let sizes = protocol::sizes(&all);
        let mut found = Vec::new();
        for checkpoint in protocol::published(&listing) {
            match self.inspect(checkpoint, &sizes)? {
                Inspected::Whole(manifest) => found.push(Listed {
                    checkpoint,
                    manifest: Some(*manifest),
                    damage: Vec::new(),
                }),
                Inspected::Damaged(damage, manifest) => found.push(Listed {
                    checkpoint,
                    manifest: manifest.map(|manifest| *manifest),
                    damage,
                }),
                Inspected::Gone => {}
            }
        }
        Ok(found)
    }

    /// Reads a manifest. Its files are not looked at; [`verify`](Self::verify) does that.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupted`], [`Error::UnsupportedVersion`], [`Error::Blob`].
    pub fn load(&self, location: &Location) -> Result<Manifest> {
        let (path, base) = match location {
            Location::Checkpoint(id) => {
                let listing = self.blobs.list(&BlobPath::root().join(CHECKPOINTS))?;
                let found = protocol::published(&listing)
                    .into_iter()
                    .find(|found| found.id == *id);
                let found = found.ok_or_else(|| Error::NotFound {
                    location: format!("checkpoint {id}"),
                })?;
                (protocol::manifest_path(found), BlobPath::root())
            }
            Location::Savepoint(dir) => (dir.join(protocol::MANIFEST), dir.clone()),
        };
        let document = self.blobs.get(&path)?.ok_or_else(|| Error::NotFound {
            location: path.to_string(),
        })?;
        Ok(self.decode_twice(&path, &document)?.based_at(base))
    }

    /// Removes all checkpoints, for a job that is cancelled for good: manifests first. Savepoints
    /// and claims stay.
    ///
    /// # Errors
    /// [`Error::ReadOnly`], [`Error::Blob`]; calling it again goes on.
    pub fn delete_checkpoints(&self) -> Result<()> {
        self.writer()?;
        let listing = self.listing()?;
        let is_manifest =
            |blob: &&BlobInfo| matches!(protocol::role(&blob.path), protocol::Role::Manifest(_));
        for blob in listing.iter().filter(is_manifest) {
            self.blobs.delete(&blob.path)?;
        }
        for blob in &listing {
            if let protocol::Role::Data(_) | protocol::Role::Compacted { .. } =
                protocol::role(&blob.path)
            {
                self.blobs.delete(&blob.path)?;
            }
        }
        Ok(())
    }

    pub(crate) fn listing(&self) -> Result<Vec<BlobInfo>> {
        self.blobs.list(&BlobPath::root())
    }
}

/// One published checkpoint.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Which one.
    pub checkpoint: CheckpointRef,
    /// Its manifest, if it can be read.
    pub manifest: Option<Manifest>,
    /// Why it cannot be restored from; empty if it can.
    pub damage: Vec<Damage>,
}

pub(crate) enum Inspected {
    Whole(Box<Manifest>),
    Damaged(Vec<Damage>, Option<Box<Manifest>>),
    /// Deleted since it was listed.
    Gone,
}

fn claim(blobs: &dyn BlobStore, epoch: WriterEpoch) -> Result<()> {
    // A claim of our own making whose outcome was unknown must not be taken for another's, nor
    // another's for ours: each claim carries bytes that no other has.
    let body = format!("{{\"writer\":{epoch},\"nonce\":\"{:016x}\"}}\n", nonce());
    create(blobs, &protocol::claim_path(epoch), Bytes::from(body)).map(|_| ())
}

/// Differs between any two calls, in whatever process: keyed by the operating system's randomness.
fn nonce() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut hasher = std::hash::RandomState::new().build_hasher();
    hasher.write_u64(COUNT.fetch_add(1, Ordering::Relaxed));
    hasher.finish()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is behind it is one number, which no panic can leave half written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBlobs;

    #[test]
    fn chains_stay_as_short_as_a_merge_reads_at_once() -> Result<()> {
        let inputs = |merge_bytes: usize| -> Result<usize> {
            let options = StoreOptions::default().with_buffer_bytes(1 << 20);
            let options = options.with_merge_bytes(merge_bytes);
            let own = options.fan_in();
            let store = CheckpointStore::open(Arc::new(MemoryBlobs::new()), options)?;
            assert_eq!(store.options.fan_in(), own);
            Ok(store.compaction_policy().max_inputs())
        };
        let options = StoreOptions::default().with_buffer_bytes(1 << 20);
        let fan_in = options.with_merge_bytes(8 << 20).fan_in();
        assert!((9..64).contains(&fan_in));
        assert_eq!(inputs(8 << 20)?, fan_in);
        assert_eq!(inputs(1 << 30)?, CompactionPolicy::default().max_inputs());
        assert_eq!(inputs(0)?, 8);
        Ok(())
    }
}
