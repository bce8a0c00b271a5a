//! Files of events: CSV and JSONL, plain or packed with gzip.

mod columns;
mod lines;
#[cfg(test)]
mod tests;

use crate::{
    convert,
    error::{Error, Result},
    proto::v1::UserEvent,
};
use columns::Columns;
use flate2::read::MultiGzDecoder;
use lines::{Counted, Kept, MAX_LINE, read_line};
use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A line that is no event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadLine {
    /// Counted from 1, the header included.
    pub line: u64,
    /// What is wrong with it.
    pub problem: String,
}

/// What the next line of a file is.
#[derive(Debug, Clone, PartialEq)]
pub enum FileEvent {
    /// An event.
    Event(UserEvent),
    /// Not one; the file goes on behind it.
    Bad(BadLine),
}

/// Reads the events of a file one by one, in its order, with constant memory.
///
/// CSV has a header; columns may come in any order: `user` (or `user_id`), `item` (or `item_id`),
/// `event_type` (or `type`), `timestamp_ms` (or `timestamp`, in seconds), and where there is one
/// `session` (or `session_id`). Other columns become metadata. A file whose name ends in `.jsonl`,
/// `.ndjson` or `.json` has one of the tutorial's objects a line. A file that begins as gzip does is
/// unpacked.
pub struct EventFile {
    path: PathBuf,
    length: u64,
    consumed: Arc<AtomicU64>,
    lines: Box<dyn BufRead + Send>,
    /// Only CSV has them.
    columns: Option<Columns>,
    line: u64,
    buffer: Vec<u8>,
}

impl std::fmt::Debug for EventFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventFile")
            .field("path", &self.path)
            .field("line", &self.line)
            .finish_non_exhaustive()
    }
}

impl EventFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Config`] for a CSV file without the columns needed.
    pub fn open(path: &Path) -> Result<Self> {
        let file = fs::File::open(path).map_err(Error::io("open", path))?;
        let length = file.metadata().map_err(Error::io("open", path))?.len();
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted::new(file, Arc::clone(&consumed));
        let mut raw = BufReader::with_capacity(1 << 16, counted);
        let packed = raw
            .fill_buf()
            .map_err(Error::io("read", path))?
            .starts_with(&[0x1f, 0x8b]);
        let mut lines: Box<dyn BufRead + Send> = if packed {
            Box::new(BufReader::with_capacity(1 << 16, MultiGzDecoder::new(raw)))
        } else {
            Box::new(raw)
        };
        let mut buffer = Vec::new();
        let mut line = 0;
        let columns = if is_jsonl(path) {
            None
        } else {
            read_line(&mut *lines, &mut buffer).map_err(Error::io("read", path))?;
            line = 1;
            let columns = Columns::find(&buffer)
                .map_err(|problem| Error::Config(format!("{}: {problem}", path.display())))?;
            Some(columns)
        };
        Ok(Self {
            path: path.to_owned(),
            length,
            consumed,
            lines,
            columns,
            line,
            buffer,
        })
    }

    /// Length of the file in bytes, packed if it is.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Bytes of the file read so far.
    pub fn consumed(&self) -> u64 {
        self.consumed.load(Ordering::Relaxed)
    }

    /// The next line that is not empty; nothing at the end.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read on, as when it is no sound gzip file.
    pub fn read(&mut self) -> Result<Option<FileEvent>> {
        loop {
            let kept = read_line(&mut *self.lines, &mut self.buffer)
                .map_err(Error::io("read", &self.path))?;
            let Some(kept) = kept else {
                return Ok(None);
            };
            self.line += 1;
            let parsed = match (kept, std::str::from_utf8(&self.buffer)) {
                (Kept::Part, _) => Err(format!("longer than {MAX_LINE} bytes")),
                (Kept::Whole, Err(_)) => Err("not UTF-8".to_owned()),
                (Kept::Whole, Ok(text)) if text.trim().is_empty() => continue,
                (Kept::Whole, Ok(text)) => match &self.columns {
                    Some(columns) => columns.event(text),
                    None => convert::event_from_json(text),
                },
            };
            return Ok(Some(match parsed {
                Ok(event) => FileEvent::Event(event),
                Err(problem) => FileEvent::Bad(BadLine {
                    line: self.line,
                    problem,
                }),
            }));
        }
    }
}

fn is_jsonl(path: &Path) -> bool {
    let name = path.to_string_lossy().to_lowercase();
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    [".jsonl", ".ndjson", ".json"]
        .iter()
        .any(|ending| name.ends_with(ending))
}
