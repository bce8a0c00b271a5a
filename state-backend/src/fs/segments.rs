//! The segment files and the tail of the newest one that is still in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{MARK, SyncWork, file_name, remove_file};
use super::index::Location;
use super::log::{Frame, HEADER_LEN, Header, Kind, MARK_LEN, Position};
use crate::disk::{DiskOptions, SyncPolicy};
use crate::io::{Fs, FsFile, OpenMode};
use crate::{Error, Result};

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) file: Arc<dyn FsFile>,
    /// Bytes appended, those still in memory included.
    pub(super) len: u64,
    /// Bytes of the frames the index points to.
    pub(super) live: u64,
    /// Bytes of deletions: dead weight, but to be carried on while an older segment may hold the
    /// row that was deleted.
    pub(super) deletions: u64,
}

impl Segment {
    pub(super) fn new(file: Arc<dyn FsFile>, len: u64) -> Self {
        Self {
            file,
            len,
            live: 0,
            deletions: 0,
        }
    }
}

/// The log: segments in order of their number, appended to at the end of the last.
///
/// The newest bytes are kept in memory, up to `write_buffer_bytes * write_buffer_count`, and
/// written out `write_buffer_bytes` at a time; reads of them need no system call.
#[derive(Debug)]
pub(super) struct Segments {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    buffer_bytes: usize,
    kept_bytes: usize,
    segment_bytes: u64,
    sync: SyncPolicy,
    all: BTreeMap<u32, Segment>,
    /// The newest bytes of the active segment, from `tail_start` on.
    tail: Vec<u8>,
    tail_start: u64,
    /// Up to where the active segment is written out.
    written: u64,
    /// Segments with bytes that are not synced, and whether a name is not.
    unsynced: BTreeSet<u32>,
    names_unsynced: bool,
    /// What the mark says.
    synced: Position,
    mark: Arc<dyn FsFile>,
    /// Behind the last frame that changed anything.
    changed: Position,
    written_bytes: u64,
    len: u64,
    live: u64,
    /// The segment with the last `Clear`.
    cleared_before: u32,
}

impl Segments {
    /// An empty log, and the mark that an earlier one left.
    pub(super) fn open(dir: &Path, options: &DiskOptions) -> Result<Self> {
        let buffer_bytes = options.write_buffer_bytes();
        let path = dir.join(MARK);
        let mark = options
            .fs()
            .open(&path, OpenMode::CreateOrKeep)
            .map_err(|e| Error::io("open", &path, e))?;
        let mut bytes = [0; MARK_LEN];
        // Too short, or damaged: then nothing is known.
        let synced = match mark.read_at(0, &mut bytes) {
            Ok(()) => Position::decode(&bytes).unwrap_or(Position::START),
            Err(_) => Position::START,
        };
        Ok(Self {
            fs: Arc::clone(options.fs()),
            dir: dir.to_owned(),
            buffer_bytes,
            kept_bytes: buffer_bytes.saturating_mul(options.write_buffer_count()),
            segment_bytes: options.segment_bytes() as u64,
            sync: options.sync(),
            all: BTreeMap::new(),
            tail: Vec::new(),
            tail_start: 0,
            written: 0,
            unsynced: BTreeSet::new(),
            names_unsynced: false,
            synced,
            mark,
            changed: Position::START,
            written_bytes: 0,
            len: 0,
            live: 0,
            cleared_before: 0,
        })
    }

    /// Takes over a segment found at start, in ascending order. Nothing says that the last process
    /// synced it, so it counts as un-synced.
    pub(super) fn adopt(&mut self, number: u32, segment: Segment) {
        self.written = segment.len;
        self.tail_start = segment.len;
        self.unsynced.insert(number);
        self.names_unsynced = true;
        self.len += segment.len;
        self.live += segment.live;
        self.all.insert(number, segment);
        self.changed = self.end();
    }

    /// The length of an adopted segment, once it is read.
    pub(super) fn set_len(&mut self, number: u32, len: u64) {
        if let Some(segment) = self.all.get_mut(&number) {
            self.len = self.len - segment.len + len;
            segment.len = len;
            self.written = len;
            self.tail_start = len;
            self.changed = self.end();
        }
    }

    /// Counts a row found in an adopted segment.
    pub(super) fn note_put(&mut self, at: Location) {
        if let Some(segment) = self.all.get_mut(&at.segment) {
            segment.live += u64::from(at.len);
            self.live += u64::from(at.len);
        }
    }

    /// Counts a deletion found in an adopted segment.
    pub(super) fn note_delete(&mut self, number: u32, bytes: u64) {
        if let Some(segment) = self.all.get_mut(&number) {
            segment.deletions += bytes;
        }
    }

    /// Notes that everything up to here was cleared; the segments before `number` can go.
    pub(super) fn kill_all(&mut self, number: u32) {
        for segment in self.all.values_mut() {
            segment.live = 0;
            segment.deletions = 0;
        }
        self.live = 0;
        self.cleared_before = number;
    }

    /// The segments that nothing is needed of since the last clear.
    pub(super) fn cleared(&self) -> Vec<u32> {
        self.all
            .range(..self.cleared_before)
            .map(|(number, _)| *number)
            .collect()
    }

    /// Up to where the log is known to be synced.
    pub(super) fn known_synced(&self) -> Position {
        self.synced
    }

    /// The log is read: what the mark says was synced need not be again.
    pub(super) fn adopted(&mut self) {
        let synced = self.synced;
        self.unsynced.retain(|segment| *segment >= synced.segment);
        if self.changed <= synced {
            self.unsynced.clear();
            self.names_unsynced = false;
        }
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(file_name(number))
    }

    fn active(&self) -> Option<(u32, &Segment)> {
        self.all.last_key_value().map(|(number, s)| (*number, s))
    }

    pub(super) fn end(&self) -> Position {
        self.active()
            .map_or(Position::START, |(segment, s)| Position {
                segment,
                offset: s.len,
            })
    }

    /// Readies the log for a batch of at most `bytes`, so that appending it cannot fail.
    ///
    /// # Errors
    ///
    /// The file system refused; the log is as it was and can be tried again.
    pub(super) fn make_room(&mut self, bytes: u64) -> Result<()> {
        match self.active() {
            Some((_, active)) if active.len == HEADER_LEN as u64 => {}
            Some((_, active)) if active.len + bytes <= self.segment_bytes => {}
            _ => self.roll()?,
        }
        if self.unwritten() > 0 && self.unwritten() + bytes > self.buffer_bytes as u64 {
            self.write_out()?;
            if self.sync == SyncPolicy::EveryWrite {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Appends an encoded frame after [`make_room`](Self::make_room).
    pub(super) fn append(&mut self, frame: &Frame<'_>) -> Location {
        let (number, segment) = match self.all.last_entry() {
            Some(entry) => (*entry.key(), entry.into_mut()),
            None => unreachable!("make_room opens the first segment"),
        };
        let offset = segment.len;
        frame.encode(&mut self.tail);
        segment.len += frame.len() as u64;
        let len = frame.len() as u64;
        match frame.kind {
            Kind::Put => {
                segment.live += len;
                self.live += len;
            }
            Kind::Delete => segment.deletions += len,
            Kind::Clear => {}
        }
        self.len += len;
        self.changed = Position {
            segment: number,
            offset: offset + len,
        };
        self.unsynced.insert(number);
        Location {
            segment: number,
            offset: offset as u32,
            len: frame.len() as u32,
        }
    }

    /// Marks the frame, the last appended, as the last of its batch.
    pub(super) fn end_batch(&mut self, last: Location) {
        let start = (u64::from(last.offset) - self.tail_start) as usize;
        super::log::end_batch(&mut self.tail[start..]);
    }

    /// Notes that no row needs the frame any more.
    pub(super) fn kill(&mut self, at: Location) {
        if let Some(segment) = self.all.get_mut(&at.segment) {
            segment.live -= u64::from(at.len);
            self.live -= u64::from(at.len);
        }
    }

    /// Reads a frame into `scratch` unless it is in memory, checks it and hands it over.
    pub(super) fn read<R>(
        &self,
        at: Location,
        scratch: &mut Vec<u8>,
        found: impl FnOnce(&Frame<'_>) -> R,
    ) -> Result<R> {
        let len = at.len as usize;
        let offset = u64::from(at.offset);
        let is_active = self.active().is_some_and(|(n, _)| n == at.segment);
        let bytes = if is_active && offset >= self.tail_start {
            let start = (offset - self.tail_start) as usize;
            &self.tail[start..start + len]
        } else {
            scratch.resize(len.max(scratch.len()), 0);
            self.read_bytes(at.segment, offset, &mut scratch[..len])?;
            &scratch[..len]
        };
        match Frame::decode(bytes) {
            Some(frame) if frame.len() == len => Ok(found(&frame)),
            _ => Err(self.damaged(at.segment, offset)),
        }
    }

    /// Reads written bytes of a segment.
    pub(super) fn read_bytes(&self, number: u32, offset: u64, out: &mut [u8]) -> Result<()> {
        let Some(segment) = self.all.get(&number) else {
            return Err(self.damaged(number, offset));
        };
        match segment.file.read_at(offset, out) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                Err(self.damaged(number, offset))
            }
            Err(error) => Err(Error::io("read", self.path(number), error)),
        }
    }

    pub(super) fn damaged(&self, number: u32, offset: u64) -> Error {
        Error::corrupted(
            self.path(number).display().to_string(),
            format!("the record at byte {offset} is damaged or cut off"),
        )
    }

    fn unwritten(&self) -> u64 {
        self.active().map_or(0, |(_, s)| s.len - self.written)
    }

    /// Hands everything in memory to the operating system.
    pub(super) fn write_out(&mut self) -> Result<()> {
        let Some((number, segment)) = self.active() else {
            return Ok(());
        };
        let end = segment.len;
        if end > self.written {
            let from = (self.written - self.tail_start) as usize;
            // Large batches go out in buffers too: one write of a gigabyte helps nobody.
            let mut at = self.written;
            for piece in self.tail[from..].chunks(self.buffer_bytes.max(1 << 20)) {
                segment
                    .file
                    .write_at(at, piece)
                    .map_err(|e| Error::io("append to", self.path(number), e))?;
                at += piece.len() as u64;
            }
            self.written_bytes += end - self.written;
            self.written = end;
        }
        if self.tail.len() > self.kept_bytes {
            let keep = self.kept_bytes - self.buffer_bytes;
            let drop = self.tail.len() - keep;
            self.tail.drain(..drop);
            self.tail.shrink_to(self.kept_bytes + self.buffer_bytes);
            self.tail_start += drop as u64;
        }
        Ok(())
    }

    /// Closes the active segment and begins the next.
    pub(super) fn roll(&mut self) -> Result<()> {
        self.write_out()?;
        // In order, so that a power loss cannot take a segment and leave the one behind it.
        self.sync_names()?;
        let end = self.end();
        let number = end
            .segment
            .checked_add(1)
            .ok_or_else(|| Error::InvalidOptions("the log has used up its segments".into()))?;
        let path = self.path(number);
        let header = Header {
            segment: number,
            previous: end.segment,
            previous_len: end.offset,
        };
        let file = self
            .fs
            .open(&path, OpenMode::CreateOrTruncate)
            .map_err(|e| Error::io("create", &path, e))?;
        self.names_unsynced = true;
        file.write_at(0, &header.encode())
            .map_err(|e| Error::io("write", &path, e))?;
        self.all
            .insert(number, Segment::new(file, HEADER_LEN as u64));
        self.len += HEADER_LEN as u64;
        self.unsynced.insert(number);
        self.tail.clear();
        self.tail_start = HEADER_LEN as u64;
        self.written = HEADER_LEN as u64;
        self.written_bytes += HEADER_LEN as u64;
        Ok(())
    }

    fn sync_names(&mut self) -> Result<()> {
        if self.names_unsynced {
            if self.sync != SyncPolicy::Never {
                self.fs
                    .sync_dir(&self.dir)
                    .map_err(|e| Error::io("sync", &self.dir, e))?;
            }
            self.names_unsynced = false;
        }
        Ok(())
    }

    /// What has to be synced for everything written out so far to be durable.
    pub(super) fn sync_work(&self) -> SyncWork {
        SyncWork {
            policy: self.sync,
            fs: Arc::clone(&self.fs),
            dir: self.dir.clone(),
            files: self
                .unsynced
                .iter()
                .filter_map(|n| Some((self.path(*n), Arc::clone(&self.all.get(n)?.file))))
                .collect(),
            upto: Position {
                offset: self.written,
                ..self.end()
            },
        }
    }

    /// Notes that the work was done, and marks it for the next recovery.
    pub(super) fn synced(&mut self, upto: Position) {
        if upto <= self.synced {
            return;
        }
        let end = self.end();
        self.unsynced
            .retain(|n| *n > upto.segment || (*n == upto.segment && end > upto));
        self.set_mark(upto);
    }

    fn set_mark(&mut self, synced: Position) {
        self.synced = synced;
        // The mark only helps to tell damage from a torn tail: doing without it is no failure.
        if self.mark.write_at(0, &synced.encode()).is_ok() {
            self.written_bytes += MARK_LEN as u64;
        }
    }

    /// Writes out and syncs everything.
    pub(super) fn sync(&mut self) -> Result<()> {
        self.write_out()?;
        if self.changed <= self.synced {
            return Ok(());
        }
        let work = self.sync_work();
        work.run()?;
        self.names_unsynced = false;
        self.synced(work.upto);
        Ok(())
    }

    /// Empties the log.
    pub(super) fn clear(&mut self) -> Result<()> {
        if self.all.is_empty() {
            return Ok(());
        }
        match self.mark_clear() {
            Err(error) if !error.is_out_of_space() => return Err(error),
            Err(_) => {
                self.cleared_before = u32::MAX;
                self.tail.clear();
                self.tail_start = 0;
                self.written = 0;
                // Numbers begin again at 1, and a mark beyond them would be taken for damage.
                self.changed = Position::START;
                self.set_mark(Position::START);
                let path = self.dir.join(MARK);
                self.mark.sync().map_err(|e| Error::io("sync", path, e))?;
            }
            Ok(()) => {}
        }
        for number in self.cleared() {
            remove_file(&*self.fs, &self.dir, number)?;
            self.forget(number);
        }
        if self.all.is_empty() {
            self.cleared_before = 0;
        }
        Ok(())
    }

    fn mark_clear(&mut self) -> Result<()> {
        self.roll()?;
        self.append(&Frame {
            kind: Kind::Clear,
            ends_batch: true,
            state: 0,
            key: &[],
            value: &[],
        });
        let number = self.end().segment;
        self.write_out()?;
        if self.sync != SyncPolicy::Never {
            self.sync()?;
        }
        self.kill_all(number);
        Ok(())
    }

    pub(super) fn len_of(&self, number: u32) -> u64 {
        self.all.get(&number).map_or(0, |segment| segment.len)
    }

    pub(super) fn all(&self) -> &BTreeMap<u32, Segment> {
        &self.all
    }

    /// Forgets a segment whose file is gone. What it returns keeps the file's blocks until it is dropped, which may take
    /// milliseconds.
    pub(super) fn forget(&mut self, number: u32) -> Option<Segment> {
        self.unsynced.remove(&number);
        let segment = self.all.remove(&number)?;
        self.len -= segment.len;
        self.live -= segment.live;
        Some(segment)
    }

    /// Bytes of the log, written out or not.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// Bytes of the frames that the index points to.
    pub(super) fn live(&self) -> u64 {
        self.live
    }

    pub(super) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    pub(super) fn memory_bytes(&self) -> u64 {
        self.tail.capacity() as u64
    }
}
