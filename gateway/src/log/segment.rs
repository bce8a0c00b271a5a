//! A segment: a file named after its first position, which begins with what must be known of
//! everything before it, so that the segments before it can go.

use super::{
    disk::{Disk, ReadAt},
    frame::{self, FrameHeader, HEADER, Parsed},
};
use crate::{
    error::{Error, Result},
    proto::log::{Head, Record},
};
use prost::Message;

/// The first bytes of a file; the digit is the version of the format.
pub(crate) const MAGIC: &[u8; 8] = b"WEIRLOG1";

/// The file that begins at a position. Names sort as positions do.
pub(crate) fn name(first: u64) -> String {
    format!("{first:020}.log")
}

/// The position a file begins at; nothing for other files.
pub(crate) fn first_position(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

/// The bytes a fresh segment begins with.
pub(crate) fn begin(first: u64, head: &Head) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    frame::write(&mut out, first, 0, 0, &head.encode_to_vec());
    out
}

/// What a scan of the newest segment found.
#[derive(Debug)]
pub(crate) struct Scan {
    /// The head, then each record with the position after it.
    pub(crate) head: Head,
    pub(crate) records: Vec<(u64, Record)>,
    /// Bytes up to the end of the last sound frame.
    pub(crate) length: u64,
    /// Bytes behind that: a tail that was being written at the crash.
    pub(crate) torn: u64,
}

/// Reads the newest segment, whose tail a crash may have torn.
///
/// `None`: not even its head was synced, so nothing in it was ever acknowledged.
///
/// A torn tail is cut off: what was not synced was not acknowledged. Damage before the last group that
/// was synced is an error, told from a torn tail by the group start in the frames behind it. Damage
/// within that last group itself looks like a tear after a loss of power and is treated as one; the
/// caller compares the end with the newest checkpoint's position.
///
/// # Errors
/// [`Error::LogCorrupted`], [`Error::Io`].
pub(crate) fn scan_newest(disk: &dyn Disk, name: &str, first: u64) -> Result<Option<Scan>> {
    let bytes = read_all(disk, name).map_err(Error::io("read", name))?;
    let corrupted = |byte: usize, problem| Error::LogCorrupted {
        segment: name.to_owned(),
        byte: byte as u64,
        problem,
    };
    let head = match parse_head(&bytes, first) {
        Ok(head) => head,
        Err((at, problem)) => {
            // The head is synced before the first group is written.
            return match frame::latest_group(&bytes) {
                Some(group) if group > 0 => Err(corrupted(at, problem)),
                _ => Ok(None),
            };
        }
    };
    let mut scan = Scan {
        head: head.1,
        records: Vec::new(),
        length: 0,
        torn: 0,
    };
    let (mut at, mut position) = (head.0, first);
    while at < bytes.len() {
        let problem = match frame::parse(&bytes[at..]) {
            Parsed::Frame(header) if header.first == position => {
                let payload = &bytes[at + HEADER..at + HEADER + header.length];
                let record = Record::decode(payload).map_err(|_| {
                    corrupted(at, "sound frame with a payload that does not decode")
                })?;
                position += u64::from(header.entries);
                scan.records.push((position, record));
                at += HEADER + header.length;
                continue;
            }
            // Sound but out of place: no crash does that.
            Parsed::Frame(_) => return Err(corrupted(at, "positions do not follow")),
            Parsed::Short => "frame cut short",
            Parsed::Damaged(problem) => problem,
        };
        if frame::latest_group(&bytes[at + 1..]).is_some_and(|group| group > at as u64) {
            return Err(corrupted(at, problem));
        }
        scan.torn = (bytes.len() - at) as u64;
        break;
    }
    scan.length = at as u64;
    Ok(Some(scan))
}

/// The byte after the head, and the head; or where it is wrong and how.
fn parse_head(bytes: &[u8], first: u64) -> Result<(usize, Head), (usize, &'static str)> {
    if !bytes.starts_with(MAGIC) {
        return Err((0, "not a log segment of a version known here"));
    }
    let at = MAGIC.len();
    match frame::parse(&bytes[at..]) {
        Parsed::Frame(header) if header.first == first && header.entries == 0 => {
            let end = at + HEADER + header.length;
            let head =
                Head::decode(&bytes[at + HEADER..end]).map_err(|_| (at, "head does not decode"))?;
            Ok((end, head))
        }
        Parsed::Frame(_) => Err((at, "head of another segment")),
        Parsed::Short => Err((at, "head cut short")),
        Parsed::Damaged(problem) => Err((at, problem)),
    }
}

fn read_all(disk: &dyn Disk, name: &str) -> std::io::Result<Vec<u8>> {
    let mut file = disk.read(name)?;
    let length = usize::try_from(file.length()?).map_err(std::io::Error::other)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Reads frames one after the other, never beyond the bytes it is told are durable.
#[derive(Debug)]
pub(crate) struct Cursor {
    name: String,
    file: Box<dyn ReadAt>,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    start: u64,
    /// Where in the file the next frame begins.
    at: u64,
}

/// Read at once: a group commit of usual size.
const CHUNK: u64 = 256 << 10;

impl Cursor {
    /// At the first record of a segment.
    ///
    /// # Errors
    /// [`Error::LogCorrupted`] when the head is not sound, [`Error::Io`].
    pub(crate) fn open(disk: &dyn Disk, name: &str, first: u64, durable: u64) -> Result<Self> {
        let file = disk.read(name).map_err(Error::io("open", name))?;
        let mut cursor = Self {
            name: name.to_owned(),
            file,
            buffer: Vec::new(),
            start: 0,
            at: MAGIC.len() as u64,
        };
        cursor.fill(0, MAGIC.len(), durable)?;
        if !cursor.buffer.starts_with(MAGIC) {
            return Err(cursor.corrupted("not a log segment of a version known here"));
        }
        match cursor.next(durable)? {
            Some((header, _)) if header.first == first && header.entries == 0 => Ok(cursor),
            _ => Err(cursor.corrupted("head of another segment")),
        }
    }

    /// The next frame and its payload; nothing when the durable bytes are used up.
    ///
    /// # Errors
    /// [`Error::LogCorrupted`], [`Error::Io`].
    pub(crate) fn next(&mut self, durable: u64) -> Result<Option<(FrameHeader, &[u8])>> {
        if self.at >= durable {
            return Ok(None);
        }
        self.fill(self.at, HEADER, durable)?;
        let header = match frame::peek(self.available()) {
            Parsed::Frame(header) => header,
            Parsed::Short => return Err(self.corrupted("frame cut short")),
            Parsed::Damaged(problem) => return Err(self.corrupted(problem)),
        };
        let total = HEADER + header.length;
        self.fill(self.at, total, durable)?;
        match frame::parse(self.available()) {
            Parsed::Frame(_) => {}
            Parsed::Short => return Err(self.corrupted("frame cut short")),
            Parsed::Damaged(problem) => return Err(self.corrupted(problem)),
        }
        let from = (self.at - self.start) as usize;
        self.at += total as u64;
        Ok(Some((header, &self.buffer[from + HEADER..from + total])))
    }

    fn available(&self) -> &[u8] {
        &self.buffer[(self.at - self.start) as usize..]
    }

    /// Makes `wanted` bytes from `from` on available, or as many as are durable.
    fn fill(&mut self, from: u64, wanted: usize, durable: u64) -> Result<()> {
        let wanted_end = (from + wanted as u64).min(durable);
        if wanted_end <= self.start + self.buffer.len() as u64 && from >= self.start {
            return Ok(());
        }
        let end = (from + CHUNK).min(durable).max(wanted_end);
        self.buffer.resize((end - from) as usize, 0);
        self.start = from;
        self.file
            .read_at(from, &mut self.buffer)
            .map_err(|source| match source.kind() {
                std::io::ErrorKind::UnexpectedEof => self.corrupted("file is shorter than it was"),
                _ => Error::io("read", &self.name)(source),
            })
    }

    fn corrupted(&self, problem: &'static str) -> Error {
        Error::LogCorrupted {
            segment: self.name.clone(),
            byte: self.at,
            problem,
        }
    }
}
