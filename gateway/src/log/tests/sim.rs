//! A disk in memory that can lose its power, fill up, or fail an fsync.

use super::super::disk::{Append, Disk, ReadAt};
use std::{
    collections::BTreeMap,
    io::{self, ErrorKind},
    sync::{Arc, Mutex, MutexGuard},
};

/// What becomes of bytes that were written and not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Tear {
    Nothing,
    Half,
    Everything,
    /// The file got its length, and not its bytes.
    Zeros,
}

#[derive(Debug, Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// Whether its name survives.
    named: bool,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Removed, and the removal not yet synced.
    removed: BTreeMap<String, File>,
    operations: usize,
    stop_at: Option<usize>,
    room: Option<usize>,
    fail_sync: Option<ErrorKind>,
}

impl State {
    fn step(&mut self) -> io::Result<()> {
        if self.stop_at.is_some_and(|at| self.operations >= at) {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        Ok(())
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

impl SimDisk {
    pub(super) fn stopping_at(operation: usize) -> Self {
        let disk = Self::default();
        disk.lock().stop_at = Some(operation);
        disk
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(super) fn operations(&self) -> usize {
        self.lock().operations
    }

    pub(super) fn set_room(&self, bytes: Option<usize>) {
        self.lock().room = bytes;
    }

    pub(super) fn fail_sync(&self, kind: ErrorKind) {
        self.lock().fail_sync = Some(kind);
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.lock().files.keys().cloned().collect()
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        self.lock().files[name].bytes.clone()
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let file = File {
            synced: bytes.clone(),
            bytes,
            named: true,
        };
        self.lock().files.insert(name.to_owned(), file);
    }

    /// What the next start finds.
    pub(super) fn after_crash(&self, tear: Tear) -> Self {
        let state = self.lock();
        let mut files = BTreeMap::new();
        let lost_names = matches!(tear, Tear::Nothing | Tear::Half);
        if lost_names {
            files.extend(state.removed.clone());
        }
        for (name, file) in &state.files {
            if !file.named && lost_names {
                continue;
            }
            let kept = file.synced.len();
            let mut bytes = file.synced.clone();
            let unsynced = file.bytes.get(kept..).unwrap_or_default();
            match tear {
                Tear::Nothing => {}
                Tear::Half => bytes.extend_from_slice(&unsynced[..unsynced.len() / 2]),
                Tear::Everything => bytes.extend_from_slice(unsynced),
                Tear::Zeros => bytes.resize(kept + unsynced.len(), 0),
            }
            let file = File {
                synced: bytes.clone(),
                bytes,
                named: true,
            };
            files.insert(name.clone(), file);
        }
        Self(Arc::new(Mutex::new(State {
            files,
            ..State::default()
        })))
    }

    fn handle(&self, name: &str) -> Box<Handle> {
        Box::new(Handle {
            disk: self.clone(),
            name: name.to_owned(),
        })
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.names())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        let mut state = self.lock();
        state.step()?;
        state.files.insert(name.to_owned(), File::default());
        Ok(self.handle(name))
    }

    fn reopen(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        let mut handle = self.handle(name);
        handle.truncate(length)?;
        Ok(handle)
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        if !self.lock().files.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        Ok(self.handle(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        let file = state.files.remove(name).ok_or(ErrorKind::NotFound)?;
        if file.named {
            state.removed.insert(name.to_owned(), file);
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.step()?;
        state.removed.clear();
        state.files.values_mut().for_each(|file| file.named = true);
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    name: String,
}

impl Append for Handle {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.disk.lock();
        let stopped = state.step();
        let room = state.room.unwrap_or(usize::MAX);
        let file = state.files.get_mut(&self.name).ok_or(ErrorKind::NotFound)?;
        if stopped.is_err() {
            // The power went in the middle of the write.
            file.bytes.extend_from_slice(&bytes[..bytes.len() * 2 / 3]);
            return stopped;
        }
        let fits = bytes.len().min(room);
        file.bytes.extend_from_slice(&bytes[..fits]);
        if fits < bytes.len() {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.step()?;
        let file = state.files.get_mut(&self.name).ok_or(ErrorKind::NotFound)?;
        file.bytes.truncate(usize::try_from(length).unwrap());
        let kept = file.bytes.len().min(file.synced.len());
        file.synced.truncate(kept);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.step()?;
        if let Some(kind) = state.fail_sync.take() {
            return Err(kind.into());
        }
        let file = state.files.get_mut(&self.name).ok_or(ErrorKind::NotFound)?;
        file.synced = file.bytes.clone();
        Ok(())
    }
}

impl ReadAt for Handle {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        let state = self.disk.lock();
        let at = usize::try_from(at).unwrap();
        let bytes = &state.files[&self.name].bytes;
        into.copy_from_slice(
            bytes
                .get(at..at + into.len())
                .ok_or(ErrorKind::UnexpectedEof)?,
        );
        Ok(())
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.disk.lock().files[&self.name].bytes.len() as u64)
    }
}
