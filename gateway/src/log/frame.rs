//! How a record lies in a segment.
//!
//! ```text
//! magic 4 | crc32 4 | length 4 | entries 4 | first position 8 | group start 8 | payload
//! ```
//! Integers are little-endian. The checksum covers everything after itself. *Group start* is the byte
//! at which the group commit that wrote the frame began: a damaged frame before the group start of a
//! later sound one had been synced, so it is corruption and no torn tail.

/// Bytes before the payload.
pub(crate) const HEADER: usize = 32;
/// The longest payload: a longer length is damage, not a frame to allocate for.
pub(crate) const MAX_PAYLOAD: usize = 64 << 20;
const MAGIC: [u8; 4] = *b"WFR1";

/// The header of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    /// Bytes of payload.
    pub(crate) length: usize,
    /// How many positions it takes.
    pub(crate) entries: u32,
    /// The first of them.
    pub(crate) first: u64,
    /// Where its group commit began.
    pub(crate) group: u64,
    crc: u32,
}

/// What the bytes at some place are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// A sound frame.
    Frame(FrameHeader),
    /// The bytes end inside a frame.
    Short,
    /// No frame, or a damaged one.
    Damaged(&'static str),
}

/// Appends a frame.
pub(crate) fn write(out: &mut Vec<u8>, first: u64, entries: u32, group: u64, payload: &[u8]) {
    let start = out.len();
    // A payload is bounded by the request limits, far below 4 GiB.
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&entries.to_le_bytes());
    out.extend_from_slice(&first.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(payload);
    let crc = crc32fast::hash(&out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// Reads a header without its payload; the checksum is not looked at.
pub(crate) fn peek(bytes: &[u8]) -> Parsed {
    if bytes.len() < HEADER {
        return if MAGIC.starts_with(&bytes[..bytes.len().min(4)]) || bytes.starts_with(&MAGIC) {
            Parsed::Short
        } else {
            Parsed::Damaged("no frame begins here")
        };
    }
    if bytes[..4] != MAGIC {
        return Parsed::Damaged("no frame begins here");
    }
    let length = u32_at(bytes, 8) as usize;
    if length > MAX_PAYLOAD {
        return Parsed::Damaged("impossible length");
    }
    Parsed::Frame(FrameHeader {
        length,
        entries: u32_at(bytes, 12),
        first: u64_at(bytes, 16),
        group: u64_at(bytes, 24),
        crc: u32_at(bytes, 4),
    })
}

/// Reads and verifies the frame at the start of `bytes`.
pub(crate) fn parse(bytes: &[u8]) -> Parsed {
    match peek(bytes) {
        Parsed::Frame(header) => {
            let Some(covered) = bytes.get(8..HEADER + header.length) else {
                return Parsed::Short;
            };
            if crc32fast::hash(covered) == header.crc {
                Parsed::Frame(header)
            } else {
                Parsed::Damaged("checksum does not match")
            }
        }
        other => other,
    }
}

/// The largest group start among the sound frames anywhere in `bytes`.
pub(crate) fn latest_group(bytes: &[u8]) -> Option<u64> {
    let mut latest = None;
    let mut at = 0;
    while at + HEADER <= bytes.len() {
        match bytes[at..].iter().position(|byte| *byte == MAGIC[0]) {
            None => break,
            Some(skip) => at += skip,
        }
        match parse(&bytes[at..]) {
            Parsed::Frame(header) => {
                latest = latest.max(Some(header.group));
                at += HEADER + header.length;
            }
            Parsed::Short | Parsed::Damaged(_) => at += 1,
        }
    }
    latest
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Vec<u8> {
        let mut out = Vec::new();
        write(&mut out, 7, 3, 8, b"payload");
        out
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = frame();
        assert!(matches!(
            parse(&good),
            Parsed::Frame(FrameHeader {
                length: 7,
                entries: 3,
                first: 7,
                group: 8,
                ..
            })
        ));
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!matches!(parse(&bad), Parsed::Frame(_)), "bit {bit}");
        }
        for length in 0..good.len() {
            assert_eq!(parse(&good[..length]), Parsed::Short, "length {length}");
        }
    }

    #[test]
    fn sound_frames_are_found_behind_damage() {
        let mut bytes = vec![b'W'; 11];
        bytes.extend_from_slice(&frame());
        assert_eq!(latest_group(&bytes), Some(8));
        assert_eq!(latest_group(&bytes[..20]), None);
    }
}
