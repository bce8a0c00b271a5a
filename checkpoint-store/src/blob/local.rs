//! Blobs as files below one directory.

mod disk;
#[cfg(any(test, feature = "testing"))]
pub(crate) mod simulated;

use super::{BlobInfo, BlobStore, PutMode, PutOutcome};
use crate::error::{Error, Result};
use crate::ids::BlobPath;
use bytes::Bytes;
use disk::{Disk, EntryKind, OsDisk};
use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const TEMPORARY: &str = ".tmp";

/// Blobs as files below one directory of a local (or POSIX-like network) file system.
///
/// A blob is written to a temporary file, synced, and then linked (create) or renamed (overwrite)
/// to its name, and its directory is synced: so it is whole or absent, and survives a power loss
/// once `put` returns. Create needs hard links, which is what makes it exclusive; a file system
/// without them (FAT) is refused with the error it gives.
///
/// Directories that become empty are removed. Temporary files of processes that died are removed
/// by the next [`open`](Self::open), an hour later by the file system's own clock.
#[derive(Debug)]
pub struct LocalBlobs {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    /// Directories whose entry in their parent this process has seen to be durable.
    durable_dirs: Mutex<BTreeSet<PathBuf>>,
    counter: AtomicU64,
}

impl LocalBlobs {
    /// Opens `root`, which is created if it is missing.
    ///
    /// # Errors
    /// [`Error::Blob`] when the directory cannot be created or written to.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        Self::open_on(Arc::new(OsDisk), root.into())
    }

    /// Opens `root` for reading: nothing is created, a missing directory is an empty store.
    ///
    /// # Errors
    /// [`Error::Blob`] when `root` is there and is not a directory.
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self> {
        let blobs = Self::new(Arc::new(OsDisk), root.into());
        match blobs.disk.list(&blobs.root) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(blobs.error("open", &BlobPath::root(), error))
            }
            _ => Ok(blobs),
        }
    }

    fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self {
            root,
            disk,
            durable_dirs: Mutex::default(),
            counter: AtomicU64::new(0),
        }
    }

    pub(crate) fn open_on(disk: Arc<dyn Disk>, root: PathBuf) -> Result<Self> {
        let blobs = Self::new(disk, root);
        let temporary = blobs.root.join(TEMPORARY);
        let opened = blobs
            .ensure_dir(&temporary)
            .and_then(|()| blobs.disk.remove_stale(&temporary));
        match opened {
            Ok(()) => Ok(blobs),
            Err(error) => Err(blobs.error("open", &BlobPath::root(), error)),
        }
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn error(&self, operation: &'static str, path: &BlobPath, source: io::Error) -> Error {
        Error::Blob {
            operation,
            path: self.file(path).display().to_string(),
            retry: crate::error::Retry::IsUseless,
            source: source.into(),
        }
    }

    fn file(&self, path: &BlobPath) -> PathBuf {
        let mut file = self.root.clone();
        file.extend(path.segments());
        file
    }

    fn durable_dirs(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.durable_dirs
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates `dir` and its parents, down to durable entries in each parent.
    ///
    /// That the directory exists is not enough: whoever created it may not have synced its
    /// parent yet, and a file in it would be lost with it.
    fn ensure_dir(&self, dir: &Path) -> io::Result<()> {
        if self.durable_dirs().contains(dir) {
            return Ok(());
        }
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            // Above the root only what is missing is created: syncing `/` is not our business.
            if dir != self.root || !self.disk.is_dir(parent)? {
                self.ensure_dir(parent)?;
            }
            match self.disk.create_dir(dir) {
                Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
                _ => self.disk.sync_dir(parent)?,
            }
        } else if let Err(error) = self.disk.create_dir(dir)
            && error.kind() != ErrorKind::AlreadyExists
        {
            return Err(error);
        }
        self.durable_dirs().insert(dir.to_path_buf());
        Ok(())
    }

    fn try_put(&self, path: &BlobPath, bytes: &[u8], mode: PutMode) -> io::Result<PutOutcome> {
        let file = self.file(path);
        let dir = file.parent().unwrap_or(&self.root).to_path_buf();
        let temporary_dir = self.root.join(TEMPORARY);
        self.ensure_dir(&temporary_dir)?;
        self.ensure_dir(&dir)?;
        let number = self.counter.fetch_add(1, Ordering::Relaxed);
        // The address keeps two stores of one process apart.
        let temporary = temporary_dir.join(format!(
            "{}-{:p}-{number}",
            std::process::id(),
            Arc::as_ptr(&self.disk)
        ));
        let written = self.disk.write_synced(&temporary, bytes);
        let placed = written.and_then(|()| match mode {
            PutMode::Overwrite => self
                .disk
                .rename(&temporary, &file)
                .map(|()| PutOutcome::Written),
            PutMode::Create => match self.disk.link(&temporary, &file) {
                Ok(()) => Ok(PutOutcome::Written),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    Ok(PutOutcome::AlreadyExists)
                }
                Err(error) => Err(error),
            },
        });
        if mode == PutMode::Create || placed.is_err() {
            // What is left behind by a failure here, `remove_stale` finds.
            let _ = self.disk.remove(&temporary);
        }
        let outcome = placed?;
        // Also when it existed: its writer may have died between the link and the sync, and the
        // caller is about to rely on it.
        self.disk.sync_dir(&dir)?;
        Ok(outcome)
    }
}

impl BlobStore for LocalBlobs {
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>> {
        self.get_range(path, 0..u64::MAX)
    }

    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>> {
        match self.disk.read(&self.file(path), range) {
            Ok(bytes) => Ok(Some(bytes.into())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.error("read", path, error)),
        }
    }

    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome> {
        let mut attempts = 0;
        loop {
            match self.try_put(path, &bytes, mode) {
                Ok(outcome) => return Ok(outcome),
                // A delete removed the directory that had just become empty.
                Err(error) if error.kind() == ErrorKind::NotFound && attempts < 10 => {
                    attempts += 1;
                    self.durable_dirs().clear();
                }
                Err(error) => return Err(self.error("write", path, error)),
            }
        }
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        let mut found = Vec::new();
        let mut open = vec![prefix.clone()];
        while let Some(dir) = open.pop() {
            let entries = match self.disk.list(&self.file(&dir)) {
                Ok(entries) => entries,
                Err(error)
                    if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
                {
                    continue;
                }
                Err(error) => return Err(self.error("list", &dir, error)),
            };
            for entry in entries {
                // Names that we cannot have written are not ours.
                let Ok(name) = BlobPath::new(entry.name) else {
                    continue;
                };
                let path = name.below(&dir);
                match entry.kind {
                    EntryKind::File { size } => found.push(BlobInfo { path, size }),
                    EntryKind::Dir => open.push(path),
                }
            }
        }
        if !prefix.as_str().is_empty()
            && found.is_empty()
            && let Ok(Some(size)) = self.disk.file_size(&self.file(prefix))
        {
            found.push(BlobInfo {
                path: prefix.clone(),
                size,
            });
        }
        found.sort_unstable();
        Ok(found)
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        let file = self.file(path);
        match self.disk.remove(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(self.error("delete", path, error)),
        }
        let mut dir = file.parent();
        while let Some(empty) = dir.filter(|dir| *dir != self.root && dir.starts_with(&self.root)) {
            self.durable_dirs().remove(empty);
            // Fails while anything is in it, which is what we want to know.
            if self.disk.remove_dir(empty).is_err() {
                break;
            }
            dir = empty.parent();
        }
        Ok(())
    }
}
