//! The one place that changes the log: group commit, deduplication, recovery, trimming. No thread and
//! no clock in here, so the crash simulation can stop it at every single operation.

use super::{
    LogOptions,
    disk::{Append, Disk},
    frame,
    producers::{Producers, Progress},
    segment,
    shared::{Segment, Shared},
};
use crate::{
    error::{Error, Result},
    proto::log::{Entry, Head, Record},
};
use prost::Message;
use std::{collections::VecDeque, io, sync::Arc};

/// One request to be made durable.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Who sends it; empty for no deduplication.
    pub(crate) producer: String,
    /// The number of `slots[0]`; without a producer it does not matter.
    pub(crate) first_sequence: u64,
    /// One a sequence number: an entry, or `None` for an event that was set aside.
    pub(crate) slots: Vec<Option<Entry>>,
}

/// What became durable of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Appended {
    /// The last number taken from the producer so far.
    pub(crate) last_sequence: u64,
    /// The position after the request's last entry.
    pub(crate) position: u64,
    /// How many of its slots had been taken before.
    pub(crate) duplicates: u32,
}

/// The log, for its single writer.
#[derive(Debug)]
pub(crate) struct LogWriter {
    disk: Arc<dyn Disk>,
    shared: Arc<Shared>,
    options: LogOptions,
    producers: Producers,
    file: Box<dyn Append>,
    /// First position and durable bytes of the segment being written.
    segment_first: u64,
    length: u64,
    /// The position the next entry gets.
    next: u64,
    rejected: u64,
    duplicates: u64,
    /// Why nothing is taken any more.
    stopped: Option<String>,
    buffer: Vec<u8>,
}

/// A request of the group being written, and how to take it back.
struct Pending {
    request: usize,
    appended: Appended,
    undo: Option<(String, Option<Progress>)>,
}

impl LogWriter {
    /// Opens the log of a disk and repairs what a crash left behind.
    pub(crate) fn open(disk: Arc<dyn Disk>, options: LogOptions) -> Result<(Self, u64)> {
        let mut firsts: Vec<u64> = disk
            .list()
            .map_err(Error::io("list", "ingest log"))?
            .iter()
            .filter_map(|name| segment::first_position(name))
            .collect();
        firsts.sort_unstable();
        let mut segments = VecDeque::new();
        for (first, next) in firsts.iter().zip(firsts.iter().skip(1)) {
            let name = segment::name(*first);
            let bytes = disk
                .read(&name)
                .and_then(|mut file| file.length())
                .map_err(Error::io("open", &name))?;
            segments.push_back(Segment {
                first: *first,
                end: Some(*next),
                bytes,
            });
        }
        let mut producers = Producers::new(options.max_producers);
        let newest = match firsts.last() {
            None => None,
            Some(first) => segment::scan_newest(&*disk, &segment::name(*first), *first)?
                .map(|scan| (scan, *first)),
        };
        let (scan, first) = match (newest, firsts.last(), segments.pop_back()) {
            (Some((scan, first)), _, before) => {
                segments.extend(before);
                (Some(scan), first)
            }
            // The newest was just being made: the one before it is the newest.
            (None, Some(unfinished), Some(before)) => {
                let name = segment::name(*unfinished);
                disk.remove(&name).map_err(Error::io("remove", &name))?;
                let scan =
                    segment::scan_newest(&*disk, &segment::name(before.first), before.first)?;
                (scan, before.first)
            }
            (None, Some(0) | None, _) => (None, 0),
            (None, Some(only), None) => {
                return Err(Error::LogCorrupted {
                    segment: segment::name(*only),
                    byte: 0,
                    problem: "the only segment has no sound head",
                });
            }
        };
        let torn = scan.as_ref().map_or(0, |scan| scan.torn);
        let (mut next, mut rejected, mut duplicates) = (first, 0, 0);
        let (file, length) = match scan {
            Some(scan) => {
                producers.load(scan.head.producers);
                rejected = scan.head.rejected;
                duplicates = scan.head.duplicates;
                for (position, record) in scan.records {
                    next = position;
                    rejected += u64::from(record.rejected);
                    if !record.producer_id.is_empty() {
                        producers.advance(
                            &record.producer_id,
                            Progress {
                                last_sequence: record.last_sequence,
                                last_position: position,
                            },
                        );
                    }
                }
                producers.forget_idle();
                let name = segment::name(first);
                let mut file = disk
                    .reopen(&name, scan.length)
                    .map_err(Error::io("open", &name))?;
                // What is read back may have been in memory only: sync it before anyone acts on it.
                file.sync().map_err(Error::io("sync", &name))?;
                disk.sync().map_err(Error::io("sync", "ingest log"))?;
                (file, scan.length)
            }
            None => new_segment(&*disk, first, &Head::default())?,
        };
        segments.push_back(Segment {
            first,
            end: None,
            bytes: length,
        });
        let shared = Arc::new(Shared::new(
            segments,
            next,
            producers.len(),
            rejected,
            duplicates,
        ));
        let writer = Self {
            disk,
            shared,
            options,
            producers,
            file,
            segment_first: first,
            length,
            next,
            rejected,
            duplicates,
            stopped: None,
            buffer: Vec::new(),
        };
        Ok((writer, torn))
    }

    /// What readers see.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// The last number durably taken from a producer.
    pub(crate) fn last_sequence(&self, producer: &str) -> u64 {
        self.producers.last_sequence(producer)
    }

    /// Why the log takes nothing any more.
    pub(crate) fn stopped(&self) -> Option<&str> {
        self.stopped.as_deref()
    }

    /// Makes the requests durable with one write and one sync; one result each, in order.
    pub(crate) fn commit(&mut self, requests: Vec<Request>) -> Vec<Result<Appended>> {
        if let Some(why) = &self.stopped {
            return requests
                .iter()
                .map(|_| Err(Error::LogStopped(why.clone())))
                .collect();
        }
        let (next, rejected, duplicates) = (self.next, self.rejected, self.duplicates);
        self.buffer.clear();
        let mut results: Vec<Option<Result<Appended>>> = Vec::new();
        let mut pending = Vec::new();
        for (index, request) in requests.into_iter().enumerate() {
            match self.stage(index, request) {
                Ok(staged) => {
                    pending.push(staged);
                    results.push(None);
                }
                Err(error) => results.push(Some(Err(error))),
            }
        }
        match self.write_group() {
            Ok(()) => {
                self.producers.forget_idle();
                self.shared.committed(
                    self.length,
                    self.next,
                    self.producers.len(),
                    self.rejected,
                    self.duplicates,
                );
                for staged in pending {
                    results[staged.request] = Some(Ok(staged.appended));
                }
            }
            Err(source) => {
                (self.next, self.rejected, self.duplicates) = (next, rejected, duplicates);
                for staged in pending.into_iter().rev() {
                    if let Some((producer, before)) = staged.undo {
                        self.producers.undo(&producer, before);
                    }
                    results[staged.request] = Some(Err(self.failure(&source)));
                }
            }
        }
        if self.stopped.is_none() && self.length >= self.options.segment_bytes {
            self.roll();
        }
        results.into_iter().flatten().collect()
    }

    /// Adds a request to the group in memory.
    fn stage(&mut self, index: usize, mut request: Request) -> Result<Pending> {
        let count = request.slots.len() as u64;
        let named = !request.producer.is_empty();
        let repeats = if named {
            self.producers
                .duplicates(&request.producer, request.first_sequence, count)?
        } else {
            0
        };
        let appended = |position, last_sequence| Appended {
            last_sequence,
            position,
            duplicates: u32::try_from(repeats).unwrap_or(u32::MAX),
        };
        self.duplicates += repeats;
        if repeats == count {
            let last = self.producers.last_sequence(&request.producer);
            return Ok(Pending {
                request: index,
                appended: appended(self.next, last),
                undo: None,
            });
        }
        // `repeats` is less than the number of slots, so it fits.
        request.slots.drain(..repeats as usize);
        let fresh = request.slots.len();
        let entries: Vec<Entry> = request.slots.into_iter().flatten().collect();
        let rejected = u32::try_from(fresh - entries.len()).unwrap_or(u32::MAX);
        let last_sequence = if named {
            request.first_sequence + count - 1
        } else {
            0
        };
        let taken = u32::try_from(entries.len()).unwrap_or(u32::MAX);
        let record = Record {
            producer_id: request.producer,
            last_sequence,
            entries,
            rejected,
        };
        frame::write(
            &mut self.buffer,
            self.next,
            taken,
            self.length,
            &record.encode_to_vec(),
        );
        self.next += u64::from(taken);
        self.rejected += u64::from(rejected);
        let undo = named.then(|| {
            let progress = Progress {
                last_sequence,
                last_position: self.next,
            };
            let before = self.producers.advance(&record.producer_id, progress);
            (record.producer_id, before)
        });
        Ok(Pending {
            request: index,
            appended: appended(self.next, last_sequence),
            undo,
        })
    }

    fn write_group(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.file.append(&self.buffer) {
            // Part of it may be there: cut it off, or the next group would follow half a frame.
            if let Err(cut) = self.file.truncate(self.length) {
                self.stop(format!("cannot take back a failed write: {cut}"));
            }
            return Err(error);
        }
        if let Err(error) = self.file.sync() {
            // Which pages are on disk is unknown now, and a second fsync may say yes without having
            // written them: only reading the log anew can tell.
            self.stop(format!("fsync failed: {error}"));
            return Err(error);
        }
        self.length += self.buffer.len() as u64;
        Ok(())
    }

    fn stop(&mut self, why: String) {
        self.shared.stop(&why);
        self.stopped = Some(why);
    }

    fn failure(&self, source: &io::Error) -> Error {
        if let Some(why) = &self.stopped {
            return Error::LogStopped(why.clone());
        }
        let copy = io::Error::new(source.kind(), source.to_string());
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Error::LogFull { source: copy }
            }
            _ => Error::io("write", segment::name(self.segment_first))(copy),
        }
    }

    /// Goes on in a new segment. Where that fails the present one grows on: nothing is lost by it.
    fn roll(&mut self) {
        if self.next == self.segment_first {
            return;
        }
        let head = Head {
            producers: self.producers.to_proto(),
            rejected: self.rejected,
            duplicates: self.duplicates,
        };
        match new_segment(&*self.disk, self.next, &head) {
            Ok((file, length)) => {
                self.file = file;
                self.segment_first = self.next;
                self.length = length;
                self.shared.rolled(self.next, length);
            }
            Err(error) => {
                // A half-made file must not be taken for the newest segment later.
                let removed = self.disk.remove(&segment::name(self.next));
                tracing::warn!(%error, ?removed, "cannot begin a log segment; the present one grows on");
            }
        }
    }

    /// Removes the segments that lie wholly before `position`; returns how many.
    pub(crate) fn trim(&mut self, position: u64) -> Result<usize> {
        let mut removed = 0;
        while let Some(first) = self.shared.take_before(position) {
            let name = segment::name(first);
            self.disk
                .remove(&name)
                .map_err(Error::io("remove", &name))?;
            removed += 1;
        }
        if removed > 0 {
            self.disk.sync().map_err(Error::io("sync", "ingest log"))?;
        }
        Ok(removed)
    }
}

/// A durable, empty segment.
fn new_segment(disk: &dyn Disk, first: u64, head: &Head) -> Result<(Box<dyn Append>, u64)> {
    let name = segment::name(first);
    let bytes = segment::begin(first, head);
    let mut file = disk.create(&name).map_err(Error::io("create", &name))?;
    file.append(&bytes).map_err(Error::io("write", &name))?;
    file.sync().map_err(Error::io("sync", &name))?;
    disk.sync().map_err(Error::io("sync", "ingest log"))?;
    Ok((file, bytes.len() as u64))
}
