//! A chain of files as one sorted sequence of rows, the newest version of each.

use crate::blob::BlobStore;
use crate::error::Result;
use crate::ids::BlobPath;
use crate::manifest::{FileRef, Manifest};
use crate::parquet::{FileReader, RowGroupRows};
use arrow_array::{Array, BinaryArray};
use state_backend::{KeyGroup, KeyGroupRange};
use std::collections::VecDeque;
use std::ops::Range;
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
    /// The key group of the last run, and about how many rows it has.
    sized: Option<(u16, u64)>,
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
        let located = files.into_iter().map(|file| (manifest.locate(file), file));
        Self::located(blobs, located, groups)
    }

    /// As [`new`](Self::new), of files whose places are known.
    pub(crate) fn located<'a>(
        blobs: &Arc<dyn BlobStore>,
        files: impl IntoIterator<Item = (BlobPath, &'a FileRef)>,
        groups: KeyGroupRange,
    ) -> Self {
        let mut waiting: Vec<Waiting> = files
            .into_iter()
            .enumerate()
            .filter_map(|(age, (path, file))| {
                let start = file.groups.start().max(groups.start());
                let end = file.groups.end().min(groups.end());
                Some(Waiting {
                    age,
                    path,
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
            sized: None,
            bytes_read: 0,
        }
    }

    /// Bytes of row groups read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn rows_of(&self, group: KeyGroup) -> u64 {
        let of_file = |cursor: &Cursor| cursor.reader.rows_of(group);
        self.open.iter().map(of_file).max().unwrap_or(0)
    }

    /// The next row; a deletion is a row without value. After an error the merge is of no use.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>> {
        self.step()?;
        Ok(self
            .current
            .and_then(|at| self.open.get(at))
            .map(Cursor::row))
    }

    /// The next rows that are alive, as many as lie side by side in one key group of one row group. After an
    /// error the merge is of no use.
    pub(crate) fn next_run(&mut self) -> Result<Option<Run<'_>>> {
        loop {
            self.step()?;
            let Some(current) = self.current else {
                return Ok(None);
            };
            let cursor = &self.open[current];
            if cursor.rows.values.is_null(cursor.at) {
                continue;
            }
            let until = self.runner_up.map(|other| self.open[other].key());
            let end = cursor.run_end(until, self.waiting.front());
            let group = KeyGroup::new(cursor.key().0);
            let rows = cursor.at..end;
            self.open[current].at = end - 1;
            let group_rows = match self.sized {
                Some((sized, rows)) if sized == group.get() => rows,
                _ => self.rows_of(group),
            };
            self.sized = Some((group.get(), group_rows));
            return Ok(Some(Run {
                group,
                source: &self.open[current].rows,
                rows,
                group_rows,
            }));
        }
    }

    fn step(&mut self) -> Result<()> {
        if let Some(current) = self.current {
            let ended = !self.advance(current)?;
            if ended || !self.still_least(current) {
                self.current = None;
            }
        }
        if self.current.is_none() {
            self.search()?;
        }
        Ok(())
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

/// First of the rows `from..to` that is not `before`, which only those at the front are; found in steps that
/// double, since it is often near.
fn first_beyond(from: usize, to: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut step) = (from, 1);
    while low + step <= to && before(low + step - 1) {
        low += step;
        step *= 2;
    }
    let mut high = (low + step - 1).min(to);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// Rows side by side in a row group, all of one key group and alive.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) group: KeyGroup,
    source: &'a RowGroupRows,
    rows: Range<usize>,
    /// How many rows the key group has, about: as many as the file that has the most of it in row groups of
    /// its own. Key groups that share row groups are small, and count as none.
    pub(crate) group_rows: u64,
}

impl Run<'_> {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Key and value of each row.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let RowGroupRows { keys, values, .. } = self.source;
        let rows = self.rows.clone();
        rows.map(|row| (keys.value(row), values.value(row)))
    }

    /// Offsets and bytes of the keys.
    pub(crate) fn keys(&self) -> (&[i32], &[u8]) {
        self.column(&self.source.keys)
    }

    /// Offsets and bytes of the values.
    pub(crate) fn values(&self) -> (&[i32], &[u8]) {
        self.column(&self.source.values)
    }

    fn column<'c>(&self, column: &'c BinaryArray) -> (&'c [i32], &'c [u8]) {
        let offsets = &column.value_offsets()[self.rows.start..=self.rows.end];
        (offsets, column.value_data())
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

    /// Where the live rows of this row's key group end that come before any other cursor's, `until` being the
    /// least of those.
    fn run_end(&self, until: Option<(u16, &[u8])>, waiting: Option<&Waiting>) -> usize {
        let (groups, values) = (&self.rows.groups, &self.rows.values);
        let group = groups.value(self.at);
        if waiting.is_some_and(|file| file.groups.start().get() <= group) {
            return self.at + 1;
        }
        let last = self.at + 1;
        let mut end = first_beyond(last, self.rows.len(), |row| groups.value(row) == group);
        if let Some(until) = until.filter(|(other, _)| *other == group) {
            end = first_beyond(last, end, |row| self.rows.key(row) < until);
        }
        if values.null_count() > 0 {
            end = (last..end).find(|row| values.is_null(*row)).unwrap_or(end);
        }
        end
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
