//! One input of a merge: a place in a sequence of rows, of which it holds a row group.

use super::sorted::Located;
use super::{MergedRows, Row, first_beyond};
use crate::blob::BlobStore;
use crate::error::{Error, Result};
use crate::parquet::{BatchBuilder, FileReader, RowGroupRows};
use state_backend::{KeyGroup, KeyGroupRange};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

/// An input that holds no rows: one that the merge has not come to, or that was put aside.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Its place among the inputs, the oldest first.
    pub(super) age: usize,
    /// No row of it comes before this key group.
    pub(super) start: u16,
    pub(super) source: Source,
}

/// What an input reads from.
#[derive(Debug)]
pub(super) enum Source {
    Files(Box<Files>),
    Merge(Box<Portions>),
}

/// A sequence of files, of which at most one is open.
#[derive(Debug)]
pub(super) struct Files {
    blobs: Arc<dyn BlobStore>,
    /// The key groups that are wanted.
    wanted: KeyGroupRange,
    /// The one at hand, and those after it.
    files: VecDeque<Located>,
    open: Option<OpenFile>,
    /// Row group and row of the first file to go on with.
    resume: Option<(usize, usize)>,
}

#[derive(Debug)]
struct OpenFile {
    reader: FileReader,
    row_groups: VecDeque<usize>,
    /// The one that was read last.
    current: usize,
}

/// Another merge, whose rows come a portion at a time: between two portions it has no file open.
#[derive(Debug)]
pub(super) struct Portions {
    pub(super) rows: MergedRows,
    /// Of keys and values, about.
    pub(super) bytes: usize,
}

/// An open input.
#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) age: usize,
    source: Source,
    /// The key groups that count.
    groups: KeyGroupRange,
    pub(super) rows: RowGroupRows,
    pub(super) at: usize,
}

/// What a source gives: rows, the key groups of them that count, and the row to begin with.
struct Piece {
    rows: RowGroupRows,
    groups: KeyGroupRange,
    at: usize,
}

impl Files {
    /// The rows of these files in the key groups `wanted`, of which each has some.
    pub(super) fn new(
        blobs: &Arc<dyn BlobStore>,
        wanted: KeyGroupRange,
        files: Vec<Located>,
    ) -> Self {
        Self {
            blobs: Arc::clone(blobs),
            wanted,
            files: files.into(),
            open: None,
            resume: None,
        }
    }

    fn next(&mut self, bytes: &mut u64) -> Result<Option<Piece>> {
        loop {
            let Some((path, file)) = self.files.front() else {
                return Ok(None);
            };
            let start = file.groups.start().max(self.wanted.start());
            let end = file.groups.end().min(self.wanted.end());
            let groups = KeyGroupRange::new(start, end)?;
            let resume = self.resume.take();
            let open = match &mut self.open {
                Some(open) => open,
                None => {
                    let reader = FileReader::open(&self.blobs, path.clone(), file)?;
                    let mut row_groups = VecDeque::from(reader.row_groups_of(groups));
                    if let Some((row_group, _)) = resume {
                        row_groups.retain(|at| *at >= row_group);
                    }
                    self.open.insert(OpenFile {
                        reader,
                        row_groups,
                        current: 0,
                    })
                }
            };
            let Some(next) = open.row_groups.pop_front() else {
                // One file is closed before the next one is opened.
                self.open = None;
                self.files.pop_front();
                continue;
            };
            open.current = next;
            // What was put aside has been counted.
            if resume.is_none() {
                *bytes += open.reader.row_group_bytes(next);
            }
            return Ok(Some(Piece {
                rows: open.reader.read(next)?,
                groups,
                at: resume.map_or(0, |(_, row)| row),
            }));
        }
    }

    fn rows_of(&self, group: KeyGroup) -> u64 {
        self.open
            .as_ref()
            .map_or(0, |open| open.reader.rows_of(group))
    }
}

impl Portions {
    fn next(&mut self, bytes: &mut u64) -> Result<Option<Piece>> {
        let mut portion = BatchBuilder::default();
        let before = self.rows.bytes_read();
        while portion.size() < self.bytes {
            let Some(row) = self.rows.next()? else { break };
            portion.push(row.group, row.key, row.value);
        }
        self.rows.put_aside()?;
        *bytes += self.rows.bytes_read() - before;
        if portion.rows() == 0 {
            return Ok(None);
        }
        let invalid = |what: String| Error::invalid("merge", "a portion", what);
        let portion = portion.take().map_err(|error| invalid(error.to_string()))?;
        Ok(Some(Piece {
            rows: RowGroupRows::from_batch(&portion).map_err(|what| invalid(what.to_owned()))?,
            groups: self.rows.groups,
            at: 0,
        }))
    }
}

impl Source {
    fn next(&mut self, bytes: &mut u64) -> Result<Option<Piece>> {
        match self {
            Self::Files(files) => files.next(bytes),
            Self::Merge(merge) => merge.next(bytes),
        }
    }
}

impl Cursor {
    /// The input at its first row that counts; none when it has none.
    pub(super) fn open(waiting: Waiting, bytes: &mut u64) -> Result<Option<Self>> {
        let Waiting {
            age, mut source, ..
        } = waiting;
        let Some(Piece { rows, groups, at }) = source.next(bytes)? else {
            return Ok(None);
        };
        let mut cursor = Self {
            age,
            source,
            groups,
            rows,
            at,
        };
        Ok(cursor.settle(bytes)?.then_some(cursor))
    }

    /// Whether its rows are in files, and can be read again.
    pub(super) fn reads_files(&self) -> bool {
        matches!(self.source, Source::Files(_))
    }

    /// The input without its rows, to be opened again where it stands if it [reads files](Self::reads_files).
    pub(super) fn put_aside(mut self) -> Waiting {
        if let Source::Files(files) = &mut self.source {
            files.resume = files.open.take().map(|open| (open.current, self.at));
        }
        Waiting {
            age: self.age,
            start: self.key().0,
            source: self.source,
        }
    }

    /// Goes on to the next row; false at the end.
    pub(super) fn advance(&mut self, bytes: &mut u64) -> Result<bool> {
        self.at += 1;
        self.settle(bytes)
    }

    /// Goes on to the next row that counts, which may be this one.
    fn settle(&mut self, bytes: &mut u64) -> Result<bool> {
        // The last row that counted, to see that the next one comes after it.
        let mut last: Option<(u16, Vec<u8>)> = None;
        loop {
            while self.at < self.rows.len() {
                let group = self.rows.groups.value(self.at);
                if group > self.groups.end().get() {
                    break;
                }
                if group >= self.groups.start().get() {
                    let ascends = |(group, key): (u16, Vec<u8>)| (group, &key[..]) < self.key();
                    return match last.is_none_or(ascends) {
                        true => Ok(true),
                        false => Err(self.disorder()),
                    };
                }
                self.at += 1;
            }
            last = last.or_else(|| self.last_counted());
            let Some(Piece { rows, groups, at }) = self.source.next(bytes)? else {
                return Ok(false);
            };
            (self.rows, self.groups, self.at) = (rows, groups, at);
        }
    }

    /// The row before this one, if it counted.
    fn last_counted(&self) -> Option<(u16, Vec<u8>)> {
        let (group, key) = self.rows.key(self.at.checked_sub(1)?);
        let counted = (self.groups.start().get()..=self.groups.end().get()).contains(&group);
        counted.then(|| (group, key.to_vec()))
    }

    /// A sequence that is none would make an older row win, or a row come twice.
    fn disorder(&self) -> Error {
        let path = match &self.source {
            Source::Files(files) => files.files.front().map(|(path, _)| path.clone()),
            Source::Merge(_) => None,
        };
        Error::corrupted(&path.unwrap_or_default(), "its rows are out of order")
    }

    pub(super) fn key(&self) -> (u16, &[u8]) {
        self.rows.key(self.at)
    }

    pub(super) fn row(&self) -> Row<'_> {
        let (group, key) = self.key();
        Row {
            group,
            key,
            value: self.rows.value(self.at),
        }
    }

    pub(super) fn is_deletion(&self) -> bool {
        self.rows.is_deletion(self.at)
    }

    /// Rows in those row groups of the open file that have no other key group; in memory, those at hand.
    pub(super) fn rows_of(&self, group: KeyGroup) -> u64 {
        match &self.source {
            Source::Files(files) => files.rows_of(group),
            Source::Merge(_) => 0,
        }
    }

    /// The live rows from this one on, of its key group, that come before any other input's, `until` being the least
    /// of those, and `waiting` the key group from which on others wait.
    pub(super) fn run(&self, until: Option<(u16, &[u8])>, waiting: Option<u16>) -> Range<usize> {
        let groups = &self.rows.groups;
        let group = groups.value(self.at);
        let last = self.at + 1;
        if waiting.is_some_and(|start| start <= group) {
            return self.at..last;
        }
        let mut end = first_beyond(last, self.rows.len(), |row| groups.value(row) == group);
        if let Some(until) = until.filter(|(other, _)| *other == group) {
            end = first_beyond(last, end, |row| self.rows.key(row) < until);
        }
        self.at..self.rows.first_deletion(last..end)
    }
}
