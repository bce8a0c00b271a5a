//! The file system calls that a local store makes: the seam where crashes are simulated.

use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

/// One entry of a directory.
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) kind: EntryKind,
}

pub(crate) enum EntryKind {
    File { size: u64 },
    Dir,
}

pub(crate) trait Disk: Debug + Send + Sync + 'static {
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    fn is_dir(&self, dir: &Path) -> io::Result<bool>;
    /// Creates `file`, which must not exist, and makes its contents (not its name) durable.
    fn write_synced(&self, file: &Path, bytes: &[u8]) -> io::Result<()>;
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, file: &Path) -> io::Result<()>;
    /// Fails unless the directory is empty.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    fn read(&self, file: &Path, range: Range<u64>) -> io::Result<Vec<u8>>;
    fn file_size(&self, file: &Path) -> io::Result<Option<u64>>;
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;
    /// Removes files of `dir` that nobody can be writing any more.
    fn remove_stale(&self, dir: &Path) -> io::Result<()>;
}

/// The operating system's.
#[derive(Debug)]
pub(crate) struct OsDisk;

impl Disk for OsDisk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn is_dir(&self, dir: &Path) -> io::Result<bool> {
        match fs::metadata(dir) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn write_synced(&self, file: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).open(file)?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        fs::remove_file(file)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        fs::remove_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        // Windows has no such call, and does not need it.
        if cfg!(windows) {
            return Ok(());
        }
        File::open(dir)?.sync_all()
    }

    fn read(&self, file: &Path, range: Range<u64>) -> io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let size = file.metadata()?.len();
        let start = range.start.min(size);
        let wanted = range.end.min(size).saturating_sub(start);
        file.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::with_capacity(usize::try_from(wanted).unwrap_or(0));
        file.take(wanted).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn file_size(&self, file: &Path) -> io::Result<Option<u64>> {
        match fs::metadata(file) {
            Ok(metadata) => Ok(metadata.is_file().then_some(metadata.len())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            // Gone between the two calls: as if it had been gone before.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let kind = if metadata.is_dir() {
                EntryKind::Dir
            } else {
                EntryKind::File {
                    size: metadata.len(),
                }
            };
            entries.push(Entry { name, kind });
        }
        Ok(entries)
    }

    fn remove_stale(&self, dir: &Path) -> io::Result<()> {
        // The age is measured against a file made now, so by the clock that dated the others.
        let probe = dir.join(format!("probe-{}", std::process::id()));
        let now = File::create(&probe)?.metadata()?.modified()?;
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let modified = entry.metadata().and_then(|metadata| metadata.modified());
            let stale = modified.is_ok_and(|at| {
                now.duration_since(at)
                    .is_ok_and(|age| age > Duration::from_secs(3600))
            });
            if stale || entry.path() == probe {
                let _ = fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}
