//! A chain of files as one sorted sequence of rows, the newest version of each.

mod cursor;
mod sorted;

pub(crate) use sorted::{Located, SortedRun, file_overlap, overlap, sorted_runs};

use crate::blob::BlobStore;
use crate::error::Result;
use crate::parquet::RowGroupRows;
use arrow_array::BinaryArray;
use cursor::{Cursor, Files, Portions, Source, Waiting};
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

/// What a merge holds at a time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MergeLimits {
    /// Most files that are open; at least 2.
    pub(crate) fan_in: usize,
    /// Bytes of rows that wait in memory where more files than that have rows of one key group, shared out evenly.
    pub(crate) waiting_bytes: usize,
}

/// Merges the files of one state, oldest first, into ascending order of key group and key. Where
/// several files have a key, the newest decides.
///
/// Files that follow each other (the parts of a compaction, or files with other key groups) are one input, and an
/// input holds one file open and one row group of it. It is opened when the merge comes to its first key group and
/// closed after its last row. So a chain of files that follow each other costs the memory of one of them, and a chain
/// of n deltas over a base that of n + 1 row groups.
///
/// More inputs than [`MergeLimits::fan_in`] are merged in two steps: half as many at a time, the rows of each such merge in
/// portions, between which its files are closed, and those portions with each other. Files are opened again for each
/// portion: n inputs with b bytes of rows and m bytes of portions take n · b / m openings. That is for
/// chains which nobody has compacted; a compaction takes passes instead.
#[derive(Debug)]
pub(crate) struct MergedRows {
    groups: KeyGroupRange,
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

impl MergedRows {
    /// The rows in `groups` of those files, which are in the order in which they apply.
    pub(crate) fn new(
        blobs: &Arc<dyn BlobStore>,
        files: impl IntoIterator<Item = Located>,
        groups: KeyGroupRange,
        limits: MergeLimits,
    ) -> Self {
        let wanted = files
            .into_iter()
            .filter(|(_, file)| file.groups.intersects(groups));
        let runs = sorted_runs(wanted);
        let fan_in = limits.fan_in.max(2);
        if overlap(&runs) <= fan_in {
            return Self::of_runs(blobs, runs, groups);
        }
        // Half of the memory for those at hand, the rest for what the others wait with.
        let at_hand = fan_in / 2;
        let merges = runs.len().div_ceil(at_hand);
        let inputs = runs.chunks(at_hand).map(|runs| {
            let starts = runs.iter().map(|run| start_of(run, groups));
            let start = starts.min().unwrap_or_default();
            let merge = Portions {
                rows: Self::of_runs(blobs, runs.to_vec(), groups),
                // At least a row.
                bytes: (limits.waiting_bytes / merges).max(1),
            };
            (start, Source::Merge(Box::new(merge)))
        });
        let inputs = inputs.collect();
        Self::of_inputs(inputs, groups)
    }

    fn of_runs(blobs: &Arc<dyn BlobStore>, runs: Vec<SortedRun>, groups: KeyGroupRange) -> Self {
        let input = |run: SortedRun| {
            let start = start_of(&run, groups);
            (
                start,
                Source::Files(Box::new(Files::new(blobs, groups, run.files))),
            )
        };
        Self::of_inputs(runs.into_iter().map(input).collect(), groups)
    }

    /// Of inputs with the key group that each begins with.
    fn of_inputs(inputs: Vec<(u16, Source)>, groups: KeyGroupRange) -> Self {
        let waiting = inputs.into_iter().enumerate();
        let waiting = waiting.map(|(age, (start, source))| Waiting { age, start, source });
        let mut merge = Self {
            groups,
            waiting: waiting.collect(),
            open: Vec::new(),
            current: None,
            runner_up: None,
            sized: None,
            bytes_read: 0,
        };
        merge.sort_waiting();
        merge
    }

    fn sort_waiting(&mut self) {
        let waiting = self.waiting.make_contiguous();
        waiting.sort_unstable_by_key(|input| (input.start, input.age));
    }

    /// Closes all files. The next row opens those again that it takes.
    fn put_aside(&mut self) -> Result<()> {
        if let Some(current) = self.current.take() {
            self.advance(current)?;
        }
        self.runner_up = None;
        let open = std::mem::take(&mut self.open).into_iter();
        let (closed, open): (Vec<_>, Vec<_>) = open.partition(Cursor::reads_files);
        self.waiting
            .extend(closed.into_iter().map(Cursor::put_aside));
        self.open = open;
        self.sort_waiting();
        Ok(())
    }

    /// Bytes of row groups read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.bytes_read
    }

    fn rows_of(&self, group: KeyGroup) -> u64 {
        let of_input = |cursor: &Cursor| cursor.rows_of(group);
        self.open.iter().map(of_input).max().unwrap_or(0)
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
            if cursor.is_deletion() {
                continue;
            }
            let until = self.runner_up.map(|other| self.open[other].key());
            let waiting = self.waiting.front().map(|input| input.start);
            let rows = cursor.run(until, waiting);
            let group = KeyGroup::new(cursor.key().0);
            self.open[current].at = rows.end - 1;
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
        let more = self.open[at].advance(&mut self.bytes_read)?;
        if !more {
            self.open.remove(at);
        }
        Ok(more)
    }

    fn still_least(&self, current: usize) -> bool {
        let (group, key) = self.open[current].key();
        let waiting = self.waiting.front();
        let behind_waiting = waiting.is_none_or(|input| group < input.start);
        behind_waiting
            && self
                .runner_up
                .is_none_or(|other| (group, key) < self.open[other].key())
    }

    /// Opens what the merge has come to, passes older versions, and finds the least key.
    fn search(&mut self) -> Result<()> {
        loop {
            let least_open = self.open.iter().map(|cursor| cursor.key().0).min();
            let due = |input: &Waiting| least_open.is_none_or(|least| input.start <= least);
            if !self.waiting.front().is_some_and(due) {
                break;
            }
            let Some(input) = self.waiting.pop_front() else {
                break;
            };
            if let Some(cursor) = Cursor::open(input, &mut self.bytes_read)? {
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

/// The first key group that is wanted of these files.
fn start_of(run: &SortedRun, wanted: KeyGroupRange) -> u16 {
    let first = run.files.first().map(|(_, file)| file.groups.start());
    let start = first.unwrap_or_else(|| wanted.start());
    start.max(wanted.start()).get()
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
