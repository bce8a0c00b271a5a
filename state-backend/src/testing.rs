//! A file system in memory that crashes, fills up and damages files on demand (feature `testing`).
//!
//! It is the other half of the crash tests: run a workload once to count its
//! [`steps`](SimulatedFs::steps), then for each step let a fresh run stop there
//! ([`crash_at`](SimulatedFs::crash_at)), take what a power loss leaves
//! ([`after_crash`](SimulatedFs::after_crash)), and open it again.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::io::{Fs, FsFile, LockGuard, OpenMode};

/// What becomes of un-synced writes when the machine loses power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsynced {
    /// Every un-synced byte and name is gone: a power loss with nothing written back.
    Dropped,
    /// Everything written is there: the process died, the machine did not.
    Kept,
    /// Of the un-synced writes some are there, some are not, some in part: a power loss in the
    /// middle of write-back, chosen by the seed. Names survive in the order they were made.
    Torn {
        /// Chooses which writes survive.
        seed: u64,
    },
}

/// A file system in memory. Clones share the same files.
#[derive(Clone, Debug, Default)]
pub struct SimulatedFs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<PathBuf, FileId>,
    /// The names as of the last `sync_dir`, and what happened to them since, in order.
    durable_names: BTreeMap<PathBuf, FileId>,
    renamed: Vec<NameChange>,
    contents: BTreeMap<FileId, Contents>,
    next_file: FileId,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
    steps: u64,
    crash_at: Option<u64>,
    crashed: bool,
    capacity: Option<u64>,
    fail_at: Option<(u64, io::ErrorKind)>,
}

type FileId = u64;

#[derive(Clone, Debug)]
enum NameChange {
    Bound(PathBuf, FileId),
    Unbound(PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Contents {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Pending>,
}

#[derive(Clone, Debug)]
enum Pending {
    Write { offset: usize, bytes: Vec<u8> },
    SetLen(usize),
}

impl SimulatedFs {
    /// An empty file system without limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // A panic in another test thread leaves plain data behind, nothing half-done.
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many mutating operations (writes, syncs, creations, renames, removals, length changes)
    /// were begun so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.disk().steps
    }

    /// Lets the machine stop in the middle of mutating operation number `step` (the first is 0):
    /// of a write the first half is done, of anything else nothing. From then on every operation
    /// fails until [`after_crash`](Self::after_crash).
    pub fn crash_at(&self, step: u64) {
        self.disk().crash_at = Some(step);
    }

    /// Lets mutating operation number `step` fail with `kind`, once, having done half of a write.
    pub fn fail_at(&self, step: u64, kind: io::ErrorKind) {
        self.disk().fail_at = Some((step, kind));
    }

    /// Whether the crash asked for has happened.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.disk().crashed
    }

    /// Limits the bytes of all files together; `None` lifts the limit. A write that does not fit
    /// writes what does and fails with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk().capacity = bytes;
    }

    /// Bytes in all files together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// The file system as it is found when the machine comes up again; `self` stays as it is.
    #[must_use]
    pub fn after_crash(&self, unsynced: Unsynced) -> Self {
        let disk = self.disk();
        let mut chance = Chance::new(unsynced);
        let mut names = disk.durable_names.clone();
        let surviving = match unsynced {
            Unsynced::Dropped => 0,
            Unsynced::Kept => disk.renamed.len(),
            Unsynced::Torn { .. } => chance.up_to(disk.renamed.len()),
        };
        for change in &disk.renamed[..surviving] {
            match change {
                NameChange::Bound(path, file) => names.insert(path.clone(), *file),
                NameChange::Unbound(path) => names.remove(path),
            };
        }
        let contents = names
            .values()
            .map(|file| {
                let found = match unsynced {
                    Unsynced::Dropped => disk.contents[file].durable.clone(),
                    Unsynced::Kept => disk.contents[file].now.clone(),
                    Unsynced::Torn { .. } => disk.contents[file].torn(&mut chance),
                };
                (*file, Contents::durable(found))
            })
            .collect();
        let disk = Disk {
            files: names.clone(),
            durable_names: names,
            contents,
            next_file: disk.next_file,
            dirs: disk.dirs.clone(),
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(disk)),
        }
    }

    /// The files there are, by path.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        self.disk().files.keys().cloned().collect()
    }

    /// The bytes of a file, `None` when there is none of that name.
    #[must_use]
    pub fn contents(&self, path: &Path) -> Option<Vec<u8>> {
        let disk = self.disk();
        let file = disk.files.get(path)?;
        Some(disk.contents[file].now.clone())
    }

    /// Replaces the bytes of a file, durably: a flipped bit, a cut-off end.
    pub fn damage(&self, path: &Path, bytes: Vec<u8>) {
        let mut disk = self.disk();
        if let Some(&file) = disk.files.get(path) {
            disk.contents.insert(file, Contents::durable(bytes));
        }
    }
}

impl Disk {
    fn used(&self) -> u64 {
        self.files
            .values()
            .map(|file| self.contents[file].now.len() as u64)
            .sum()
    }

    fn check(&self) -> io::Result<()> {
        if self.crashed {
            return Err(io::Error::other("the simulated machine is down"));
        }
        Ok(())
    }

    /// Counts a mutating operation. `Ok(false)`: do half of it, then report `fault()`.
    fn step(&mut self) -> io::Result<Whole> {
        self.check()?;
        let step = self.steps;
        self.steps += 1;
        if self.crash_at == Some(step) {
            self.crashed = true;
            return Ok(Whole::Half(io::Error::other(
                "the simulated machine went down",
            )));
        }
        match self.fail_at {
            Some((at, kind)) if at == step => {
                self.fail_at = None;
                Ok(Whole::Half(io::Error::new(kind, "simulated failure")))
            }
            _ => Ok(Whole::All),
        }
    }

    /// As [`step`](Self::step), for operations that happen or do not.
    fn whole_step(&mut self) -> io::Result<()> {
        match self.step()? {
            Whole::All => Ok(()),
            Whole::Half(error) => Err(error),
        }
    }

    fn bind(&mut self, path: &Path, file: FileId) {
        self.files.insert(path.to_owned(), file);
        self.renamed.push(NameChange::Bound(path.to_owned(), file));
    }

    fn unbind(&mut self, path: &Path) -> io::Result<FileId> {
        let file = self
            .files
            .remove(path)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.renamed.push(NameChange::Unbound(path.to_owned()));
        Ok(file)
    }
}

enum Whole {
    All,
    Half(io::Error),
}

impl Contents {
    fn durable(bytes: Vec<u8>) -> Self {
        Self {
            now: bytes.clone(),
            durable: bytes,
            pending: Vec::new(),
        }
    }

    fn write(&mut self, offset: usize, bytes: &[u8]) {
        write_into(&mut self.now, offset, bytes);
        self.pending.push(Pending::Write {
            offset,
            bytes: bytes.to_vec(),
        });
    }

    fn sync(&mut self) {
        self.durable.clone_from(&self.now);
        self.pending.clear();
    }

    fn torn(&self, chance: &mut Chance) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for pending in &self.pending {
            match pending {
                Pending::Write {
                    offset,
                    bytes: written,
                } => {
                    let kept = match chance.up_to(2) {
                        0 => 0,
                        1 => chance.up_to(written.len()),
                        _ => written.len(),
                    };
                    if kept > 0 {
                        write_into(&mut bytes, *offset, &written[..kept]);
                    }
                }
                Pending::SetLen(len) => {
                    if chance.up_to(1) == 1 {
                        bytes.resize(*len, 0);
                    }
                }
            }
        }
        bytes
    }
}

fn write_into(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// splitmix64: enough to choose what survives, the same for the same seed.
struct Chance(u64);

impl Chance {
    fn new(unsynced: Unsynced) -> Self {
        match unsynced {
            Unsynced::Torn { seed } => Self(seed),
            Unsynced::Dropped | Unsynced::Kept => Self(0),
        }
    }

    /// 0 to `most`, both included.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % (most as u64 + 1)) as usize
    }
}

impl Fs for SimulatedFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.check()?;
        disk.dirs.insert(dir.to_owned());
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk();
        disk.check()?;
        if !disk.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(disk
            .files
            .keys()
            .filter(|path| path.parent() == Some(dir))
            .cloned()
            .collect())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let mut disk = self.disk();
        disk.check()?;
        let file = match (disk.files.get(path).copied(), mode) {
            (Some(file), OpenMode::Existing | OpenMode::CreateOrKeep) => file,
            (None, OpenMode::Existing) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), OpenMode::CreateOrTruncate) => {
                disk.whole_step()?;
                if let Some(contents) = disk.contents.get_mut(&file) {
                    contents.now.clear();
                    contents.pending.push(Pending::SetLen(0));
                }
                file
            }
            (None, OpenMode::CreateOrKeep | OpenMode::CreateOrTruncate) => {
                disk.whole_step()?;
                let file = disk.next_file;
                disk.next_file += 1;
                disk.contents.insert(file, Contents::default());
                disk.bind(path, file);
                file
            }
        };
        Ok(Arc::new(SimulatedFile {
            fs: self.clone(),
            file,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.whole_step()?;
        let file = disk.unbind(from)?;
        disk.bind(to, file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.whole_step()?;
        disk.unbind(path)?;
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        disk.whole_step()?;
        let here = |path: &Path| path.parent() == Some(dir);
        let Disk {
            files,
            durable_names,
            renamed,
            ..
        } = &mut *disk;
        durable_names.retain(|path, _| !here(path));
        for (path, file) in files.iter().filter(|(path, _)| here(path)) {
            durable_names.insert(path.clone(), *file);
        }
        renamed.retain(|change| match change {
            NameChange::Bound(path, _) | NameChange::Unbound(path) => !here(path),
        });
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let mut disk = self.disk();
        disk.check()?;
        if !disk.locks.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(SimulatedLock {
            fs: self.clone(),
            path: path.to_owned(),
        })))
    }
}

#[derive(Debug)]
struct SimulatedFile {
    fs: SimulatedFs,
    file: FileId,
}

impl SimulatedFile {
    fn with<R>(
        &self,
        disk: &mut Disk,
        work: impl FnOnce(&mut Contents) -> io::Result<R>,
    ) -> io::Result<R> {
        let contents = disk
            .contents
            .get_mut(&self.file)
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        work(contents)
    }
}

impl FsFile for SimulatedFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.check()?;
        self.with(&mut disk, |contents| {
            let start = usize::try_from(offset).map_err(io::Error::other)?;
            let found = contents
                .now
                .get(start..start.saturating_add(out.len()))
                .ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            out.copy_from_slice(found);
            Ok(())
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.fs.disk();
        let whole = disk.step()?;
        let start = usize::try_from(offset).map_err(io::Error::other)?;
        let room = disk
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used()));
        self.with(&mut disk, |contents| {
            if let Whole::Half(error) = whole {
                contents.write(start, &bytes[..bytes.len() / 2]);
                return Err(error);
            }
            // Overwriting takes no room; what lies past the end does.
            let past_end = (start + bytes.len()).saturating_sub(contents.now.len());
            if past_end as u64 > room {
                let short = bytes.len() - (past_end - room as usize).min(bytes.len());
                contents.write(start, &bytes[..short]);
                return Err(io::ErrorKind::StorageFull.into());
            }
            contents.write(start, bytes);
            Ok(())
        })
    }

    fn size(&self) -> io::Result<u64> {
        let mut disk = self.fs.disk();
        disk.check()?;
        self.with(&mut disk, |contents| Ok(contents.now.len() as u64))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.whole_step()?;
        let room = disk
            .capacity
            .map_or(u64::MAX, |capacity| capacity.saturating_sub(disk.used()));
        self.with(&mut disk, |contents| {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            if len.saturating_sub(contents.now.len()) as u64 > room {
                return Err(io::ErrorKind::StorageFull.into());
            }
            contents.now.resize(len, 0);
            contents.pending.push(Pending::SetLen(len));
            Ok(())
        })
    }

    fn sync(&self) -> io::Result<()> {
        let mut disk = self.fs.disk();
        disk.whole_step()?;
        self.with(&mut disk, |contents| {
            contents.sync();
            Ok(())
        })
    }
}

#[derive(Debug)]
struct SimulatedLock {
    fs: SimulatedFs,
    path: PathBuf,
}

impl LockGuard for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        self.fs.disk().locks.remove(&self.path);
    }
}

/// A few cases of a property test, unless `PROPTEST_CASES` asks for more.
#[cfg(test)]
pub(crate) fn cases(few: u32) -> proptest::prelude::ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    proptest::prelude::ProptestConfig {
        cases: cases.unwrap_or(few),
        failure_persistence: None,
        ..Default::default()
    }
}
