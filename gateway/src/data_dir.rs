//! The data directory: its layout, and the lock that keeps a second process out.

use crate::{
    error::{Error, Result},
    log::sync_dir,
};
use std::{
    fs,
    io::{Read, Seek, Write},
    path::{Path, PathBuf},
};

/// ```text
/// weir.lock            held while a gateway runs; contains its process id
/// log/                 the ingest log
/// checkpoints/         manifests and Parquet files
/// state/               working state of the fs and redb backends: a cache of the newest checkpoint
/// catalogue.jsonl      items from upserts, newest last
/// dead-letters.jsonl   events set aside
/// ```
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock goes with the file handle, also when the process is killed.
    lock: fs::File,
}

impl Drop for DataDir {
    /// Gives the lock back by name: closing is not enough while a process that is being started
    /// elsewhere in this one still has a copy of the descriptor.
    fn drop(&mut self) {
        // What fails here leaves the lock to the closing of the file.
        let _closed_anyway = self.lock.unlock();
    }
}

impl DataDir {
    /// Opens the directory, making it where it is missing, and locks it.
    ///
    /// # Errors
    /// [`Error::Locked`] when another process uses it, [`Error::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        fs::create_dir_all(path).map_err(Error::io("create", path))?;
        let lock_path = path.join("weir.lock");
        let mut lock = fs::OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(Error::io("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => {
                let mut holder = String::new();
                let read = lock.read_to_string(&mut holder);
                return Err(Error::Locked {
                    path: lock_path,
                    holder: read.ok().map(|_| holder.trim().to_owned()),
                });
            }
            Err(fs::TryLockError::Error(source)) => {
                return Err(Error::io("lock", lock_path)(source));
            }
        }
        lock.set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()))
            .map_err(Error::io("write", &lock_path))?;
        sync_dir(path).map_err(Error::io("sync", path))?;
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.path.join("checkpoints")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.path.join("state")
    }

    pub(crate) fn catalogue(&self) -> PathBuf {
        self.path.join("catalogue.jsonl")
    }

    pub(crate) fn dead_letters(&self) -> PathBuf {
        self.path.join("dead-letters.jsonl")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_is_kept_out() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        let error = DataDir::open(dir.path()).unwrap_err();
        assert!(
            error.to_string().contains(&std::process::id().to_string()),
            "{error}"
        );
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }
}
