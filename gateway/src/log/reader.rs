//! Reads the log from a position on and follows it; sees durable records only.

use super::{
    disk::Disk,
    segment::{self, Cursor},
    shared::Shared,
};
use crate::{
    error::{Error, Result},
    proto::log::{Entry, Record},
};
use prost::Message;
use std::{collections::VecDeque, sync::Arc};

/// A reader at a position.
#[derive(Debug)]
pub(crate) struct LogReader {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    /// Position of the next entry to hand out.
    position: u64,
    /// Position of the next frame to read.
    frame: u64,
    open: Option<(u64, Cursor)>,
    /// Entries of the last frame, not yet handed out.
    ready: VecDeque<Entry>,
}

impl LogReader {
    pub(crate) fn new(disk: Arc<dyn Disk>, shared: Arc<Shared>, position: u64) -> Result<Self> {
        let stats = shared.stats();
        if position < stats.first || position > stats.end {
            return Err(Error::LogPosition {
                requested: position,
                first: stats.first,
                end: stats.end,
            });
        }
        Ok(Self {
            disk,
            shared,
            position,
            frame: position,
            open: None,
            ready: VecDeque::new(),
        })
    }

    /// The position of the next entry [`LogReader::read`] gives.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Appends up to `max` entries with their positions; returns how many. 0: none is durable yet.
    ///
    /// # Errors
    /// [`Error::LogCorrupted`]; [`Error::LogPosition`] when the position was trimmed away;
    /// [`Error::Io`].
    pub(crate) fn read(&mut self, max: usize, out: &mut Vec<(u64, Entry)>) -> Result<usize> {
        let mut given = 0;
        while given < max {
            let Some(entry) = self.ready.pop_front() else {
                if self.fill()? {
                    continue;
                }
                break;
            };
            out.push((self.position, entry));
            self.position += 1;
            given += 1;
        }
        Ok(given)
    }

    /// Reads the next frame; false when there is none.
    fn fill(&mut self) -> Result<bool> {
        let (segment, end) = self.shared.segment_of(self.frame);
        if self.frame >= end {
            return Ok(false);
        }
        let Some(segment) = segment else {
            return Err(Error::LogPosition {
                requested: self.frame,
                first: self.shared.stats().first,
                end,
            });
        };
        let name = segment::name(segment.first);
        let cursor = match &mut self.open {
            Some((first, cursor)) if *first == segment.first => cursor,
            open => {
                let cursor = Cursor::open(&*self.disk, &name, segment.first, segment.bytes)?;
                &mut open.insert((segment.first, cursor)).1
            }
        };
        let Some((header, payload)) = cursor.next(segment.bytes)? else {
            return Err(Error::LogCorrupted {
                segment: name,
                byte: segment.bytes,
                problem: "the segment ends before the next one begins",
            });
        };
        let after = header.first + u64::from(header.entries);
        if after <= self.frame {
            return Ok(true);
        }
        let corrupted = |problem| Error::LogCorrupted {
            segment: name.clone(),
            byte: segment.bytes,
            problem,
        };
        if header.first > self.frame {
            return Err(corrupted("positions do not follow"));
        }
        let record = Record::decode(payload)
            .map_err(|_| corrupted("sound frame with a payload that does not decode"))?;
        if record.entries.len() != header.entries as usize {
            return Err(corrupted("number of entries differs from the frame's"));
        }
        // Reading may begin inside a frame.
        let skip = (self.frame - header.first) as usize;
        self.ready.extend(record.entries.into_iter().skip(skip));
        self.frame = after;
        Ok(true)
    }
}
