//! The file system as the disk backends see it: the seam at which tests inject crashes and faults.
//!
//! [`OsFs`] is the operating system's. The feature `testing` adds `testing::SimulatedFs`, which
//! keeps files in memory, tells synced from un-synced bytes, and fails where a test wants it to.

use std::fmt::Debug;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a disk backend asks of a file system.
///
/// Nothing is durable before it is synced: the bytes of a file by [`FsFile::sync`], the creation,
/// renaming or removal of a name by [`Fs::sync_dir`] on its directory. The backends rely on no
/// order among un-synced writes.
pub trait Fs: Debug + Send + Sync + 'static {
    /// Creates `dir` and its missing parents.
    ///
    /// # Errors
    ///
    /// Whatever the file system reports; so for every method here.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The files (not directories) directly in `dir`, in no particular order.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>>;

    /// Renames a file, replacing `to` if it is there.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. A file that is not there is an error of kind `NotFound`.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in `dir` durable as they are now.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock at `path` for as long as the returned guard lives; `None` if another
    /// holder, in this process or another, has it.
    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>>;
}

/// One open file. Positions are absolute: there is no cursor, so a file can be shared.
pub trait FsFile: Debug + Send + Sync + 'static {
    /// Fills `out` from `offset`; an end of file before that is `UnexpectedEof`.
    ///
    /// # Errors
    ///
    /// Whatever the file system reports; so for every method here.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`, growing the file as needed. After an error any prefix
    /// may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Length in bytes.
    fn size(&self) -> io::Result<u64>;

    /// Cuts the file off, or grows it with zeros.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Makes everything written before it durable.
    fn sync(&self) -> io::Result<()>;
}

/// Whether [`Fs::open`] may make a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// The file must be there.
    Existing,
    /// Make it when it is not there; keep what is in it when it is.
    CreateOrKeep,
    /// Make it; empty it when it is there.
    CreateOrTruncate,
}

/// Holds a lock of [`Fs::try_lock`]; dropping it gives the lock back.
pub trait LockGuard: Debug + Send + Sync + 'static {}

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        std::fs::create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn FsFile>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(mode != OpenMode::Existing)
            .truncate(mode == OpenMode::CreateOrTruncate)
            .open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    // Other systems cannot open a directory as a file, and make names durable with the file.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self, path: &Path) -> io::Result<Option<Box<dyn LockGuard>>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Box::new(OsLock(file)))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

#[derive(Debug)]
struct OsFile(File);

impl FsFile for OsFile {
    #[cfg(unix)]
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.0, out, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !out.is_empty() {
            match self.0.seek_read(out, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => {
                    offset += read as u64;
                    out = &mut out[read..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !bytes.is_empty() {
            match self.0.seek_write(bytes, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    offset += written as u64;
                    bytes = &bytes[written..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[derive(Debug)]
struct OsLock(File);

impl LockGuard for OsLock {}

impl Drop for OsLock {
    /// Gives the lock back by name: closing is not enough while a process that is being started
    /// elsewhere in this one still has a copy of the descriptor.
    fn drop(&mut self) {
        // What fails here leaves the lock to the closing of the file.
        let _closed_anyway = self.0.unlock();
    }
}
