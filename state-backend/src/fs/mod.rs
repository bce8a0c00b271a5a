//! The log backend: values in an append-only log, keys in memory.
//!
//! After Bitcask (Sheehy and Smith, 2010), with an ordered index. A write goes to the end of the
//! newest of a row of segment files, a read is one lookup in memory and one `pread`, or none
//! while the row is in the write buffer. It wants all keys in memory (about 30 bytes a row) and
//! is then the fastest disk backend for both reads and writes; where keys do not fit, take redb.
//!
//! Every record carries a checksum, verified at each read. At start the log is read through: a
//! batch cut off by a crash is dropped, damage to bytes known to be synced is an error that
//! names the file and place. Space of overwritten rows is given back segment by segment, in slices paid
//! for by the writers, never in one long pause.

mod compaction;
mod files;
#[cfg(test)]
mod fuzz;
mod index;
mod key_block;
mod log;
mod recovery;
mod segments;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::path::{Path, PathBuf};

use compaction::{Compaction, cost_of};
use index::Index;
use log::{FRAME_LEN, Frame, Kind, MAX_KEY};
use segments::Segments;

use crate::disk::{DiskOptions, Work};
use crate::io::LockGuard;
use crate::{
    BackendStats, Change, Durability, Error, KeyGroupRange, KeyedStateBackend, Maintenance, Result,
    StateId, Visit,
};

/// The file whose lock keeps others out.
pub(crate) const LOCK: &str = "LOCK";
/// The file that says which checkpoint the log holds.
pub(crate) const SEAL: &str = "SEAL";

/// The directory of a store's log below the one configured.
pub(crate) fn dir_of(dir: &Path, range: KeyGroupRange) -> PathBuf {
    dir.join(format!("fs-{}-{}", range.start().get(), range.end().get()))
}

/// Whether a file is part of the log.
pub(crate) fn is_log_file(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name == files::MARK) || files::number_of(path).is_some()
}

/// The longest batch: positions within a segment have 32 bits.
const MAX_BATCH: u64 = 1 << 31;

/// A [`KeyedStateBackend`] over a log of segment files in a directory of its own.
///
/// ```
/// use state_backend::{Change, KeyedStateBackend, StateId, disk::DiskOptions, fs::FsBackend};
///
/// # fn main() -> state_backend::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path();
/// let mut backend = FsBackend::open(dir, &DiskOptions::default())?;
/// let state = StateId::new(1);
/// backend.apply(&[Change { state, key: b"\0\0key", value: Some(b"value") }])?;
/// let mut found = Vec::new();
/// assert!(backend.read(state, b"\0\0key", &mut |value| found.extend_from_slice(value))?);
/// assert_eq!(found, b"value");
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FsBackend {
    index: Index,
    segments: Segments,
    compaction: Option<Compaction>,
    threshold: f64,
    work: Work,
    scratch: Scratch,
    accepted_bytes: u64,
    poisoned: Option<String>,
    _lock: Box<dyn LockGuard>,
}

impl FsBackend {
    /// Opens the log in `dir`, or begins one. Reads all of it: about a second for 1 GB.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupted`] when bytes that were synced are damaged, [`Error::Io`] when the file
    /// system refuses or another backend has the directory open.
    pub fn open(dir: impl AsRef<Path>, options: &DiskOptions) -> Result<Self> {
        let dir = dir.as_ref();
        let lock = crate::disk::take_dir(dir, LOCK, options)?;
        Self::open_locked(dir, options, lock)
    }

    pub(crate) fn open_locked(
        dir: &Path,
        options: &DiskOptions,
        lock: Box<dyn LockGuard>,
    ) -> Result<Self> {
        let (segments, index) = recovery::recover(dir, options)?;
        Ok(Self {
            index,
            segments,
            compaction: None,
            threshold: options.compaction_threshold(),
            work: options.work(),
            scratch: Scratch::default(),
            accepted_bytes: 0,
            poisoned: None,
            _lock: lock,
        })
    }

    /// Deletes the log in `dir` without reading it: one that is damaged, or belongs to another
    /// checkpoint than the one being restored.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file system refuses or a backend has the directory open.
    pub fn remove(dir: impl AsRef<Path>, options: &DiskOptions) -> Result<()> {
        let dir = dir.as_ref();
        let _lock = crate::disk::take_dir(dir, LOCK, options)?;
        crate::local::break_seal(&**options.fs(), dir, &dir.join(SEAL))?;
        files::remove_all(dir, options)
    }

    /// After a failed sync nothing is known about what is on the medium: go no further.
    fn poisoning<T>(&mut self, result: Result<T>) -> Result<T> {
        if let Err(error) = &result
            && !error.is_out_of_space()
        {
            self.poisoned = Some(describe(error));
        }
        result
    }

    fn check(&self) -> Result<()> {
        match &self.poisoned {
            Some(reason) => Err(Error::Poisoned {
                reason: reason.clone(),
            }),
            None => Ok(()),
        }
    }

    /// Readies the log for the changes, so that writing them cannot fail.
    fn prepare(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.check()?;
        let (mut bytes, mut cost) = (0, 0);
        for change in changes {
            let value = change.value.map_or(0, <[u8]>::len);
            if change.key.len() > MAX_KEY {
                return Err(too_large("key", change.key.len(), MAX_KEY as u64));
            }
            let frame = (FRAME_LEN + change.key.len() + value) as u64;
            bytes += frame;
            cost += cost_of(frame);
            if bytes > MAX_BATCH {
                return Err(too_large("batch", bytes as usize, MAX_BATCH));
            }
        }
        // The writers pay for the compaction: four bytes looked at for each one written frees
        // more than is added as long as a quarter of them is dead.
        match self.compact(cost * 4) {
            Err(error) if !error.is_out_of_space() => return Err(error),
            _ => {}
        }
        let room = self.segments.make_room(bytes);
        self.poisoning(room)
    }

    fn write(&mut self, changes: &[Change<'_>]) {
        let mut last = None;
        for change in changes {
            let frame = Frame {
                kind: match change.value {
                    Some(_) => Kind::Put,
                    None => Kind::Delete,
                },
                ends_batch: false,
                state: change.state.get(),
                key: change.key,
                value: change.value.unwrap_or_default(),
            };
            self.accepted_bytes += (frame.key.len() + frame.value.len()) as u64;
            let replaced = match change.value {
                Some(_) => {
                    let at = self.segments.append(&frame);
                    last = Some(at);
                    self.index.insert(change.state, change.key, at)
                }
                None => {
                    let removed = self.index.remove(change.state, change.key);
                    // Nothing to delete: nothing to write.
                    if removed.is_some() {
                        last = Some(self.segments.append(&frame));
                    }
                    removed
                }
            };
            if let Some(replaced) = replaced {
                self.segments.kill(replaced);
            }
        }
        if let Some(last) = last {
            self.segments.end_batch(last);
        }
    }
}

impl KeyedStateBackend for FsBackend {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let Some(at) = self.index.get(state, key) else {
            return Ok(false);
        };
        let mut scratch = self.scratch.take();
        let read = self
            .segments
            .read(at, &mut scratch, |frame| found(frame.value));
        self.scratch.set(scratch);
        read.map(|()| true)
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let mut scratch = self.scratch.take();
        let (index, segments) = (&self.index, &self.segments);
        let scanned = index.visit(state, prefix, after, |key, at| {
            segments.read(at, &mut scratch, |frame| visit(key, frame.value))
        });
        self.scratch.set(scratch);
        scanned
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        if changes.is_empty() {
            return self.check();
        }
        self.prepare(changes)?;
        self.write(changes);
        Ok(())
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    /// The mark of the clear is written before anything is removed, so that a crash in between
    /// leaves all rows or none. On a full disk, where it cannot be written, files are removed
    /// without it.
    fn clear(&mut self) -> Result<()> {
        self.check()?;
        self.end_compaction();
        self.index = Index::default();
        let cleared = self.segments.clear();
        self.poisoning(cleared)
    }

    fn flush(&mut self, durability: Durability) -> Result<()> {
        self.check()?;
        let flushed = match durability {
            Durability::Buffered => self.segments.write_out(),
            Durability::Synced => self.segments.sync(),
        };
        self.poisoning(flushed)
    }

    fn maintain(&mut self, budget_bytes: u64) -> Result<Maintenance> {
        self.check()?;
        match self.compact(budget_bytes) {
            // Nothing is lost; there may be space later.
            Err(error) if error.is_out_of_space() => Ok(Maintenance::Idle),
            other => other,
        }
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            rows: self.index.rows(),
            memory_bytes: self.index.memory_bytes() + self.segments.memory_bytes(),
            disk_bytes: self.segments.len(),
            dead_bytes: self.segments.len() - self.segments.live(),
            accepted_bytes: self.accepted_bytes,
            written_bytes: self.segments.written_bytes(),
        }
    }
}

impl Drop for FsBackend {
    fn drop(&mut self) {
        self.end_compaction();
        // What is in memory goes to the operating system; whoever wants to know how that went
        // flushes first.
        if self.poisoned.is_none() {
            let _ = self.segments.write_out();
        }
    }
}

/// A buffer that reads share. A read inside a read finds it taken and makes its own.
#[derive(Default)]
struct Scratch(Cell<Vec<u8>>);

impl Scratch {
    fn take(&self) -> Vec<u8> {
        self.0.take()
    }

    fn set(&self, buffer: Vec<u8>) {
        // One huge value must not cost its memory for ever.
        if buffer.capacity() <= 1 << 20 {
            self.0.set(buffer);
        }
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scratch")
    }
}

fn too_large(what: &str, bytes: usize, limit: u64) -> Error {
    Error::InvalidOptions(format!(
        "a {what} of {bytes} bytes is more than the {limit} that fit into the log"
    ))
}

fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
