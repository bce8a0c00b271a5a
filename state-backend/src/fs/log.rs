//! The framing of the log: what a record looks like in a segment, and how a torn one is told.
//!
//! ```text
//! segment := header frame*
//! header  := "WEIRLOG1" | segment u32 | previous u32 | previous_len u64 | crc32 u32      (LE, 28 bytes)
//! mark    := segment u32 | offset u64 | crc32 u32                    (LE, in a file of its own)
//! frame   := crc32 u32 | tag u8 | key_len u24 | value_len u32 | state u16 | key | value  (LE)
//! ```
//!
//! The checksum covers everything after itself. The high bit of the tag ends a batch: recovery
//! takes whole batches only. A header names the segment before it and its length, so that a
//! segment whose un-synced end was lost is noticed even when it ends between two frames. The mark
//! says up to where the log was synced: what is wrong before it is damage, what is wrong behind it a
//! torn tail. It is written after the sync and need not be synced itself.

pub(super) const HEADER_LEN: usize = 28;
pub(super) const MARK_LEN: usize = 16;
pub(super) const FRAME_LEN: usize = 14;
const MAGIC: &[u8; 8] = b"WEIRLOG1";
const END_OF_BATCH: u8 = 0x80;

/// Bytes in the longest key the framing can hold.
pub(super) const MAX_KEY: usize = (1 << 24) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Put = 1,
    Delete = 2,
    /// Nothing before counts any more.
    Clear = 3,
}

impl Kind {
    fn of(tag: u8) -> Option<Self> {
        Some(match tag & !END_OF_BATCH {
            1 => Self::Put,
            2 => Self::Delete,
            3 => Self::Clear,
            _ => return None,
        })
    }
}

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u64,
}

impl Position {
    /// Before every byte of every segment.
    pub(super) const START: Self = Self {
        segment: 0,
        offset: 0,
    };

    pub(super) fn encode(self) -> [u8; MARK_LEN] {
        let mut bytes = [0; MARK_LEN];
        bytes[..4].copy_from_slice(&self.segment.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.offset.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..12]);
        bytes[12..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: not a position, or a damaged one.
    pub(super) fn decode(bytes: &[u8; MARK_LEN]) -> Option<Self> {
        if crc32fast::hash(&bytes[..12]) != u32_at(bytes, 12)? {
            return None;
        }
        Some(Self {
            segment: u32_at(bytes, 0)?,
            offset: u64_at(bytes, 4)?,
        })
    }
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) segment: u32,
    /// The segment written before this one, and its length; 0 and 0 for the first.
    pub(super) previous: u32,
    pub(super) previous_len: u64,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&self.segment.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.previous.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.previous_len.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..24]);
        bytes[24..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// `None`: not the head of a segment.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let head = bytes.get(..HEADER_LEN)?;
        if head[..8] != MAGIC[..] || crc32fast::hash(&head[..24]) != u32_at(head, 24)? {
            return None;
        }
        Some(Self {
            segment: u32_at(head, 8)?,
            previous: u32_at(head, 12)?,
            previous_len: u64_at(head, 16)?,
        })
    }
}

/// A record as it lies in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) ends_batch: bool,
    pub(super) state: u16,
    pub(super) key: &'a [u8],
    pub(super) value: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Decodes the frame at the start of `bytes`; `None` when there is no whole, undamaged one.
    pub(super) fn decode(bytes: &'a [u8]) -> Option<Self> {
        let len = Self::len_at(bytes)?;
        let frame = bytes.get(..len)?;
        if crc32fast::hash(&frame[4..]) != u32_at(frame, 0)? {
            return None;
        }
        let (key, value) = frame[FRAME_LEN..].split_at(key_len(frame));
        Some(Self {
            kind: Kind::of(frame[4])?,
            ends_batch: frame[4] & END_OF_BATCH != 0,
            state: u16::from_le_bytes([frame[12], frame[13]]),
            key,
            value,
        })
    }

    /// Length of the frame at the start of `bytes` as its head tells it, unchecked.
    pub(super) fn len_at(bytes: &[u8]) -> Option<usize> {
        let head = bytes.get(..FRAME_LEN)?;
        FRAME_LEN
            .checked_add(key_len(head))?
            .checked_add(u32_at(head, 8)? as usize)
    }

    pub(super) fn len(&self) -> usize {
        FRAME_LEN + self.key.len() + self.value.len()
    }

    /// Appends the frame. Key and value are within the limits the backend has checked.
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let tag = self.kind as u8 | if self.ends_batch { END_OF_BATCH } else { 0 };
        out.extend_from_slice(&[0; 4]);
        out.push(tag);
        out.extend_from_slice(&(self.key.len() as u32).to_le_bytes()[..3]);
        out.extend_from_slice(&(self.value.len() as u32).to_le_bytes());
        out.extend_from_slice(&self.state.to_le_bytes());
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
        seal(&mut out[start..]);
    }
}

/// Makes the encoded frame the last one of its batch.
pub(super) fn end_batch(frame: &mut [u8]) {
    frame[4] |= END_OF_BATCH;
    seal(frame);
}

fn seal(frame: &mut [u8]) {
    let crc = crc32fast::hash(&frame[4..]);
    frame[..4].copy_from_slice(&crc.to_le_bytes());
}

/// What reading a segment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where the last whole batch ends.
    pub(super) valid: usize,
    /// Whether anything lies behind it.
    pub(super) complete: bool,
}

/// Walks the frames of a segment and hands over those of whole batches, with their offset.
pub(super) fn scan_segment(bytes: &[u8], mut visit: impl FnMut(usize, &Frame<'_>)) -> Scanned {
    let mut batch = Vec::new();
    let mut valid = HEADER_LEN;
    let mut at = HEADER_LEN;
    while let Some(frame) = Frame::decode(&bytes[at.min(bytes.len())..]) {
        batch.push((at, frame));
        at += frame.len();
        if frame.ends_batch {
            for (offset, frame) in batch.drain(..) {
                visit(offset, &frame);
            }
            valid = at;
        }
    }
    Scanned {
        valid,
        complete: valid == bytes.len(),
    }
}

fn key_len(head: &[u8]) -> usize {
    u32::from_le_bytes([head[5], head[6], head[7], 0]) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
