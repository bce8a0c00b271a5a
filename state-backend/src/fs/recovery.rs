//! Reading the log back at start: the index is rebuilt, a torn tail cut off, damage named.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{number_of, remove_file};
use super::index::{Index, Location};
use super::log::{Frame, HEADER_LEN, Header, Kind, Position, scan_segment};
use super::segments::{Segment, Segments};
use crate::disk::DiskOptions;
use crate::io::{Fs, FsFile, OpenMode};
use crate::{Error, Result, StateId};

/// Reads every segment in `dir`.
///
/// The first place where the log does not continue (a bad frame, a batch without its end, a
/// segment shorter than the next one says) ends it. When the mark says that the place was synced,
/// bytes were damaged: that is an error. Otherwise a crash tore the tail, and what lies behind the
/// last whole batch is removed.
pub(super) fn recover(dir: &Path, options: &DiskOptions) -> Result<(Segments, Index)> {
    let fs = &**options.fs();
    let mut found = BTreeMap::new();
    for path in fs.list(dir).map_err(|e| Error::io("list", dir, e))? {
        if let Some(number) = number_of(&path) {
            found.insert(number, path);
        }
    }
    let mut recovery = Recovery {
        segments: Segments::open(dir, options)?,
        index: Index::default(),
    };
    let synced = recovery.segments.known_synced();
    let mut torn = None;
    for (number, path) in &found {
        let file = fs
            .open(path, OpenMode::Existing)
            .map_err(|e| Error::io("open", path, e))?;
        let bytes = read_all(&*file, path)?;
        if let Some(position) = recovery.read_segment(*number, file, &bytes)? {
            torn = Some(position);
            break;
        }
    }
    let end = torn.unwrap_or_else(|| recovery.segments.end());
    if end < synced {
        return Err(recovery.segments.damaged(end.segment, end.offset));
    }
    if torn.is_some() {
        recovery.cut(fs, dir, &found, end)?;
    }
    recovery.drop_cleared(fs, dir)?;
    recovery.segments.adopted();
    Ok((recovery.segments, recovery.index))
}

struct Recovery {
    segments: Segments,
    index: Index,
}

impl Recovery {
    /// Takes a segment in; returns where the log ends if it does not go on behind it.
    fn read_segment(
        &mut self,
        number: u32,
        file: Arc<dyn FsFile>,
        bytes: &[u8],
    ) -> Result<Option<Position>> {
        let head = Position {
            segment: number,
            offset: 0,
        };
        let Some(header) = Header::decode(bytes).filter(|h| h.segment == number) else {
            return Ok(Some(head));
        };
        let before = self.segments.end();
        if header.previous == before.segment && header.previous_len != before.offset {
            return Ok(Some(before));
        }
        self.segments
            .adopt(number, Segment::new(file, HEADER_LEN as u64));
        let scanned = scan_segment(bytes, |offset, frame| self.take(number, offset, frame));
        let valid = scanned.valid as u64;
        self.segments.set_len(number, valid);
        Ok((!scanned.complete).then_some(Position {
            segment: number,
            offset: valid,
        }))
    }

    fn take(&mut self, number: u32, offset: usize, frame: &Frame<'_>) {
        let state = StateId::new(frame.state);
        let replaced = match frame.kind {
            Kind::Put => {
                let at = Location {
                    segment: number,
                    offset: offset as u32,
                    len: frame.len() as u32,
                };
                self.segments.note_put(at);
                self.index.insert(state, frame.key, at)
            }
            Kind::Delete => {
                self.segments.note_delete(number, frame.len() as u64);
                self.index.remove(state, frame.key)
            }
            Kind::Clear => {
                self.index = Index::default();
                self.segments.kill_all(number);
                None
            }
        };
        if let Some(replaced) = replaced {
            self.segments.kill(replaced);
        }
    }

    /// Removes everything from `end` on, newest first: a crash in between leaves a shorter log,
    /// never one with a gap.
    fn cut(
        &mut self,
        fs: &dyn Fs,
        dir: &Path,
        found: &BTreeMap<u32, PathBuf>,
        end: Position,
    ) -> Result<()> {
        let from = if end.offset < HEADER_LEN as u64 {
            end.segment
        } else {
            end.segment + 1
        };
        for number in found.range(from..).rev().map(|(number, _)| *number) {
            remove_file(fs, dir, number)?;
        }
        if let Some(segment) = self.segments.all().get(&end.segment) {
            let path = self.segments.path(end.segment);
            segment
                .file
                .set_len(segment.len)
                .and_then(|()| segment.file.sync())
                .map_err(|e| Error::io("cut off", path, e))?;
        }
        Ok(())
    }

    /// Finishes a `clear` that was interrupted: whatever lies before its mark goes.
    fn drop_cleared(&mut self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        for number in self.segments.cleared() {
            remove_file(fs, dir, number)?;
            self.segments.forget(number);
        }
        Ok(())
    }
}

fn read_all(file: &dyn FsFile, path: &Path) -> Result<Vec<u8>> {
    let read = || {
        let len = usize::try_from(file.size()?).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; len];
        file.read_at(0, &mut bytes)?;
        Ok(bytes)
    };
    read().map_err(|e| Error::io("read", path, e))
}
