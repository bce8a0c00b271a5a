//! A chain of files as one sorted sequence of rows, the newest version of each.

use crate::blob::BlobStore;
use crate::error::Result;
use crate::ids::BlobPath;
use crate::manifest::{FileRef, Manifest};
use crate::parquet::{FileReader, RowGroupRows};
use state_backend::{KeyGroup, KeyGroupRange};
use std::collections::VecDeque;
use std::sync::Arc;

/// One row, borrowed from the row group it was read from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    pub(crate) group: u16,
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// Merges the files of one state, oldest first, into ascending order of key group and key. Where
/// several files have a key, the newest decides.
///
/// A file is opened when the merge comes to its first key group and closed after its last row, and
/// holds one row group at a time. So a chain of files that follow each other costs the memory of
/// one of them, and a chain of n deltas over a base that of n + 1 row groups.
#[derive(Debug)]
pub(crate) struct MergedRows {
    blobs: Arc<dyn BlobStore>,
    /// By first key group; of equal ones the oldest first.
    waiting: VecDeque<Waiting>,
    /// Oldest first, none of them at its end.
    open: Vec<Cursor>,
    /// Whose row was given last, and is to be passed.
    current: Option<usize>,
    /// The cursor with the least key apart from the current one: as long as that key is greater,
    /// the current cursor goes on without any search.
    runner_up: Option<usize>,
    bytes_read: u64,
}

#[derive(Debug)]
struct Waiting {
    age: usize,
    path: BlobPath,
    file: FileRef,
    groups: KeyGroupRange,
}

#[derive(Debug)]
struct Cursor {
    age: usize,
    reader: FileReader,
    groups: KeyGroupRange,
    row_groups: VecDeque<usize>,
    rows: RowGroupRows,
    at: usize,
}

impl MergedRows {
    /// The rows in `groups` of those files, which are in the order in which they apply.
    pub(crate) fn new<'a>(
        blobs: &Arc<dyn BlobStore>,
        manifest: &Manifest,
        files: impl IntoIterator<Item = &'a FileRef>,
        groups: KeyGroupRange,
    ) -> Self {
        let mut waiting: Vec<Waiting> = files
            .into_iter()
            .enumerate()
            .filter_map(|(age, file)| {
                let start = file.groups.start().max(groups.start());
                let end = file.groups.end().min(groups.end());
                Some(Waiting {
                    age,
                    path: manifest.locate(file),
                    file: file.clone(),
                    groups: KeyGroupRange::new(start, end).ok()?,
                })
            })
            .collect();
        waiting.sort_by_key(|file| (file.groups.start(), file.age));
        Self {
            blobs: Arc::clone(blobs),
            waiting: waiting.into(),
            open: Vec::new(),
            current: None,
            runner_up: None,
            bytes_read: 0,
        }
    }

    /// Bytes of row groups read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    /// How many rows the key group of the row given last has, about: as many as the file that has the most
    /// of it in row groups of its own. Key groups that share row groups are small, and count as none.
    pub(crate) fn rows_of(&self, group: KeyGroup) -> u64 {
        let of_file = |cursor: &Cursor| cursor.reader.rows_of(group);
        self.open.iter().map(of_file).max().unwrap_or(0)
    }

    /// The next row; a deletion is a row without value. After an error the merge is of no use.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>> {
        if let Some(current) = self.current {
            let ended = !self.advance(current)?;
            if ended || !self.still_least(current) {
                self.current = None;
            }
        }
        if self.current.is_none() {
            self.search()?;
        }
        Ok(self
            .current
            .and_then(|at| self.open.get(at))
            .map(Cursor::row))
    }

    /// Moves a cursor on; at its end it is closed, and false returned.
    fn advance(&mut self, at: usize) -> Result<bool> {
        let cursor = &mut self.open[at];
        cursor.at += 1;
        let mut bytes = 0;
        let more = cursor.settle(&mut bytes)?;
        self.bytes_read += bytes;
        if !more {
            self.open.remove(at);
        }
        Ok(more)
    }

    fn still_least(&self, current: usize) -> bool {
        let (group, key) = self.open[current].key();
        let behind_waiting = self
            .waiting
            .front()
            .is_none_or(|file| group < file.groups.start().get());
        behind_waiting
            && self
                .runner_up
                .is_none_or(|other| (group, key) < self.open[other].key())
    }

    /// Opens what the merge has come to, passes older versions, and finds the least key.
    fn search(&mut self) -> Result<()> {
        loop {
            let least_open = self.open.iter().map(|cursor| cursor.key().0).min();
            let due =
                |file: &Waiting| least_open.is_none_or(|least| file.groups.start().get() <= least);
            if !self.waiting.front().is_some_and(due) {
                break;
            }
            let Some(file) = self.waiting.pop_front() else {
                break;
            };
            let mut bytes = 0;
            let cursor = Cursor::open(&self.blobs, file, &mut bytes)?;
            self.bytes_read += bytes;
            if let Some(cursor) = cursor {
                let place = self.open.partition_point(|other| other.age < cursor.age);
                self.open.insert(place, cursor);
            }
        }
        let Some(least) = (0..self.open.len()).min_by(|a, b| {
            let (a_key, b_key) = (self.open[*a].key(), self.open[*b].key());
            // Of equal keys the newest, which is the last.
            a_key.cmp(&b_key).then(b.cmp(a))
        }) else {
            self.current = None;
            return Ok(());
        };
        // Older versions of this key do not count. The winner moves down as they are closed.
        let mut winner = least;
        let mut at = 0;
        while at < winner {
            if self.open[at].key() == self.open[winner].key() && !self.advance(at)? {
                winner -= 1;
            } else {
                at += 1;
            }
        }
        let others = (0..self.open.len()).filter(|at| *at != winner);
        self.runner_up = others.min_by(|a, b| self.open[*a].key().cmp(&self.open[*b].key()));
        self.current = Some(winner);
        Ok(())
    }
}

impl Cursor {
    fn open(blobs: &Arc<dyn BlobStore>, file: Waiting, bytes: &mut u64) -> Result<Option<Self>> {
        let Waiting {
            age,
            path,
            file,
            groups,
        } = file;
        let reader = FileReader::open(blobs, path, &file)?;
        let mut row_groups = VecDeque::from(reader.row_groups_of(groups));
        let Some(first) = row_groups.pop_front() else {
            return Ok(None);
        };
        *bytes += reader.row_group_bytes(first);
        let rows = reader.read(first)?;
        let mut cursor = Self {
            age,
            reader,
            groups,
            row_groups,
            rows,
            at: 0,
        };
        Ok(cursor.settle(bytes)?.then_some(cursor))
    }

    /// Goes on to the next row that counts; false at the end.
    fn settle(&mut self, bytes: &mut u64) -> Result<bool> {
        loop {
            while self.at < self.rows.len() {
                let group = self.rows.groups.value(self.at);
                if group > self.groups.end().get() {
                    return Ok(false);
                }
                if group >= self.groups.start().get() {
                    return Ok(true);
                }
                self.at += 1;
            }
            let Some(next) = self.row_groups.pop_front() else {
                return Ok(false);
            };
            *bytes += self.reader.row_group_bytes(next);
            self.rows = self.reader.read(next)?;
            self.at = 0;
        }
    }

    fn key(&self) -> (u16, &[u8]) {
        self.rows.key(self.at)
    }

    fn row(&self) -> Row<'_> {
        let (group, key) = self.key();
        Row {
            group,
            key,
            value: self.rows.value(self.at),
        }
    }
}
