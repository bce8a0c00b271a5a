//! A file sink that takes part in two phases: what is visible came from exactly one checkpoint.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::file_format::{FileFormat, Lines};
use crate::operator::SubtaskInfo;
use crate::sink::TransactionalSink;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Writes elements into files of a directory: lines, or another [`FileFormat`] (Flink's `FileSink`).
///
/// The elements between two barriers go into a file whose name begins with a dot. At the barrier it is synced,
/// and when the checkpoint is complete it is renamed to `part-SUBTASK-CHECKPOINT`: whoever reads the
/// files without a dot reads each element exactly once, whatever failed in between. A directory that has files
/// of another job keeps them: names that are taken get a number.
pub struct FileSink<F: FileFormat> {
    directory: PathBuf,
    format: F,
    subtask: usize,
    open: Option<F::Writer>,
}

impl<F: FileFormat> std::fmt::Debug for FileSink<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl<T: Send + 'static, F: Fn(&T) -> String + Send + 'static> FileSink<Lines<T, F>> {
    /// Writes what `line` makes of each element, and a line end, into `directory`, which is created.
    pub fn new(directory: impl Into<PathBuf>, line: F) -> Self {
        Self::with_format(directory, Lines::new(line))
    }
}

impl<F: FileFormat> FileSink<F> {
    /// Writes files of this format into `directory`, which is created.
    pub fn with_format(directory: impl Into<PathBuf>, format: F) -> Self {
        Self {
            directory: directory.into(),
            format,
            subtask: 0,
            open: None,
        }
    }

    fn open_path(&self) -> PathBuf {
        self.directory.join(format!(".open-{}", self.subtask))
    }

    /// A name that no visible file has: a job that began anew counts its checkpoints from 1 again.
    fn free_name(&self, checkpoint: u64) -> String {
        let extension = self.format.extension();
        let stem = format!("part-{}-{checkpoint:010}", self.subtask);
        let mut name = format!("{stem}{extension}");
        let mut n = 1;
        while self.directory.join(&name).exists() {
            name = format!("{stem}-{n}{extension}");
            n += 1;
        }
        name
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.directory.join(format!(".{name}"))
    }
}

/// Which subtask wrote the hidden file of this name.
fn writer_of(name: &str) -> Option<usize> {
    let rest = name
        .strip_prefix(".part-")
        .or_else(|| name.strip_prefix(".open-"))?;
    rest.split('-').next()?.parse().ok()
}

pub(crate) fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { operation, source }
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(io("open the sink's directory"))?;
    directory
        .sync_all()
        .map_err(io("sync the sink's directory"))
}

impl<F: FileFormat> TransactionalSink<F::In> for FileSink<F> {
    fn open(&mut self, info: &SubtaskInfo, prepared: &[Vec<u8>]) -> Result<()> {
        self.subtask = info.subtask;
        fs::create_dir_all(&self.directory).map_err(io("create the sink's directory"))?;
        for transaction in prepared {
            self.commit(transaction)?;
        }
        // What is still hidden was prepared for checkpoints that never were. A job that has fewer subtasks now
        // shares the files of the others out.
        for entry in fs::read_dir(&self.directory).map_err(io("list the sink's directory"))? {
            let entry = entry.map_err(io("list the sink's directory"))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let mine =
                writer_of(&name).is_some_and(|writer| writer % info.parallelism == self.subtask);
            let listed = |t: &Vec<u8>| name.as_bytes().get(1..) == Some(t.as_slice());
            if mine && !prepared.iter().any(listed) {
                fs::remove_file(entry.path()).map_err(io("remove a file of the sink"))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, element: Element<F::In>) -> Result<()> {
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => {
                let file = File::create(self.open_path()).map_err(io("create a file"))?;
                self.open.insert(self.format.begin(file)?)
            }
        };
        self.format.write(writer, element)
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>> {
        let Some(writer) = self.open.take() else {
            return Ok(None);
        };
        let file = self.format.finish(writer)?;
        file.sync_all().map_err(io("sync a file"))?;
        let name = self.free_name(checkpoint);
        fs::rename(self.open_path(), self.hidden(&name)).map_err(io("rename a file"))?;
        sync_directory(&self.directory)?;
        Ok(Some(name.into_bytes()))
    }

    fn commit(&mut self, transaction: &[u8]) -> Result<()> {
        let name = std::str::from_utf8(transaction).map_err(Error::user)?;
        let (hidden, visible) = (self.hidden(name), self.directory.join(name));
        match fs::rename(&hidden, &visible) {
            Ok(()) => sync_directory(&self.directory),
            // committed before
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && visible.exists() => {
                Ok(())
            }
            Err(error) => Err(io("make a file visible")(error)),
        }
    }
}
