//! A source of the lines of files.

use crate::error::{Error, Result};
use crate::file_sink::io;
use crate::source::{Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Split};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// The longest line that is read.
const MAX_LINE_BYTES: u64 = 1 << 20;

/// Yields the lines of files, without their ends (Flink's `FileSource` with `TextLineInputFormat`). Each file is a
/// split, read from its start to its end: with parallelism `p` so many are read at a time.
///
/// The files must not change while the job runs or is restarted: the position is a number of bytes. What is not
/// UTF-8 is replaced by U+FFFD; a line of more than 1 MiB fails the job, with the file and the place named.
///
/// ```
/// # use operators::{FileSource, JobConfig, StreamEnvironment};
/// # let directory = tempfile::tempdir().unwrap();
/// std::fs::write(directory.path().join("a.txt"), "to be\nor not\n").unwrap();
/// let env = StreamEnvironment::new();
/// let lines = env
///     .source("lines", FileSource::directory(directory.path())?)
///     .collect("out");
/// env.execute(JobConfig::default())?.wait()?;
/// assert_eq!(lines.take(), ["to be", "or not"]);
/// # Ok::<(), operators::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct FileSource {
    paths: Vec<PathBuf>,
}

impl FileSource {
    /// These files.
    pub fn new(paths: impl IntoIterator<Item = impl Into<PathBuf>>) -> Self {
        Self {
            paths: paths.into_iter().map(Into::into).collect(),
        }
    }

    /// The files that lie in a directory now, in the order of their names; not those whose names begin with a
    /// dot, which are under way.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn directory(path: impl AsRef<Path>) -> Result<Self> {
        let mut paths = Vec::new();
        let list = io("list the directory of a file source");
        for entry in std::fs::read_dir(path).map_err(list)? {
            let entry = entry.map_err(io("list the directory of a file source"))?;
            let path = entry.path();
            if path.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
                paths.push(path);
            }
        }
        paths.sort();
        Ok(Self { paths })
    }

    /// The file of a split; a path that is not UTF-8 has an id that only this source can resolve.
    fn path_of(&self, id: &str) -> Option<&PathBuf> {
        self.paths.iter().find(|path| path.to_string_lossy() == id)
    }
}

impl Source for FileSource {
    type Item = String;
    type Reader = FileReader;

    fn splits(&self, _: usize) -> Result<Vec<Split>> {
        let ids = self.paths.iter().map(|path| path.to_string_lossy());
        Ok(ids.map(Split::new).collect())
    }

    fn open(&self, splits: Vec<Split>, _: SourceContext) -> Result<FileReader> {
        let files = splits
            .into_iter()
            .map(|split| {
                let path = self.path_of(&split.id);
                match (path, split.offset()) {
                    (Some(path), Some(offset)) => Ok(OpenFile {
                        path: path.clone(),
                        offset,
                        id: split.id,
                        lines: None,
                    }),
                    _ => Err(Error::Incompatible {
                        what: format!("file split {split:?}"),
                    }),
                }
            })
            .collect::<Result<_>>()?;
        Ok(FileReader {
            files,
            done: Vec::new(),
        })
    }
}

#[derive(Debug)]
struct OpenFile {
    id: String,
    path: PathBuf,
    /// Bytes before the next line.
    offset: u64,
    /// Opened with the first line that is wanted.
    lines: Option<BufReader<File>>,
}

impl OpenFile {
    /// The next line; `None` at the end.
    fn next_line(&mut self) -> Result<Option<String>> {
        let lines = match &mut self.lines {
            Some(lines) => lines,
            None => {
                let mut file = File::open(&self.path).map_err(|error| self.error(&error))?;
                let size = file.metadata().map_err(|error| self.error(&error))?.len();
                if size < self.offset {
                    return Err(Error::Incompatible {
                        what: format!(
                            "{} has {size} bytes, and {} of it had been read",
                            self.path.display(),
                            self.offset
                        ),
                    });
                }
                file.seek(SeekFrom::Start(self.offset))
                    .map_err(|error| self.error(&error))?;
                self.lines.insert(BufReader::new(file))
            }
        };
        let mut line = Vec::new();
        let read = lines.take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line);
        let read = read.map_err(|error| self.error(&error))? as u64;
        if read == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
            if line.ends_with(b"\r") {
                line.pop();
            }
        } else if read > MAX_LINE_BYTES {
            return Err(self.failed(&"a line of more than 1 MiB"));
        }
        self.offset += read;
        Ok(Some(match String::from_utf8(line) {
            Ok(line) => line,
            Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
        }))
    }

    fn error(&self, error: &std::io::Error) -> Error {
        self.failed(error)
    }

    fn failed(&self, what: &dyn std::fmt::Display) -> Error {
        Error::user(format!(
            "{}, byte {}: {what}",
            self.path.display(),
            self.offset
        ))
    }
}

/// Reads a [`FileSource`].
#[derive(Debug)]
pub struct FileReader {
    files: VecDeque<OpenFile>,
    done: Vec<Split>,
}

impl SourceReader for FileReader {
    type Item = String;

    fn poll_batch(&mut self, max: usize, out: &mut SourceOutput<String>) -> Result<SourceStatus> {
        let mut left = max;
        while let Some(file) = self.files.front_mut() {
            while left > 0 {
                let Some(line) = file.next_line()? else { break };
                out.push(line);
                left -= 1;
            }
            if left == 0 {
                return Ok(SourceStatus::Ready);
            }
            let split = Split::new(file.id.clone()).at_offset(file.offset);
            self.done.push(split);
            self.files.pop_front();
        }
        Ok(SourceStatus::End)
    }

    fn positions(&self) -> Result<Vec<Split>> {
        let files = self.files.iter();
        let open = files.map(|file| Split::new(file.id.clone()).at_offset(file.offset));
        Ok(self.done.iter().cloned().chain(open).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceWaker;

    fn context() -> SourceContext {
        SourceContext {
            subtask: 0,
            parallelism: 1,
            waker: SourceWaker::noop(),
        }
    }

    fn read(reader: &mut FileReader, max: usize) -> (SourceStatus, Vec<String>) {
        let mut out = SourceOutput::default();
        let status = reader.poll_batch(max, &mut out).unwrap();
        let lines = out.take().into_iter().map(|element| element.value);
        (status, lines.collect())
    }

    #[test]
    fn a_reader_goes_on_where_another_was_at_any_line() {
        let directory = tempfile::tempdir().unwrap();
        let write =
            |name, bytes: &[u8]| std::fs::write(directory.path().join(name), bytes).unwrap();
        write("b", b"one\r\n\ntwo\n\xffthree");
        write("a", b"zero\n");
        write("c", b"");
        write(".hidden", b"no");
        let source = FileSource::directory(directory.path()).unwrap();
        let all = ["zero", "one", "", "two", "\u{fffd}three"];
        for stop in 0..=all.len() {
            let splits = source.splits(1).unwrap();
            assert_eq!(splits.len(), 3);
            let mut reader = source.open(splits, context()).unwrap();
            let (_, mut lines) = read(&mut reader, stop);
            let mut reader = source.open(reader.positions().unwrap(), context()).unwrap();
            let (status, rest) = read(&mut reader, 100);
            assert_eq!(status, SourceStatus::End);
            lines.extend(rest);
            assert_eq!(lines, all);
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("long");
        let mut bytes = b"short\n".to_vec();
        bytes.resize(bytes.len() + MAX_LINE_BYTES as usize, b'x');
        std::fs::write(&path, &bytes).unwrap();
        let source = FileSource::new([&path]);
        let open = |offset| {
            let split = source.splits(1).unwrap().remove(0).at_offset(offset);
            source.open(vec![split], context()).unwrap()
        };
        // exactly the limit
        assert_eq!(read(&mut open(0), 9).1.len(), 2);
        bytes.push(b'x');
        std::fs::write(&path, &bytes).unwrap();
        let fails = |mut reader: FileReader| {
            let mut out = SourceOutput::default();
            let error = reader.poll_batch(9, &mut out).unwrap_err();
            std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string)
        };
        let error = fails(open(0));
        assert!(
            error.contains("byte 6: a line of more than 1 MiB"),
            "{error}"
        );
        let error = fails(open(1 << 30));
        assert!(error.contains("had been read"), "{error}");
        std::fs::remove_file(&path).unwrap();
        let error = fails(open(0));
        assert!(error.contains("long, byte 0"), "{error}");
    }
}
