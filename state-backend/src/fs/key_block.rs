//! A few dozen rows of the index, in one allocation: keys in order, each without what it has in common with the
//! one before (front coding; Witten, Moffat and Bell, Managing Gigabytes, 4.1).

use super::index::Location;
use std::ops::Range;

/// Rows, keys ascending: for each `offset u32 LE | shared | length of the rest | segment | length of the frame | rest
/// of the key`, the numbers between as LEB128.
#[derive(Debug, Default)]
pub(super) struct KeyBlock {
    bytes: Vec<u8>,
}

/// Memory grows and shrinks by as much.
const STEP: usize = 64;

/// A row as it lies in a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    start: usize,
    rest_start: usize,
    /// Bytes that the key has in common with the one before.
    shared: usize,
    rest: &'a [u8],
    pub(super) at: Location,
}

impl Row<'_> {
    fn end(&self) -> usize {
        self.rest_start + self.rest.len()
    }
}

/// A row that is about to be changed.
struct Found {
    head: Range<usize>,
    shared: usize,
    /// Bytes of the rest of the key.
    rest: usize,
}

impl Found {
    fn of(row: &Row<'_>) -> Self {
        Self {
            head: row.start..row.rest_start,
            shared: row.shared,
            rest: row.rest.len(),
        }
    }
}

/// Where a key is, or would be.
#[derive(Debug)]
enum Search<'a> {
    Found(Row<'a>),
    /// Before the row that begins at `start`; in common with the key before, and with that of the row.
    Missing {
        start: usize,
        before: usize,
        after: usize,
    },
}

impl KeyBlock {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Memory it takes outside itself.
    pub(super) fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    fn row_at(&self, start: usize) -> Option<Row<'_>> {
        let (offset, mut rest) = self.bytes.get(start..)?.split_first_chunk::<4>()?;
        let [shared, len, segment, frame] = [(); 4].map(|()| take_number(&mut rest));
        Some(Row {
            start,
            rest_start: self.bytes.len() - rest.len(),
            shared: shared as usize,
            rest: &rest[..len as usize],
            at: Location {
                segment,
                offset: u32::from_le_bytes(*offset),
                len: frame,
            },
        })
    }

    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_>> {
        let mut next = 0;
        std::iter::from_fn(move || {
            let row = self.row_at(next)?;
            next = row.end();
            Some(row)
        })
    }

    /// Makes the key before the row's into the row's.
    pub(super) fn advance(key: &mut Vec<u8>, row: &Row<'_>) {
        key.truncate(row.shared);
        key.extend_from_slice(row.rest);
    }

    /// Compares as many bytes of the keys as it must: a row that has more, or less, in common with the one before than
    /// the key is known by that.
    fn search(&self, key: &[u8]) -> Search<'_> {
        let (mut start, mut before) = (0, 0);
        while let Some(row) = self.row_at(start) {
            let mut after = row.shared;
            if row.shared == before {
                let (own, wanted) = (row.rest, &key[before..]);
                let more = common(own, wanted);
                if more == own.len() && more == wanted.len() {
                    return Search::Found(row);
                }
                after += more;
                if own[more..] < wanted[more..] {
                    before = after;
                    start = row.end();
                    continue;
                }
            }
            if row.shared > before {
                start = row.end();
                continue;
            }
            return Search::Missing {
                start,
                before,
                after,
            };
        }
        Search::Missing {
            start,
            before,
            after: 0,
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Location> {
        match self.search(key) {
            Search::Found(row) => Some(row.at),
            Search::Missing { .. } => None,
        }
    }

    /// Says anew where a row lies if it lies at `from`.
    pub(super) fn relocate<E>(
        &mut self,
        key: &[u8],
        from: Location,
        to: impl FnOnce() -> Result<Location, E>,
    ) -> Result<bool, E> {
        let found = match self.search(key) {
            Search::Found(row) if row.at == from => Found::of(&row),
            _ => return Ok(false),
        };
        self.point(found, to()?);
        Ok(true)
    }

    fn point(&mut self, row: Found, at: Location) {
        let head = Head::new(row.shared, row.rest, at);
        self.replace(row.head, &[head.bytes()]);
    }

    /// Adds a row, or says anew where it lies.
    pub(super) fn insert(&mut self, key: &[u8], at: Location) -> Inserted {
        match self.search(key) {
            Search::Found(row) => {
                let (old, found) = (row.at, Found::of(&row));
                self.point(found, at);
                Inserted::Over(old)
            }
            Search::Missing {
                start,
                before,
                after,
            } => {
                let own = Head::new(before, key.len() - before, at);
                let (range, next) = match self.row_at(start) {
                    // The next one has more in common with this one than with the one before.
                    Some(next) => {
                        let dropped = after - next.shared;
                        let head = Head::new(after, next.rest.len() - dropped, next.at);
                        (start..next.rest_start + dropped, Some(head))
                    }
                    None => (start..start, None),
                };
                let next_head = next.as_ref().map_or(&[][..], Head::bytes);
                self.replace(range, &[own.bytes(), &key[before..], next_head]);
                Inserted::New {
                    start,
                    is_last: next.is_none(),
                }
            }
        }
    }

    /// Adds a row behind all others, of whose last key it has `shared` bytes; returns where it begins.
    pub(super) fn push(&mut self, key: &[u8], shared: usize, at: Location) -> usize {
        let head = Head::new(shared, key.len() - shared, at);
        let end = self.len();
        self.replace(end..end, &[head.bytes(), &key[shared..]]);
        end
    }

    pub(super) fn remove(&mut self, key: &[u8]) -> Option<Location> {
        let Search::Found(row) = self.search(key) else {
            return None;
        };
        let at = row.at;
        let mut range = row.start..row.end();
        let mut filled = Vec::new();
        if let Some(next) = self.row_at(row.end())
            && next.shared > row.shared
        {
            let lost = &row.rest[..next.shared - row.shared];
            let head = Head::new(row.shared, next.rest.len() + lost.len(), next.at);
            filled.extend_from_slice(head.bytes());
            filled.extend_from_slice(lost);
            range.end = next.rest_start;
        }
        self.replace(range, &[&filled]);
        Some(at)
    }

    /// Where the row begins at which to cut it into halves; `None`: there is but one.
    pub(super) fn middle(&self) -> Option<usize> {
        let mut starts = self.rows().map(|row| row.start).skip(1);
        let mut middle = starts.next()?;
        while middle < self.len() / 2
            && let Some(next) = starts.next()
        {
            middle = next;
        }
        Some(middle)
    }

    /// Cuts off the rows from the one that begins at `start`, not the first; also returns the shortest key between
    /// the two parts.
    pub(super) fn split_off(&mut self, start: usize) -> Option<(Vec<u8>, Self)> {
        let mut key = Vec::new();
        let first = self.rows().find(|row| {
            Self::advance(&mut key, row);
            row.start == start
        })?;
        let mut right = Self::default();
        let head = Head::new(0, key.len(), first.at);
        right.replace(0..0, &[head.bytes(), &key, &self.bytes[first.end()..]]);
        key.truncate(first.shared + 1);
        self.replace(start..self.len(), &[]);
        Some((key, right))
    }

    /// Appends rows with greater keys.
    pub(super) fn append(&mut self, other: &Self) {
        let Some(first) = other.row_at(0) else { return };
        let mut last = Vec::new();
        self.rows().for_each(|row| Self::advance(&mut last, &row));
        let shared = common(&last, first.rest);
        let head = Head::new(shared, first.rest.len() - shared, first.at);
        let rest = &other.bytes[first.rest_start + shared..];
        let end = self.len();
        self.replace(end..end, &[head.bytes(), rest]);
    }

    fn replace(&mut self, range: Range<usize>, with: &[&[u8]]) {
        let bytes = &mut self.bytes;
        let added: usize = with.iter().map(|part| part.len()).sum();
        let (old, len) = (bytes.len(), bytes.len() - range.len() + added);
        let behind = range.start + added;
        if len > old {
            if len > bytes.capacity() {
                bytes.reserve_exact(len.next_multiple_of(STEP) - old);
            }
            bytes.resize(len, 0);
        }
        bytes.copy_within(range.end..old, behind);
        bytes.truncate(len);
        let mut at = range.start;
        for part in with {
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        if bytes.capacity() >= len + 2 * STEP {
            bytes.shrink_to(len.next_multiple_of(STEP));
        }
    }
}

/// What [`KeyBlock::insert`] did.
#[derive(Debug)]
pub(super) enum Inserted {
    /// The row was there, at this place of the log.
    Over(Location),
    New {
        /// Where it begins.
        start: usize,
        is_last: bool,
    },
}

/// What comes before the key of a row.
struct Head {
    bytes: [u8; 4 + 4 * 5],
    len: usize,
}

impl Head {
    fn new(shared: usize, rest: usize, at: Location) -> Self {
        let mut head = Self {
            bytes: [0; 24],
            len: 4,
        };
        head.bytes[..4].copy_from_slice(&at.offset.to_le_bytes());
        // The log takes keys of less than 16 MiB.
        for mut number in [shared as u32, rest as u32, at.segment, at.len] {
            while number >= 0x80 {
                head.push(number as u8 | 0x80);
                number >>= 7;
            }
            head.push(number as u8);
        }
        head
    }

    fn push(&mut self, byte: u8) {
        self.bytes[self.len] = byte;
        self.len += 1;
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[inline]
fn take_number(bytes: &mut &[u8]) -> u32 {
    let (mut number, mut shift) = (0, 0);
    while let Some((&byte, rest)) = bytes.split_first() {
        *bytes = rest;
        number |= u32::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 || shift > 28 {
            break;
        }
    }
    number
}

/// How many bytes two keys begin with alike.
pub(super) fn common(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
