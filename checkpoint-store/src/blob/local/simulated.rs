//! A file system that loses what was not synced, at any step one likes.

use super::LocalBlobs;
use super::disk::{Disk, Entry, EntryKind};
use crate::error::Result;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Where the power fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPlan {
    /// Never.
    Never,
    /// Just before the step of this number, from 0: it and all later ones fail.
    Before(u64),
    /// Half way through: a write is torn, any other step is done but reported as failed.
    Within(u64),
}

/// A file system in memory with a model of power loss: file contents survive from their sync on,
/// names from the sync of their directory on.
///
/// Each write, sync, link, rename, removal and creation of a directory is a step.
#[derive(Debug, Clone, Default)]
pub struct SimulatedDisk {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    now: Names,
    durable: Names,
    contents: BTreeMap<u64, Contents>,
    next_inode: u64,
    steps: u64,
    plan: Option<CrashPlan>,
    crashed: bool,
}

#[derive(Debug, Default, Clone)]
struct Names {
    files: BTreeMap<PathBuf, u64>,
    dirs: BTreeSet<PathBuf>,
}

#[derive(Debug, Default, Clone)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
}

impl Names {
    /// A name whose directory's own entry was never synced is lost with the directory.
    fn drop_unreachable(&mut self) {
        let all = self.dirs.clone();
        let reachable = |path: &Path| {
            let mut above = path
                .ancestors()
                .skip(1)
                .filter(|dir| *dir != Path::new("/"));
            above.all(|dir| all.contains(dir))
        };
        self.dirs.retain(|dir| reachable(dir));
        self.files.retain(|file, _| reachable(file));
    }
}

impl SimulatedDisk {
    /// An empty disk that works until told otherwise.
    pub fn new() -> Self {
        Self::default()
    }

    /// A store on this disk.
    ///
    /// # Errors
    /// As [`LocalBlobs::open`], after a crash.
    pub fn open(&self) -> Result<LocalBlobs> {
        LocalBlobs::open_on(Arc::new(self.clone()), PathBuf::from("/store"))
    }

    /// Counts steps from 0 and crashes as planned.
    pub fn plan(&self, plan: CrashPlan) {
        let mut inner = self.lock();
        inner.plan = Some(plan);
        inner.steps = 0;
    }

    /// Steps since the last [`plan`](Self::plan).
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// Whether the plan came true.
    pub fn has_crashed(&self) -> bool {
        self.lock().crashed
    }

    /// Power comes back; only what was synced is there.
    pub fn restart_with_synced(&self) {
        let mut inner = self.lock();
        inner.now = inner.durable.clone();
        inner.now.drop_unreachable();
        inner.durable = inner.now.clone();
        for contents in inner.contents.values_mut() {
            contents.now = contents.durable.clone();
        }
        inner.revive();
    }

    /// The process died, not the machine: all that was done is there.
    pub fn restart_with_all(&self) {
        let mut inner = self.lock();
        inner.durable = inner.now.clone();
        for contents in inner.contents.values_mut() {
            contents.durable = contents.now.clone();
        }
        inner.revive();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step<T>(&self, act: impl FnOnce(&mut Inner, Half) -> io::Result<T>) -> io::Result<T> {
        let mut inner = self.lock();
        inner.alive()?;
        let number = inner.steps;
        inner.steps += 1;
        match inner.plan {
            Some(CrashPlan::Before(at)) if at == number => {
                inner.crashed = true;
                Err(power_failure())
            }
            Some(CrashPlan::Within(at)) if at == number => {
                let _ = act(&mut inner, Half::Torn);
                inner.crashed = true;
                Err(power_failure())
            }
            _ => act(&mut inner, Half::Whole),
        }
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Half {
    Torn,
    Whole,
}

fn power_failure() -> io::Error {
    io::Error::other("simulated power failure")
}

fn not_found() -> io::Error {
    ErrorKind::NotFound.into()
}

impl Inner {
    fn alive(&self) -> io::Result<()> {
        if self.crashed {
            return Err(power_failure());
        }
        Ok(())
    }

    fn revive(&mut self) {
        self.crashed = false;
        self.plan = None;
        self.steps = 0;
    }

    fn dir_of(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if parent == Path::new("/") || self.now.dirs.contains(parent) => Ok(()),
            _ => Err(not_found()),
        }
    }
}

impl Disk for SimulatedDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            inner.dir_of(dir)?;
            if !inner.now.dirs.insert(dir.to_path_buf()) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            Ok(())
        })
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        let inner = self.lock();
        inner.alive()?;
        Ok(dir == Path::new("/") || inner.now.dirs.contains(dir))
    }

    fn write_synced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let inode = self.step(|inner, half| {
            inner.dir_of(file)?;
            if inner.now.files.contains_key(file) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            let inode = inner.next_inode;
            inner.next_inode += 1;
            let end = match half {
                Half::Torn => bytes.len() / 2,
                Half::Whole => bytes.len(),
            };
            inner.contents.insert(
                inode,
                Contents {
                    now: bytes[..end].to_vec(),
                    durable: Vec::new(),
                },
            );
            inner.now.files.insert(file.to_path_buf(), inode);
            Ok(inode)
        })?;
        self.step(|inner, half| {
            if let Some(contents) = inner.contents.get_mut(&inode) {
                let end = match half {
                    Half::Torn => contents.now.len() / 2,
                    Half::Whole => contents.now.len(),
                };
                contents.durable = contents.now[..end].to_vec();
            }
            Ok(())
        })
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            inner.dir_of(to)?;
            let inode = *inner.now.files.get(from).ok_or_else(not_found)?;
            if inner.now.files.contains_key(to) {
                return Err(ErrorKind::AlreadyExists.into());
            }
            inner.now.files.insert(to.to_path_buf(), inode);
            Ok(())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            inner.dir_of(to)?;
            let inode = inner.now.files.remove(from).ok_or_else(not_found)?;
            inner.now.files.insert(to.to_path_buf(), inode);
            Ok(())
        })
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            inner.now.files.remove(file).ok_or_else(not_found)?;
            Ok(())
        })
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            let names = &inner.now;
            let used = names.files.keys().chain(&names.dirs);
            if used.into_iter().any(|path| path.parent() == Some(dir)) {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            inner.now.dirs.remove(dir);
            Ok(())
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step(|inner, _| {
            let here = |path: &Path| path.parent() == Some(dir);
            let Inner { now, durable, .. } = inner;
            durable.files.retain(|path, _| !here(path));
            durable.dirs.retain(|path| !here(path));
            let files = now.files.iter().filter(|(path, _)| here(path));
            durable
                .files
                .extend(files.map(|(path, inode)| (path.clone(), *inode)));
            let dirs = now.dirs.iter().filter(|path| here(path));
            durable.dirs.extend(dirs.cloned());
            Ok(())
        })
    }

    fn read(&self, file: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let inner = self.lock();
        inner.alive()?;
        let inode = inner.now.files.get(file).ok_or_else(not_found)?;
        let bytes = &inner.contents[inode].now;
        let end = usize::try_from(range.end)
            .unwrap_or(usize::MAX)
            .min(bytes.len());
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
        Ok(bytes[start..end].to_vec())
    }

    fn file_size(&self, file: &Path) -> io::Result<Option<u64>> {
        let inner = self.lock();
        inner.alive()?;
        let inode = inner.now.files.get(file);
        Ok(inode.map(|inode| inner.contents[inode].now.len() as u64))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let inner = self.lock();
        inner.alive()?;
        if !inner.now.dirs.contains(dir) {
            return Err(not_found());
        }
        let name = |path: &Path| {
            path.file_name()
                .map(|name| name.to_string_lossy().into_owned())
        };
        let here = |path: &&PathBuf| path.parent() == Some(dir);
        let mut entries = Vec::new();
        for path in inner.now.dirs.iter().filter(here) {
            entries.extend(name(path).map(|name| Entry {
                name,
                kind: EntryKind::Dir,
            }));
        }
        for (path, inode) in inner.now.files.iter().filter(|(path, _)| here(path)) {
            let size = inner.contents[inode].now.len() as u64;
            entries.extend(name(path).map(|name| Entry {
                name,
                kind: EntryKind::File { size },
            }));
        }
        Ok(entries)
    }

    fn remove_stale(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
}
