//! The events of every workload, bit for bit: all arithmetic wraps around.

use state_backend::{KeyLike, KeyWords, StateKey};
use std::fmt;
use std::sync::LazyLock;

/// The odd constant of splitmix64.
pub const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;
/// The time of event 0, in ms.
pub const BASE_TS: i64 = 1_700_000_000_000;
const SEED_EVENTS: u64 = 20_240_601;
const SEED_KEYS: u64 = 777;

/// The finalizer of splitmix64.
#[inline]
pub const fn mix64(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[inline]
const fn draw(seed: u64, j: u64) -> u64 {
    mix64(seed.wrapping_add(j.wrapping_add(1).wrapping_mul(GAMMA)))
}

#[inline]
const fn mulhi(r: u64, bound: u64) -> u64 {
    ((r as u128 * bound as u128) >> 64) as u64
}

/// FNV-1a, 64 bits.
#[inline]
pub fn fnv1a64(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// FNV-1a, 32 bits.
#[inline]
pub fn fnv1a32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    })
}

/// Zipf with exponent 1 by the inverse of its distribution.
struct Zipf {
    cdf: Vec<u64>,
    total: u64,
    /// Where the search for a value with these upper bits begins.
    guide: Vec<u32>,
    shift: u32,
}

const GUIDE_BITS: u32 = 16;

impl Zipf {
    fn new(n: u64) -> Self {
        let mut total = 0;
        let cdf: Vec<u64> = (1..=n)
            .map(|rank| {
                total += (1_u64 << 40) / rank;
                total
            })
            .collect();
        let shift = (64 - total.leading_zeros()).saturating_sub(GUIDE_BITS);
        let guide = (0..=total >> shift)
            .map(|upper| cdf.partition_point(|&c| c <= upper << shift) as u32)
            .collect();
        Self {
            cdf,
            total,
            guide,
            shift,
        }
    }

    #[inline]
    fn pick(&self, r: u64) -> u64 {
        let at = mulhi(r, self.total);
        let upper = (at >> self.shift) as usize;
        let from = self.guide[upper] as usize;
        let to = self
            .guide
            .get(upper + 1)
            .map_or(self.cdf.len(), |&next| next as usize + 1);
        let to = to.min(self.cdf.len());
        (from + self.cdf[from..to].partition_point(|&c| c <= at)) as u64
    }
}

static USERS: LazyLock<Zipf> = LazyLock::new(|| Zipf::new(100_000));
static ITEMS: LazyLock<Zipf> = LazyLock::new(|| Zipf::new(10_000));

/// A short text that needs no allocation: a letter and up to six digits. As a key it is stored, hashed
/// and ordered like the string it shows.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Id {
    bytes: [u8; 7],
    len: u8,
}

impl Id {
    /// The letter, then the number.
    #[inline]
    pub fn new(letter: u8, number: u64) -> Self {
        let mut digits = [0_u8; 6];
        let (mut rest, mut at) = (number, digits.len());
        loop {
            at -= 1;
            digits[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 || at == 0 {
                break;
            }
        }
        let count = digits.len() - at;
        let mut bytes = [0; 7];
        bytes[0] = letter;
        bytes[1..=count].copy_from_slice(&digits[at..]);
        Self {
            bytes,
            len: count as u8 + 1,
        }
    }

    /// Its bytes, all of them ASCII.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// As text.
    #[inline]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StateKey for Id {
    #[inline]
    fn java_hash(&self) -> i32 {
        // String.hashCode of ASCII
        self.as_bytes().iter().fold(0_i32, |hash, byte| {
            hash.wrapping_mul(31).wrapping_add(i32::from(*byte))
        })
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().write_key(out);
    }

    #[inline]
    fn words(&self) -> Option<KeyWords> {
        self.as_str().key_words()
    }

    fn decode(bytes: &mut &[u8]) -> state_backend::Result<Self> {
        let text = String::decode(bytes)?;
        let short = text.get(..text.len().min(7)).unwrap_or_default().as_bytes();
        let mut id = Self {
            len: short.len() as u8,
            ..Self::default()
        };
        id.bytes[..short.len()].copy_from_slice(short);
        Ok(id)
    }
}

impl serde::Serialize for Id {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::from_be_bytes([
            self.len,
            self.bytes[0],
            self.bytes[1],
            self.bytes[2],
            self.bytes[3],
            self.bytes[4],
            self.bytes[5],
            self.bytes[6],
        ]))
    }
}

impl<'de> serde::Deserialize<'de> for Id {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let [len, bytes @ ..] = u64::deserialize(deserializer)?.to_be_bytes();
        Ok(Self {
            bytes,
            len: len.min(7),
        })
    }
}

/// What a user did with an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum EventType {
    /// Looked at it.
    View,
    /// Clicked on it.
    Click,
    /// Liked it.
    Like,
    /// Bought it.
    Purchase,
}

impl EventType {
    /// As the events spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Click => "click",
            Self::Like => "like",
            Self::Purchase => "purchase",
        }
    }

    /// Its weight in a profile.
    pub const fn weight(self) -> f64 {
        match self {
            Self::View => 0.1,
            Self::Click => 0.3,
            Self::Like => 0.5,
            Self::Purchase => 1.0,
        }
    }

    /// Its value in the windows.
    pub const fn value(self) -> i64 {
        match self {
            Self::View => 1,
            Self::Click => 3,
            Self::Like => 5,
            Self::Purchase => 10,
        }
    }
}

/// A shop event.
#[derive(Debug, Clone, Copy)]
pub struct Event {
    /// `u` and a number.
    pub user: Id,
    /// `i` and a number.
    pub item: Id,
    /// `s` and the user's number.
    pub session: Id,
    /// What happened.
    pub kind: EventType,
    /// When, in ms.
    pub timestamp: i64,
}

impl Event {
    /// Event `n`.
    #[inline]
    pub fn nth(n: u64) -> Self {
        let user = USERS.pick(draw(SEED_EVENTS, n.wrapping_mul(4)));
        let item = ITEMS.pick(draw(SEED_EVENTS, n.wrapping_mul(4).wrapping_add(1)));
        let kind = match mulhi(draw(SEED_EVENTS, n.wrapping_mul(4).wrapping_add(2)), 100) {
            0..70 => EventType::View,
            70..90 => EventType::Click,
            90..97 => EventType::Like,
            _ => EventType::Purchase,
        };
        let d = draw(SEED_EVENTS, n.wrapping_mul(4).wrapping_add(3));
        let delay = if d & 7 == 0 {
            ((d >> 8) % 5_000) as i64
        } else {
            0
        };
        Self {
            user: Id::new(b'u', user),
            item: Id::new(b'i', item),
            session: Id::new(b's', user),
            kind,
            timestamp: BASE_TS.wrapping_add(n as i64).wrapping_sub(delay),
        }
    }

    /// The item's category.
    #[inline]
    pub fn category(&self) -> u8 {
        (fnv1a32(self.item.as_bytes()) % 5) as u8
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            item,
            session,
            kind,
            timestamp,
        } = self;
        write!(
            f,
            "{user:?},{item:?},{},{timestamp},{session:?}",
            kind.name()
        )
    }
}

/// The key of event `n` of `valuestate`: each once, then at random.
#[inline]
pub fn value_key(n: u64, keys: u64) -> u64 {
    if n < keys {
        n
    } else {
        mulhi(draw(SEED_KEYS, n), keys)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_events_are_as_given() {
        let lines: Vec<String> = (0..8).map(|n| Event::nth(n).to_string()).collect();
        assert_eq!(
            lines,
            [
                "u0,i277,view,1700000000000,s0",
                "u0,i1,view,1700000000001,s0",
                "u13240,i6,click,1700000000002,s13240",
                "u6677,i1,like,1700000000003,s6677",
                "u32735,i4,view,1700000000004,s32735",
                "u50,i7827,view,1700000000005,s50",
                "u48340,i13,view,1700000000006,s48340",
                "u0,i48,view,1699999999457,s0",
            ]
        );
    }

    #[test]
    fn a_million_events_sum_up_as_given() {
        let sum = (0..1_000_000_u64).fold(0_u64, |sum, n| {
            let line = Event::nth(n).to_string();
            sum.wrapping_add(mix64(fnv1a64(line.as_bytes()).wrapping_add(n)))
        });
        assert_eq!(sum, 12_100_326_706_769_019_224);
    }

    #[test]
    fn random_keys_are_as_given() {
        let first: Vec<u64> = (0..8)
            .map(|n| mulhi(draw(SEED_KEYS, n), 1_000_000))
            .collect();
        assert_eq!(
            first,
            [
                475938, 652594, 311866, 492482, 85319, 706187, 566225, 333765
            ]
        );
        let sum: u64 = (0..1_000_000)
            .map(|n| mulhi(draw(SEED_KEYS, n), 1_000_000))
            .sum();
        assert_eq!(sum, 500_103_296_780);
    }

    #[test]
    fn ids_are_keys_like_their_text() {
        for id in [
            Id::new(b'u', 0),
            Id::new(b'i', 9_999),
            Id::new(b's', 99_999),
        ] {
            let (mut a, mut b) = (Vec::new(), Vec::new());
            id.encode(&mut a);
            id.as_str().to_owned().encode(&mut b);
            assert_eq!(a, b);
            assert_eq!(id.java_hash(), id.as_str().to_owned().java_hash());
            assert_eq!(Id::decode(&mut &a[..]).unwrap(), id);
        }
    }
}
