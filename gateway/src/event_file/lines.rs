//! Lines of bounded length, and how much of a file was read.

use std::{
    io::{self, BufRead, Read},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// A line longer than this is bad, whatever it says, and is not kept in memory.
pub(super) const MAX_LINE: usize = 1 << 20;

/// Counts the bytes of the file itself, which is what progress can be measured in.
pub(super) struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R> Counted<R> {
    pub(super) fn new(inner: R, count: Arc<AtomicU64>) -> Self {
        Self { inner, count }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// How much of a line is in the buffer.
pub(super) enum Kept {
    Whole,
    Part,
}

/// Reads a line without its end; keeps at most [`MAX_LINE`] bytes of it. Nothing at the end.
pub(super) fn read_line(lines: &mut dyn BufRead, into: &mut Vec<u8>) -> io::Result<Option<Kept>> {
    into.clear();
    let mut kept = Kept::Whole;
    let mut any = false;
    loop {
        let available = lines.fill_buf()?;
        if available.is_empty() {
            break;
        }
        any = true;
        let end = available.iter().position(|byte| *byte == b'\n');
        let part = &available[..end.unwrap_or(available.len())];
        if into.len() + part.len() > MAX_LINE {
            kept = Kept::Part;
        } else {
            into.extend_from_slice(part);
        }
        let used = end.map_or(available.len(), |end| end + 1);
        lines.consume(used);
        if end.is_some() {
            break;
        }
    }
    if into.last() == Some(&b'\r') {
        into.pop();
    }
    Ok(any.then_some(kept))
}
