//! The files of segments: their names, syncing and removing them.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::log::Position;
use crate::disk::{DiskOptions, SyncPolicy};
use crate::io::{Fs, FsFile};
use crate::{Error, Result};

/// The file of the mark.
pub(super) const MARK: &str = "SYNCED";
/// Syncing that can run on another thread.
#[derive(Debug)]
pub(super) struct SyncWork {
    pub(super) policy: SyncPolicy,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) dir: PathBuf,
    pub(super) files: Vec<(PathBuf, Arc<dyn FsFile>)>,
    pub(super) upto: Position,
}

impl SyncWork {
    pub(super) fn run(&self) -> Result<()> {
        for (path, file) in &self.files {
            file.sync().map_err(|e| Error::io("sync", path, e))?;
        }
        self.fs
            .sync_dir(&self.dir)
            .map_err(|e| Error::io("sync", &self.dir, e))
    }

    /// Syncs unless the policy is not to, then removes a segment for good; returns up to where
    /// it synced.
    pub(super) fn run_and_remove(&self, number: u32) -> Result<Position> {
        let synced = if self.policy == SyncPolicy::Never {
            Position::START
        } else {
            self.run()?;
            self.upto
        };
        remove_file(&*self.fs, &self.dir, number)?;
        Ok(synced)
    }
}

/// Removes a segment's file, durably.
pub(super) fn remove_file(fs: &dyn Fs, dir: &Path, number: u32) -> Result<()> {
    remove_name(fs, &dir.join(file_name(number)))?;
    fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))
}

fn remove_name(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Removes every segment in `dir`, newest first: what a crash leaves of it is a whole log. Without
/// syncs that holds for the end of the process only.
pub(super) fn remove_all(dir: &Path, options: &DiskOptions) -> Result<()> {
    let fs = &**options.fs();
    let in_order = options.sync() != SyncPolicy::Never;
    let remove = |path: &Path| -> Result<()> {
        remove_name(fs, path)?;
        if in_order {
            fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?;
        }
        Ok(())
    };
    remove(&dir.join(MARK))?;
    let mut numbers: Vec<_> = fs
        .list(dir)
        .map_err(|e| Error::io("list", dir, e))?
        .iter()
        .filter_map(|path| number_of(path))
        .collect();
    numbers.sort_unstable();
    for number in numbers.into_iter().rev() {
        remove(&dir.join(file_name(number)))?;
    }
    Ok(())
}

pub(super) fn file_name(number: u32) -> String {
    format!("{number:010}.log")
}

/// The number in a segment's name; `None` for another file.
pub(super) fn number_of(path: &Path) -> Option<u32> {
    if path.extension()? != "log" {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}
