//! redb's file on our file system seam, so that it meets the same crashes and full disks.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ::redb::StorageBackend;

use crate::disk::{DiskOptions, SyncPolicy};
use crate::io::{FsFile, OpenMode};
use crate::{Error, Result};

/// The open file and what is to be known about it outside redb.
#[derive(Debug)]
pub(super) struct Storage {
    path: PathBuf,
    file: Arc<dyn FsFile>,
    ordered: bool,
    len: AtomicU64,
    written: AtomicU64,
    full: AtomicBool,
}

impl Storage {
    /// Opens the file at `at`, which is (or will be) named `path`.
    pub(super) fn open(
        at: &Path,
        path: &Path,
        mode: OpenMode,
        options: &DiskOptions,
    ) -> Result<Arc<Self>> {
        let file = options
            .fs()
            .open(at, mode)
            .map_err(|e| Error::io("open", at, e))?;
        let len = file.size().map_err(|e| Error::io("open", at, e))?;
        Ok(Arc::new(Self {
            path: path.to_owned(),
            file,
            ordered: options.sync() != SyncPolicy::Never,
            len: AtomicU64::new(len),
            written: AtomicU64::new(0),
            full: AtomicBool::new(false),
        }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Counts what was written before the file was opened this time.
    pub(super) fn note_written(&self, bytes: u64) {
        self.written.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether the disk was full since the file was opened: redb reports it once, and from then
    /// on only that something failed before.
    pub(super) fn was_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Forces the file onto the medium whatever the policy.
    pub(super) fn sync(&self) -> Result<()> {
        self.file
            .sync()
            .map_err(|e| Error::io("sync", &self.path, e))
    }

    fn noting<T>(&self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::StorageFull
        {
            self.full.store(true, Ordering::Relaxed);
        }
        result
    }
}

/// What redb is given.
#[derive(Debug)]
pub(super) struct RedbFile(pub(super) Arc<Storage>);

impl StorageBackend for RedbFile {
    fn len(&self) -> io::Result<u64> {
        self.0.file.size()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.noting(self.0.file.set_len(len))?;
        self.0.len.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.0.ordered {
            self.0.noting(self.0.file.sync())?;
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.noting(self.0.file.write_at(offset, data))?;
        self.0
            .written
            .fetch_add(data.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}
