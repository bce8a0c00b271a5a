//! What one shard writes for one checkpoint.

use crate::blob::{BlobStore, PutMode, PutOutcome};
use crate::draft::{ShardFiles, WriteKind};
use crate::error::{Error, Result};
use crate::ids::{BlobPath, CheckpointId, OperatorUid};
use crate::manifest::FileRef;
use crate::parquet::{EncodedFile, FileWriter, MAX_ROW_BYTES, RowGroupLimits, RowGroupRows};
use crate::rows::RowBuffer;
use crate::store::StoreOptions;
use crate::typed::StateDecoder;
use crate::upload::Uploads;
use arrow_array::RecordBatch;
use state_backend::{DeltaChunk, KeyGroup, KeyGroupRange, StateCatalog, StateId};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Takes the rows of one shard at one checkpoint, in any order, and writes sorted Parquet files,
/// at least one for each state that has rows.
///
/// Rows are buffered up to [`StoreOptions::with_buffer_bytes`](crate::StoreOptions); then the
/// largest state is sorted and written, while more rows are taken. So memory is bounded whatever the
/// state's size (about three times the buffer at the peak, while a file is encoded), and a large state
/// becomes several files.
///
/// It lives on a writer thread: encoding takes about 3 ms a megabyte. Dropped without
/// [`finish`](Self::finish), what it wrote is garbage, which
/// [`CheckpointStore::abandon`](crate::CheckpointStore::abandon) or the garbage collection removes.
#[derive(Debug)]
pub struct ShardWriter {
    /// Where the files go, relative to what file paths in the manifest are relative to.
    dir: BlobPath,
    id: CheckpointId,
    operator: OperatorUid,
    subtask: u16,
    groups: KeyGroupRange,
    kind: WriteKind,
    names: BTreeMap<StateId, String>,
    options: StoreOptions,
    columns: Columns,
    /// By the name of the state, for typed columns.
    decoders: BTreeMap<String, StateDecoder>,
    limits: RowGroupLimits,
    tables: BTreeMap<String, RowBuffer>,
    uploads: Uploads,
}

/// Where and for whom a [`ShardWriter`] writes.
#[derive(Debug)]
pub(crate) struct ShardTarget {
    pub(crate) blobs: Arc<dyn BlobStore>,
    pub(crate) base: BlobPath,
    pub(crate) dir: BlobPath,
    pub(crate) id: CheckpointId,
    pub(crate) operator: OperatorUid,
    pub(crate) subtask: u16,
    pub(crate) groups: KeyGroupRange,
    pub(crate) kind: WriteKind,
    pub(crate) options: StoreOptions,
    pub(crate) columns: Columns,
}

/// Which columns files get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Columns {
    /// Key group, key and value.
    Plain,
    /// And what the value means.
    Typed,
}

impl ShardWriter {
    pub(crate) fn new(target: ShardTarget) -> Self {
        let ShardTarget {
            blobs,
            base,
            dir,
            id,
            operator,
            subtask,
            groups,
            kind,
            options,
            columns,
        } = target;
        let limit = options.buffer_bytes / 2;
        let limits = RowGroupLimits::of_buffer(options.buffer_bytes);
        let uploads = Uploads::new(blobs, base, options.upload_threads, limit);
        Self {
            dir: dir.join(operator.as_str()),
            id,
            operator,
            subtask,
            groups,
            kind,
            names: BTreeMap::new(),
            options,
            columns,
            decoders: BTreeMap::new(),
            limits,
            tables: BTreeMap::new(),
            uploads,
        }
    }

    /// Learns the names of the states, which [`write`](Self::write) needs.
    #[must_use]
    pub fn with_catalog(mut self, catalog: &StateCatalog) -> Self {
        let names = catalog
            .states
            .iter()
            .map(|state| (state.id, state.name.clone()));
        self.names = names.collect();
        if self.columns == Columns::Typed {
            let decoders = catalog.states.iter();
            let decoders =
                decoders.filter_map(|state| Some((state.name.clone(), StateDecoder::of(state)?)));
            self.decoders = decoders.collect();
        }
        self
    }

    /// Adds the rows of a chunk. Of several rows with the same key the last one counts.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a state that the catalog does not have or a key group that the shard
    /// does not own, [`Error::RowTooLarge`], and [`Error::Blob`] when a full buffer cannot be
    /// written.
    pub fn write(&mut self, chunk: &DeltaChunk) -> Result<()> {
        let Some(name) = self.names.get(&chunk.state) else {
            return Err(Error::invalid(
                "state",
                chunk.state.to_string(),
                "it is not in the catalog that the writer was given",
            ));
        };
        let name = name.clone();
        if chunk.bytes() > (self.options.buffer_bytes / 8).min(MAX_ROW_BYTES) {
            // Row by row, so that no chunk takes more than the buffer.
            for (key, value) in chunk.iter() {
                self.put(&name, chunk.group, key, value)?;
            }
            return Ok(());
        }
        self.check_group(chunk.group)?;
        self.tables.entry(name).or_default().push_chunk(chunk);
        self.relieve()
    }

    /// Adds one row; `None` deletes the key. Of several rows with the same key the last counts.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn put(
        &mut self,
        state: &str,
        group: KeyGroup,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<()> {
        let bytes = key.len() + value.map_or(0, <[u8]>::len);
        if bytes > MAX_ROW_BYTES {
            return Err(Error::RowTooLarge {
                state: state.to_owned(),
                bytes,
                limit: MAX_ROW_BYTES,
            });
        }
        self.check_group(group)?;
        if !self.tables.contains_key(state) {
            self.tables.insert(state.to_owned(), RowBuffer::default());
        }
        if let Some(table) = self.tables.get_mut(state) {
            let before = table.size();
            table.push(group.get(), key, value);
            // Looking at all tables for each row would cost; one that has not grown past its
            // share cannot have filled the buffer.
            let share = self.options.buffer_bytes / 64;
            if table.size() / share.max(1) != before / share.max(1) {
                self.relieve()?;
            }
        }
        Ok(())
    }

    /// Adds the rows of a record batch of [`schema`](crate::schema), a null value being a deletion.
    ///
    /// # Errors
    /// As [`write`](Self::write); [`Error::Invalid`] for another schema.
    pub fn write_batch(&mut self, state: &str, batch: &RecordBatch) -> Result<()> {
        let rows = RowGroupRows::from_batch(batch)
            .map_err(|what| Error::invalid("record batch for state", state, what))?;
        for row in 0..rows.len() {
            let (group, key) = rows.key(row);
            self.put(state, KeyGroup::new(group), key, rows.value(row))?;
        }
        Ok(())
    }

    fn check_group(&self, group: KeyGroup) -> Result<()> {
        if self.groups.contains(group) {
            return Ok(());
        }
        let reason = format!("this shard owns {}", self.groups);
        Err(Error::invalid("key group", group.get().to_string(), reason))
    }

    /// Writes what is buffered. After this the files are durable.
    ///
    /// # Errors
    /// [`Error::Blob`] when a file cannot be written, [`Error::Parquet`].
    pub fn finish(mut self) -> Result<ShardFiles> {
        let mut encoded = Vec::new();
        while let Some((state, table)) = self.tables.pop_first() {
            let number = self.uploads.count() + encoded.len();
            encoded.extend(self.encode(&state, table, number)?);
        }
        Ok(ShardFiles {
            kind: self.kind,
            groups: self.groups,
            files: self.uploads.finish(encoded)?,
        })
    }

    /// Writes the largest tables until the rest fits the buffer.
    fn relieve(&mut self) -> Result<()> {
        loop {
            let total: usize = self.tables.values().map(RowBuffer::size).sum();
            if total <= self.options.buffer_bytes {
                return Ok(());
            }
            let largest = self.tables.iter().max_by_key(|(_, table)| table.size());
            let Some(state) = largest.map(|(state, _)| state.clone()) else {
                return Ok(());
            };
            self.spill(&state)?;
        }
    }

    fn spill(&mut self, state: &str) -> Result<()> {
        let Some(table) = self.tables.remove(state) else {
            return Ok(());
        };
        match self.encode(state, table, self.uploads.count())? {
            Some(encoded) => self.uploads.begin(encoded),
            None => Ok(()),
        }
    }

    /// Rows as a file; none when there are none.
    fn encode(
        &self,
        state: &str,
        mut table: RowBuffer,
        number: usize,
    ) -> Result<Option<EncodedFile>> {
        let name = format!("{state}-{}-{number}", self.subtask);
        // A long state name is cut in the path, which the numbers keep unique.
        let name = if name.len() > 100 {
            format!("state-{}-{number}", self.subtask)
        } else {
            name
        };
        let path = self.dir.join(&format!("{name}.parquet"));
        let mut writer = FileWriter::new(
            path,
            &self.operator,
            state,
            self.id,
            self.limits,
            self.decoders.get(state).cloned(),
        )?;
        table.drain_sorted(|group, key, value| writer.push(group, key, value))?;
        drop(table);
        writer.finish()
    }
}

/// Puts an encoded file where its reference says.
pub(crate) fn store_file(
    blobs: &dyn BlobStore,
    base: &BlobPath,
    encoded: EncodedFile,
) -> Result<FileRef> {
    let EncodedFile { bytes, file } = encoded;
    let path = file.path.below(base);
    let _ = create(blobs, &path, bytes)?;
    Ok(file)
}

/// Creates a blob, settling an unknown outcome by looking.
///
/// That the very bytes are there already is success: the first attempt went through although it
/// was reported as failed, or the storage repeated the request itself.
pub(crate) fn create(
    blobs: &dyn BlobStore,
    path: &BlobPath,
    bytes: bytes::Bytes,
) -> Result<PutOutcome> {
    let tried = blobs.put(path, bytes.clone(), PutMode::Create);
    if let Ok(PutOutcome::Written) = tried {
        return Ok(PutOutcome::Written);
    }
    match (blobs.get(path), tried) {
        (Ok(Some(found)), _) if found == bytes => Ok(PutOutcome::AlreadyExists),
        (Ok(Some(_)), Ok(_)) => Err(Error::Conflict { path: path.clone() }),
        (Ok(Some(_)), Err(_)) => Err(Error::Conflict { path: path.clone() }),
        // It exists, and a moment later it does not: somebody deletes here.
        (Ok(None), Ok(_)) => Err(Error::Conflict { path: path.clone() }),
        (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
    }
}
