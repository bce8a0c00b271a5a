//! The file: one table of rows, written in sorted batches, rebuilt when it has grown too loose.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ::redb::{
    Builder, Database, Durability, ReadOnlyTable, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, Table, TableDefinition,
};

use super::memtable::Memtable;
use super::storage::{RedbFile, Storage};
use crate::disk::{DiskOptions, SyncPolicy};
use crate::io::OpenMode;
use crate::{Error, Result};

const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("rows");
const SIZES: TableDefinition<'static, &str, u64> = TableDefinition::new("sizes");
const LIVE_BYTES: &str = "live_bytes";

/// Runs shorter than this are inserted row by row.
const LONG_RUN: usize = 32;

pub(super) type Rows = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// An open file.
#[derive(Debug)]
pub(super) struct Tree {
    db: Database,
    pub(super) storage: Arc<Storage>,
}

/// A consistent view of the file. Pages it sees are not reused while it lives.
#[derive(Debug)]
pub(super) struct View {
    pub(super) rows: Rows,
    pub(super) count: u64,
    pub(super) live_bytes: u64,
}

/// What opening does about the pages of an existing file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pages {
    /// Reads them all and compares their checksums.
    Verify,
    /// They are known to be as written. A file that was not closed is verified all the same.
    Trust,
}

impl Tree {
    /// Opens the file, or makes a new one.
    pub(super) fn open(path: &Path, options: &DiskOptions, pages: Pages) -> Result<Self> {
        match Storage::open(path, path, OpenMode::Existing, options) {
            Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                let fresh = Self::new_beside(path, options)?;
                fresh.take_its_place(options)?;
                Ok(fresh)
            }
            // A file gets its name when it is whole; redb would make a new one of an empty one.
            Ok(storage) if storage.len() == 0 => {
                Err(Error::corrupted(path.display().to_string(), "it is empty"))
            }
            storage => Self::on(storage?, options, pages),
        }
    }

    /// Makes a file that is to be at `path`, under another name: a crash must not leave half a
    /// file there.
    fn new_beside(path: &Path, options: &DiskOptions) -> Result<Self> {
        let mode = OpenMode::CreateOrTruncate;
        let storage = Storage::open(&beside(path), path, mode, options)?;
        Self::on(storage, options, Pages::Trust)
    }

    /// Gives the file its name, whole and durable, in the place of an older one.
    fn take_its_place(&self, options: &DiskOptions) -> Result<()> {
        let (fs, path) = (options.fs(), self.storage.path());
        if options.sync() != SyncPolicy::Never {
            self.storage.sync()?;
        }
        fs.rename(&beside(path), path)
            .map_err(|e| Error::io("replace", path, e))?;
        if options.sync() == SyncPolicy::Never {
            return Ok(());
        }
        sync_dir_of(path, options)
    }

    fn on(storage: Arc<Storage>, options: &DiskOptions, pages: Pages) -> Result<Self> {
        let db = Builder::new()
            .set_cache_size(options.cache_bytes())
            .set_check_integrity_on_open(pages == Pages::Verify)
            .create_with_backend(RedbFile(Arc::clone(&storage)))
            .map_err(|e| failed(&storage, "open", e.into()))?;
        let tree = Self { db, storage };
        tree.make_tables()?;
        Ok(tree)
    }

    fn make_tables(&self) -> Result<()> {
        let missing = || -> Result<bool, ::redb::Error> {
            let tables = self.db.begin_read()?;
            Ok(tables.list_tables()?.next().is_none())
        };
        if missing().map_err(|e| self.failed("open", e))? {
            self.write(&[]).map_err(|e| self.failed("create", e))?;
        }
        Ok(())
    }

    pub(super) fn view(&self) -> Result<View> {
        let view = || -> Result<View, ::redb::Error> {
            let txn = self.db.begin_read()?;
            let rows = txn.open_table(ROWS)?;
            let sizes = txn.open_table(SIZES)?;
            Ok(View {
                count: rows.len()?,
                live_bytes: sizes.get(LIVE_BYTES)?.map_or(0, |bytes| bytes.value()),
                rows,
            })
        };
        view().map_err(|e| self.failed("read", e))
    }

    /// Writes the tables, oldest first, in one durable transaction.
    pub(super) fn spill(&self, tables: &[Arc<Memtable>]) -> Result<()> {
        let mut changes: Vec<_> = tables
            .iter()
            .rev()
            .flat_map(|table| table.range(Bound::Unbounded))
            .collect();
        if tables.len() > 1 {
            // Sorted runs: a merge. Stable, so the newest of equal keys comes first and is kept.
            changes.sort_by(|a, b| a.0.cmp(b.0));
            changes.dedup_by(|later, first| later.0 == first.0);
        }
        self.write(&changes).map_err(|e| self.failed("write", e))
    }

    /// Writes changes in ascending order without repeats.
    fn write(&self, changes: &[(&[u8], Option<&[u8]>)]) -> Result<(), ::redb::Error> {
        let mut txn = self.db.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        {
            let mut rows = txn.open_table(ROWS)?;
            let mut sizes = txn.open_table(SIZES)?;
            let before = sizes.get(LIVE_BYTES)?.map_or(0, |bytes| bytes.value());
            let mut live = LiveBytes(before);
            if !insert_run(&mut rows, changes, &mut live)? {
                // State and key group: a restore brings whole groups, in any order of states.
                let part = |change: &(&[u8], _)| change.0[..change.0.len().min(4)].to_vec();
                for run in changes.chunk_by(|a, b| part(a) == part(b)) {
                    if !insert_run(&mut rows, run, &mut live)? {
                        write_each(&mut rows, run, &mut live)?;
                    }
                }
            }
            sizes.insert(LIVE_BYTES, live.0)?;
        }
        txn.commit()?;
        Ok(())
    }

    /// Replaces the file by a densely packed copy. This one can still be read from, not written.
    pub(super) fn rebuild(&self, options: &DiskOptions) -> Result<Self> {
        // A copy from end to end gains nothing by a cache, and this file's is still there.
        let beside_ours = options.clone().with_cache_bytes(options.cache_bytes() / 16);
        let copy = self.copy(&beside_ours);
        if copy.is_err() {
            // Half a copy is of no use, and the disk may be full.
            let _ = options.fs().remove(&beside(self.storage.path()));
        }
        let copy = copy?;
        copy.take_its_place(options)?;
        let (path, written) = (self.storage.path(), copy.storage.written());
        drop(copy);
        let tree = Self::open(path, options, Pages::Trust)?;
        tree.storage.note_written(written);
        Ok(tree)
    }

    fn copy(&self, options: &DiskOptions) -> Result<Self> {
        let copy = Self::new_beside(self.storage.path(), options)?;
        let run = || -> Result<(), ::redb::Error> {
            let from = self.db.begin_read()?;
            let live = from
                .open_table(SIZES)?
                .get(LIVE_BYTES)?
                .map_or(0, |bytes| bytes.value());
            let from = from.open_table(ROWS)?;
            let txn = copy.db.begin_write()?;
            {
                let mut to = txn.open_table(ROWS)?;
                let mut cursor = to.upper_bound_mut(Bound::<&[u8]>::Unbounded)?;
                for row in from.iter()? {
                    let (key, value) = row?;
                    cursor
                        .insert_before(key.value(), value.value())
                        .map_err(cursor_failed)?;
                }
                cursor.close()?;
                txn.open_table(SIZES)?.insert(LIVE_BYTES, live)?;
            }
            txn.commit()?;
            Ok(())
        };
        run().map_err(|e| {
            // Either file may have failed; a full disk concerns the copy.
            let blamed = if copy.storage.was_full() { &copy } else { self };
            blamed.failed("rewrite", e)
        })?;
        Ok(copy)
    }

    pub(super) fn failed(&self, action: &'static str, error: ::redb::Error) -> Error {
        failed(&self.storage, action, error)
    }
}

/// Sum of the bytes of all rows, names included.
struct LiveBytes(u64);

impl LiveBytes {
    fn add(&mut self, row: &[u8], value: usize) {
        self.0 += (row.len() + value) as u64;
    }

    fn remove(&mut self, row: &[u8], value: usize) {
        self.0 = self.0.saturating_sub((row.len() + value) as u64);
    }
}

/// Inserts the run through a cursor, several times as fast and packed densely, if it is of new
/// rows between two neighbours. `false`: it is not, and nothing was done.
fn insert_run(
    rows: &mut Table<'_, &'static [u8], &'static [u8]>,
    run: &[(&[u8], Option<&[u8]>)],
    live: &mut LiveBytes,
) -> Result<bool, ::redb::Error> {
    let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else {
        return Ok(true);
    };
    if run.len() < LONG_RUN || run.iter().any(|(_, value)| value.is_none()) {
        return Ok(false);
    }
    if rows.range(*first..=*last)?.next().is_some() {
        return Ok(false);
    }
    let mut cursor = rows.lower_bound_mut(Bound::Included(*first))?;
    for (row, value) in run {
        let value = value.unwrap_or_default();
        cursor.insert_before(*row, value).map_err(cursor_failed)?;
        live.add(row, value.len());
    }
    cursor.close()?;
    Ok(true)
}

fn write_each(
    rows: &mut Table<'_, &'static [u8], &'static [u8]>,
    changes: &[(&[u8], Option<&[u8]>)],
    live: &mut LiveBytes,
) -> Result<(), ::redb::Error> {
    for (row, value) in changes {
        let replaced = match value {
            Some(value) => {
                live.add(row, value.len());
                rows.insert(*row, *value)?
            }
            None => rows.remove(*row)?,
        };
        if let Some(replaced) = replaced {
            live.remove(row, replaced.value().len());
        }
    }
    Ok(())
}

fn cursor_failed(error: ::redb::CursorError) -> ::redb::Error {
    match error {
        ::redb::CursorError::Storage(error) => error.into(),
        other => ::redb::Error::Corrupted(format!("rows are out of order: {other}")),
    }
}

fn failed(storage: &Storage, action: &'static str, error: ::redb::Error) -> Error {
    let path = storage.path();
    match error {
        ::redb::Error::Io(source) if is_damage(&source) => {
            Error::corrupted(path.display().to_string(), source.to_string())
        }
        ::redb::Error::Io(source) => Error::io(action, path, source),
        ::redb::Error::PreviousIo if storage.was_full() => {
            Error::io(action, path, std::io::ErrorKind::StorageFull.into())
        }
        ::redb::Error::Corrupted(reason) => Error::corrupted(path.display().to_string(), reason),
        // A number that no file of ours has: one in a thousand flipped bits makes it.
        ::redb::Error::UpgradeRequired(version) => Error::corrupted(
            path.display().to_string(),
            format!("its format is of version {version}"),
        ),
        other => Error::Backend {
            backend: "redb",
            action,
            source: Box::new(other),
        },
    }
}

/// Not a redb file, or cut off.
fn is_damage(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, UnexpectedEof};
    matches!(error.kind(), InvalidData | UnexpectedEof)
}

/// Where a new file is made.
pub(super) fn beside(path: &Path) -> PathBuf {
    path.with_extension("new")
}

pub(super) fn sync_dir_of(path: &Path, options: &DiskOptions) -> Result<()> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    options
        .fs()
        .sync_dir(dir)
        .map_err(|e| Error::io("sync", dir, e))
}
