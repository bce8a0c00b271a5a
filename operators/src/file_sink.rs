//! A file sink that takes part in two phases: what is visible came from exactly one checkpoint.

use crate::element::Element;
use crate::error::{Error, Result};
use crate::operator::SubtaskInfo;
use crate::sink::TransactionalSink;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Writes each element as a line into files of a directory.
///
/// The lines between two barriers go into a file whose name begins with a dot. At the barrier it is synced,
/// and when the checkpoint is complete it is renamed to `part-SUBTASK-CHECKPOINT`: whoever reads the
/// files without a dot reads each line exactly once, whatever failed in between.
pub struct FileSink<F> {
    directory: PathBuf,
    format: Arc<F>,
    subtask: usize,
    open: Option<BufWriter<File>>,
}

impl<F> std::fmt::Debug for FileSink<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("directory", &self.directory)
            .finish_non_exhaustive()
    }
}

impl<F> FileSink<F> {
    /// Writes what `format` makes of each element into `directory`, which is created.
    pub fn new(directory: impl Into<PathBuf>, format: F) -> Self {
        let directory = directory.into();
        Self {
            directory,
            format: Arc::new(format),
            subtask: 0,
            open: None,
        }
    }

    fn open_path(&self) -> PathBuf {
        self.directory.join(format!(".open-{}", self.subtask))
    }

    fn name(&self, checkpoint: u64) -> String {
        format!("part-{}-{checkpoint:010}", self.subtask)
    }

    fn hidden(&self, name: &str) -> PathBuf {
        self.directory.join(format!(".{name}"))
    }
}

fn io(operation: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |source| Error::Io { operation, source }
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = File::open(path).map_err(io("open the sink's directory"))?;
    directory
        .sync_all()
        .map_err(io("sync the sink's directory"))
}

impl<T, F> TransactionalSink<T> for FileSink<F>
where
    F: Fn(&T) -> String + Send + Sync + 'static,
{
    fn open(&mut self, info: &SubtaskInfo, prepared: &[Vec<u8>]) -> Result<()> {
        self.subtask = info.subtask;
        fs::create_dir_all(&self.directory).map_err(io("create the sink's directory"))?;
        for transaction in prepared {
            TransactionalSink::<T>::commit(self, transaction)?;
        }
        // what is hidden and of this subtask was prepared for checkpoints that never were
        let mine = format!(".part-{}-", self.subtask);
        for entry in fs::read_dir(&self.directory).map_err(io("list the sink's directory"))? {
            let entry = entry.map_err(io("list the sink's directory"))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let listed = |t: &Vec<u8>| name.as_bytes().get(1..) == Some(t.as_slice());
            if name.starts_with(&mine) && !prepared.iter().any(listed) {
                fs::remove_file(entry.path()).map_err(io("remove a file of the sink"))?;
            }
        }
        Ok(())
    }

    fn write(&mut self, element: Element<T>) -> Result<()> {
        let line = (self.format)(&element.value);
        let writer = match &mut self.open {
            Some(writer) => writer,
            None => {
                let file = File::create(self.open_path()).map_err(io("create a file"))?;
                self.open.insert(BufWriter::new(file))
            }
        };
        writeln!(writer, "{line}").map_err(io("write a line"))
    }

    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>> {
        let Some(writer) = self.open.take() else {
            return Ok(None);
        };
        let file = writer
            .into_inner()
            .map_err(|error| io("write a file")(error.into_error()))?;
        file.sync_all().map_err(io("sync a file"))?;
        let name = self.name(checkpoint);
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
