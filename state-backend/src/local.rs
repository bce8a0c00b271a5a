//! Local files that outlive their store: sealed at its end, taken over by the next.
//!
//! ```text
//! seal := "WEIRSEAL" | version u32 | payload_len u64 | payload | crc32 u32     (LE; the checksum is of all before it)
//! ```
//!
//! The payload (postcard) names the checkpoint that the files hold exactly, the states by their numbers,
//! and each file with its length and the checksum of every mebibyte. It is written last, under another
//! name, when the files are synced, and removed first, before anything changes them. Should a removal be
//! lost with the power, the checksums still tell that the files are others: a seal that fits is true.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::catalog::StateEntry;
use crate::disk::DiskOptions;
use crate::io::{Fs, OpenMode};
use crate::{
    BackendConfig, Error, KeyGroupRange, KeyedStateBackend, MaxParallelism, Result, StateCatalog,
    StateId, StateKind,
};

const MAGIC: &[u8; 8] = b"WEIRSEAL";
const VERSION: u32 = 1;
const HEAD: usize = 20;
/// Bytes under one checksum.
const PIECE: usize = 1 << 20;

/// What a sealed set of files holds.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Seal {
    label: Vec<u8>,
    /// First and last key group, and how many there are in all.
    groups: (u16, u16, u16),
    rows: u64,
    states: Vec<SealedState>,
    files: Vec<SealedFile>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SealedState {
    id: StateId,
    name: String,
    kind: StateKind,
    type_name: String,
    version: u32,
    timed: bool,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct SealedFile {
    name: String,
    len: u64,
    pieces: Vec<u32>,
}

impl Seal {
    fn encode(&self) -> Result<Vec<u8>> {
        let payload = postcard::to_allocvec(self).map_err(|e| Error::Encode {
            state: "the seal".to_owned(),
            reason: e.to_string(),
        })?;
        let mut bytes = Vec::with_capacity(HEAD + payload.len() + 4);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&(payload.len() as u64).to_le_bytes());
        bytes.extend_from_slice(&payload);
        let crc = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        Ok(bytes)
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (covered, crc) = bytes.split_last_chunk::<4>()?;
        let (head, payload) = covered.split_at_checked(HEAD)?;
        let version = u32::from_le_bytes(head[8..12].try_into().ok()?);
        let len = u64::from_le_bytes(head[12..].try_into().ok()?);
        let whole = head.starts_with(MAGIC)
            && version == VERSION
            && len == payload.len() as u64
            && crc32fast::hash(covered) == u32::from_le_bytes(*crc);
        whole.then(|| postcard::from_bytes(payload).ok()).flatten()
    }

    /// The states as the checkpoint describes them, with the numbers that the files use.
    fn states(&self, catalog: &StateCatalog) -> Option<Vec<StateEntry>> {
        let mut sealed: BTreeMap<&str, &SealedState> =
            self.states.iter().map(|s| (s.name.as_str(), s)).collect();
        let mut states = Vec::new();
        for entry in &catalog.states {
            let mut entry = entry.clone();
            let state = sealed.remove(entry.name.as_str())?;
            entry.id = state.id;
            if *state != SealedState::of(&entry) {
                return None;
            }
            states.push(entry);
        }
        sealed.is_empty().then_some(states)
    }
}

impl SealedState {
    fn of(entry: &StateEntry) -> Self {
        Self {
            id: entry.id,
            name: entry.name.clone(),
            kind: entry.kind,
            type_name: entry.type_name.clone(),
            version: entry.version,
            timed: entry.ttl.is_some(),
        }
    }
}

impl SealedFile {
    /// Reads all of the file.
    fn of(fs: &dyn Fs, dir: &Path, name: &str) -> Result<Self> {
        let path = dir.join(name);
        let read = || -> std::io::Result<Self> {
            let file = fs.open(&path, OpenMode::Existing)?;
            let len = file.size()?;
            let mut buffer = vec![0; PIECE];
            let mut pieces = Vec::new();
            let mut at = 0;
            while at < len {
                let n = usize::try_from(len - at).map_or(PIECE, |rest| rest.min(PIECE));
                file.read_at(at, &mut buffer[..n])?;
                pieces.push(crc32fast::hash(&buffer[..n]));
                at += n as u64;
            }
            let name = name.to_owned();
            Ok(Self { name, len, pieces })
        };
        read().map_err(|e| Error::io("read", &path, e))
    }
}

/// Where a backend's files lie.
pub(crate) struct LocalFiles<'a> {
    config: &'a BackendConfig,
    options: DiskOptions,
    dir: PathBuf,
    lock: String,
    seal: PathBuf,
    range: KeyGroupRange,
}

/// What there was to take over.
pub(crate) enum Found {
    Sealed {
        backend: Box<dyn KeyedStateBackend>,
        states: Vec<StateEntry>,
        rows: u64,
    },
    Nothing,
    /// Why the files are not to be used.
    Unusable(String),
}

impl<'a> LocalFiles<'a> {
    /// `None`: the backend has no files.
    pub(crate) fn of(config: &'a BackendConfig, range: KeyGroupRange) -> Option<Self> {
        let (options, dir, lock, seal) = match config {
            BackendConfig::Memory => return None,
            #[cfg(feature = "fs")]
            BackendConfig::Fs { dir, options } => {
                let dir = crate::fs::dir_of(dir, range);
                let seal = dir.join(crate::fs::SEAL);
                (options, dir, crate::fs::LOCK.to_owned(), seal)
            }
            #[cfg(feature = "redb")]
            BackendConfig::Redb { dir, options } => {
                let names = crate::redb::Names::of(dir, range);
                (options, dir.clone(), names.lock, names.seal)
            }
        };
        Some(Self {
            config,
            options: options.within_a_store(),
            dir,
            lock,
            seal,
            range,
        })
    }

    fn fs(&self) -> &dyn Fs {
        &**self.options.fs()
    }

    /// Names of the files that hold the rows.
    fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self
            .fs()
            .list(&self.dir)
            .map_err(|e| Error::io("list", &self.dir, e))?
            .iter()
            .filter(|path| self.is_ours(path))
            .filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()))
            .collect();
        names.sort();
        Ok(names)
    }

    fn is_ours(&self, path: &Path) -> bool {
        match self.config {
            BackendConfig::Memory => false,
            #[cfg(feature = "fs")]
            BackendConfig::Fs { .. } => crate::fs::is_log_file(path),
            #[cfg(feature = "redb")]
            BackendConfig::Redb { dir, .. } => {
                *path == crate::redb::Names::of(dir, self.range).file
            }
        }
    }

    /// Seals the files, whose backend is closed: they hold `rows` rows, exactly those of `label`. Returns
    /// their size.
    pub(crate) fn seal(
        &self,
        label: &[u8],
        max: MaxParallelism,
        catalog: &StateCatalog,
        rows: u64,
    ) -> Result<u64> {
        let _lock = crate::disk::take_dir(&self.dir, &self.lock, &self.options)?;
        let fs = self.fs();
        let mut files = Vec::new();
        for name in self.names()? {
            let path = self.dir.join(&name);
            // Closing may have written, and the policy may be not to sync.
            fs.open(&path, OpenMode::Existing)
                .and_then(|file| file.sync())
                .map_err(|e| Error::io("sync", &path, e))?;
            files.push(SealedFile::of(fs, &self.dir, &name)?);
        }
        let bytes = files.iter().map(|file| file.len).sum();
        let seal = Seal {
            label: label.to_vec(),
            groups: self.groups(max),
            rows,
            states: catalog.states.iter().map(SealedState::of).collect(),
            files,
        };
        let beside = beside(&self.seal);
        let write = || -> std::io::Result<()> {
            fs.sync_dir(&self.dir)?;
            let file = fs.open(&beside, OpenMode::CreateOrTruncate)?;
            let encoded = seal.encode().map_err(std::io::Error::other)?;
            file.write_at(0, &encoded)?;
            file.sync()?;
            fs.rename(&beside, &self.seal)?;
            fs.sync_dir(&self.dir)
        };
        write().map_err(|e| Error::io("seal", &self.dir, e))?;
        Ok(bytes)
    }

    /// Opens the files if they are sealed as `label`, and undamaged. The seal is broken first.
    pub(crate) fn adopt(
        &self,
        label: &[u8],
        max: MaxParallelism,
        catalog: &StateCatalog,
    ) -> Result<Found> {
        let lock = crate::disk::take_dir(&self.dir, &self.lock, &self.options)?;
        let seal = match self.read_seal() {
            Ok(seal) => seal,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok(if self.names()?.is_empty() {
                    Found::Nothing
                } else {
                    unusable("their last owner was not stopped in an orderly way")
                });
            }
            Err(error) => return Err(Error::io("read", &self.seal, error)),
        };
        let Some(seal) = seal else {
            return Ok(unusable("their seal is damaged"));
        };
        if seal.label != label {
            return Ok(unusable("they are of another checkpoint"));
        }
        if seal.groups != self.groups(max) {
            return Ok(unusable("they are of other key groups"));
        }
        let Some(states) = seal.states(catalog) else {
            return Ok(unusable("they are of other states"));
        };
        let names = self.names()?;
        if !names.iter().eq(seal.files.iter().map(|file| &file.name)) {
            return Ok(unusable("files are missing, or were added"));
        }
        for file in &seal.files {
            if SealedFile::of(self.fs(), &self.dir, &file.name)? != *file {
                return Ok(unusable(&format!("{} is damaged", file.name)));
            }
        }
        break_seal(self.fs(), &self.dir, &self.seal)?;
        let backend: Box<dyn KeyedStateBackend> =
            match self.config {
                BackendConfig::Memory => return Ok(Found::Nothing),
                #[cfg(feature = "fs")]
                BackendConfig::Fs { .. } => Box::new(crate::fs::FsBackend::open_locked(
                    &self.dir,
                    &self.options,
                    lock,
                )?),
                #[cfg(feature = "redb")]
                BackendConfig::Redb { dir, .. } => Box::new(
                    crate::redb::RedbBackend::open_verified(dir, self.range, &self.options, lock)?,
                ),
            };
        if backend.stats().rows != seal.rows {
            return Ok(unusable("rows are missing"));
        }
        Ok(Found::Sealed {
            backend,
            states,
            rows: seal.rows,
        })
    }

    fn groups(&self, max: MaxParallelism) -> (u16, u16, u16) {
        (self.range.start().get(), self.range.end().get(), max.get())
    }

    /// Inner `None`: it is damaged.
    fn read_seal(&self) -> std::io::Result<Option<Seal>> {
        let file = self.fs().open(&self.seal, OpenMode::Existing)?;
        let len = usize::try_from(file.size()?).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)?;
        Ok(Seal::decode(&bytes))
    }
}

fn unusable(why: &str) -> Found {
    Found::Unusable(why.to_owned())
}

fn beside(seal: &Path) -> PathBuf {
    seal.with_extension("unsealed")
}

/// Removes a seal, durably if there was one.
pub(crate) fn break_seal(fs: &dyn Fs, dir: &Path, seal: &Path) -> Result<()> {
    for path in [&beside(seal), seal] {
        match fs.remove(path) {
            Ok(()) => fs.sync_dir(dir).map_err(|e| Error::io("sync", dir, e))?,
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("remove", path, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
