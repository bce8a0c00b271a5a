//! The few operations the log needs of a disk: the seam for the crash simulation.

use std::{
    fmt, fs,
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

/// One directory of segments.
pub(crate) trait Disk: fmt::Debug + Send + Sync {
    /// Names of the files there, in any order.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes an empty file, replacing what was there. Its name is durable after [`Disk::sync`].
    fn create(&self, name: &str) -> io::Result<Box<dyn Append>>;
    /// Opens a file to go on writing at `length`; what lies beyond is cut off.
    fn reopen(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>>;
    /// Opens a file for reading.
    fn read(&self, name: &str) -> io::Result<Box<dyn ReadAt>>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names created and removed durable.
    fn sync(&self) -> io::Result<()>;
}

/// A file that grows.
pub(crate) trait Append: fmt::Debug + Send {
    /// Adds the bytes at the end. After an error any part of them may be there.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;
    /// Cuts it to `length`, where the next bytes go.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
    /// After this everything appended survives a loss of power.
    fn sync(&mut self) -> io::Result<()>;
}

/// A file that is read anywhere.
pub(crate) trait ReadAt: fmt::Debug + Send {
    /// Fills `into` from byte `at` on.
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()>;
    /// Its length now.
    fn length(&mut self) -> io::Result<u64>;
}

/// A directory of the machine.
#[derive(Debug)]
pub(crate) struct LocalDisk {
    dir: PathBuf,
}

impl LocalDisk {
    /// Opens the directory, making it where it is missing.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        if let Some(parent) = dir.parent() {
            sync_dir(parent)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
        })
    }
}

/// Makes the names in a directory durable; a no-op where directories cannot be opened as files.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    if cfg!(unix) {
        let dir = if dir.as_os_str().is_empty() {
            Path::new(".")
        } else {
            dir
        };
        fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}

impl Disk for LocalDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.dir)?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn Append>> {
        Ok(Box::new(LocalFile(fs::File::create(self.dir.join(name))?)))
    }

    fn reopen(&self, name: &str, length: u64) -> io::Result<Box<dyn Append>> {
        let file = fs::OpenOptions::new()
            .write(true)
            .open(self.dir.join(name))?;
        let mut file = LocalFile(file);
        file.truncate(length)?;
        Ok(Box::new(file))
    }

    fn read(&self, name: &str) -> io::Result<Box<dyn ReadAt>> {
        Ok(Box::new(LocalFile(fs::File::open(self.dir.join(name))?)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        sync_dir(&self.dir)
    }
}

#[derive(Debug)]
struct LocalFile(fs::File);

impl Append for LocalFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.0.set_len(length)?;
        self.0.seek(SeekFrom::Start(length)).map(|_| ())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl ReadAt for LocalFile {
    fn read_at(&mut self, at: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.seek(SeekFrom::Start(at))?;
        self.0.read_exact(into)
    }

    fn length(&mut self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
