//! Key groups: the units in which keyed state moves between subtasks.
//!
//! The assignment is Flink's (`KeyGroupRangeAssignment`), so that a key lands where a Flink user
//! expects it and state can be split at any parallelism up to the maximum.

use crate::{Error, Result};
use std::fmt;

/// One of `max_parallelism` groups that all keys are divided into, for the life of a job.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct KeyGroup(u16);

impl KeyGroup {
    /// The group with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The first two bytes of every row of this group.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 2] {
        self.0.to_be_bytes()
    }
}

impl fmt::Display for KeyGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key group {}", self.0)
    }
}

/// The number of key groups of a job: 1 to 32,768, 128 unless set. It can never change, for it
/// decides which group a key is in.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(try_from = "u16", into = "u16")]
pub struct MaxParallelism(u16);

impl MaxParallelism {
    /// 128, the least that [`default_for`](Self::default_for) gives.
    pub const DEFAULT: Self = Self(128);
    /// 32,768.
    pub const MAX: Self = Self(1 << 15);

    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] outside 1 to 32,768.
    pub fn new(groups: u16) -> Result<Self> {
        if (1..=Self::MAX.0).contains(&groups) {
            Ok(Self(groups))
        } else {
            Err(Error::InvalidOptions(format!(
                "max parallelism {groups} is not between 1 and 32768"
            )))
        }
    }

    /// What Flink takes for an operator that does not say: one and a half times the parallelism,
    /// rounded up to a power of two, at least 128, at most 32,768.
    #[must_use]
    pub fn default_for(parallelism: u16) -> Self {
        let wanted = u32::from(parallelism) + u32::from(parallelism) / 2;
        let groups = wanted.next_power_of_two().clamp(128, 1 << 15);
        Self(u16::try_from(groups).unwrap_or(Self::MAX.0))
    }

    /// The number of groups.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for MaxParallelism {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u16> for MaxParallelism {
    type Error = Error;

    fn try_from(groups: u16) -> Result<Self> {
        Self::new(groups)
    }
}

impl From<MaxParallelism> for u16 {
    fn from(max: MaxParallelism) -> Self {
        max.0
    }
}

/// A run of neighbouring key groups, both ends included, never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct KeyGroupRange {
    start: KeyGroup,
    end: KeyGroup,
}

impl KeyGroupRange {
    /// The groups from `start` to `end`.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if `end` is before `start`.
    pub fn new(start: KeyGroup, end: KeyGroup) -> Result<Self> {
        if start <= end {
            Ok(Self { start, end })
        } else {
            Err(Error::InvalidOptions(format!(
                "a key group range cannot end at {} before it starts at {}",
                end.0, start.0
            )))
        }
    }

    /// Every group.
    #[must_use]
    pub const fn all(max: MaxParallelism) -> Self {
        Self {
            start: KeyGroup(0),
            end: KeyGroup(max.0 - 1),
        }
    }

    /// The groups of subtask `index` of `parallelism`.
    ///
    /// # Errors
    /// [`Error::InvalidOptions`] if `parallelism` is 0 or above `max`, or `index` is not below it.
    pub fn for_subtask(max: MaxParallelism, parallelism: u16, index: u16) -> Result<Self> {
        check_parallelism(max, parallelism)?;
        if index >= parallelism {
            return Err(Error::InvalidOptions(format!(
                "subtask {index} of {parallelism} does not exist"
            )));
        }
        let (max, parallelism, index) =
            (u32::from(max.0), u32::from(parallelism), u32::from(index));
        // Below 2^16 each: index < parallelism <= max <= 2^15.
        let start = (index * max).div_ceil(parallelism);
        let end = ((index + 1) * max - 1) / parallelism;
        Ok(Self {
            start: KeyGroup(start as u16),
            end: KeyGroup(end as u16),
        })
    }

    /// First group.
    #[must_use]
    pub const fn start(self) -> KeyGroup {
        self.start
    }

    /// Last group.
    #[must_use]
    pub const fn end(self) -> KeyGroup {
        self.end
    }

    /// Number of groups.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a range is never empty")]
    pub const fn len(self) -> usize {
        (self.end.0 - self.start.0) as usize + 1
    }

    /// Whether the group is one of these.
    #[must_use]
    pub const fn contains(self, group: KeyGroup) -> bool {
        self.start.0 <= group.0 && group.0 <= self.end.0
    }

    /// Whether the two have a group in common.
    #[must_use]
    pub const fn intersects(self, other: Self) -> bool {
        self.start.0 <= other.end.0 && other.start.0 <= self.end.0
    }

    /// The groups in order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = KeyGroup> + ExactSizeIterator {
        let start = self.start.0;
        (0..self.len()).map(move |offset| KeyGroup(start + offset as u16))
    }

    /// Position of the group in this range.
    #[must_use]
    pub const fn offset_of(self, group: KeyGroup) -> Option<usize> {
        if self.contains(group) {
            Some(self.offset(group))
        } else {
            None
        }
    }

    /// Position of the group in this range, or at least the length of it if it is not one of these.
    #[inline(always)]
    pub(crate) const fn offset(self, group: KeyGroup) -> usize {
        // Neither is above 2^15, so what wraps is far above that.
        group.0.wrapping_sub(self.start.0) as usize
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key groups {}..={}", self.start.0, self.end.0)
    }
}

/// The group of a key with this Java hash code.
#[inline]
#[must_use]
pub fn key_group_of(hash: i32, max: MaxParallelism) -> KeyGroup {
    let (hash, groups) = (murmur(hash), i32::from(max.0));
    // A division takes longer than all the rest, and few jobs need it.
    let group = if max.0.is_power_of_two() {
        hash & (groups - 1)
    } else {
        hash % groups
    };
    KeyGroup(group as u16)
}

/// The subtask that owns a group.
///
/// # Errors
/// [`Error::InvalidOptions`] if `parallelism` is 0 or above `max`.
pub fn subtask_of(group: KeyGroup, max: MaxParallelism, parallelism: u16) -> Result<u16> {
    check_parallelism(max, parallelism)?;
    Ok((u32::from(group.0) * u32::from(parallelism) / u32::from(max.0)) as u16)
}

fn check_parallelism(max: MaxParallelism, parallelism: u16) -> Result<()> {
    if (1..=max.0).contains(&parallelism) {
        Ok(())
    } else {
        Err(Error::InvalidOptions(format!(
            "parallelism {parallelism} is not between 1 and the max parallelism {}",
            max.0
        )))
    }
}

/// `org.apache.flink.util.MathUtils.murmurHash`: MurmurHash3 of one 32-bit word, made non-negative.
#[inline]
#[must_use]
pub fn murmur(code: i32) -> i32 {
    let mut h = (code as u32)
        .wrapping_mul(0xcc9e_2d51)
        .rotate_left(15)
        .wrapping_mul(0x1b87_3593)
        .rotate_left(13)
        .wrapping_mul(5)
        .wrapping_add(0xe654_6b64);
    h ^= 4;
    h ^= h >> 16;
    h = h.wrapping_mul(0x85eb_ca6b);
    h ^= h >> 13;
    h = h.wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    match h as i32 {
        i32::MIN => 0,
        hash => hash.abs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_flink_does() {
        // Recorded from Flink 1.20.5.
        for (java, expected) in [(0, 593_689_054), (97, 1_455_541_201), (96_354, 74_834_163)] {
            assert_eq!(murmur(java), expected);
        }
        assert_eq!(key_group_of(96_354, MaxParallelism::DEFAULT), KeyGroup(115));
    }

    #[test]
    fn ranges_cover_every_group_once_and_agree_with_subtask_of() {
        for max in [1, 7, 128, 1000, 32768] {
            let max = MaxParallelism::new(max).unwrap();
            for parallelism in [1, 2, 3, 7, 100, 128, 32768] {
                if parallelism > max.get() {
                    assert!(KeyGroupRange::for_subtask(max, parallelism, 0).is_err());
                    continue;
                }
                let mut next = 0;
                for index in 0..parallelism {
                    let range = KeyGroupRange::for_subtask(max, parallelism, index).unwrap();
                    assert_eq!(range.start().get(), next);
                    next = range.end().get() + 1;
                    for group in [range.start(), range.end()] {
                        assert_eq!(subtask_of(group, max, parallelism).unwrap(), index);
                    }
                }
                assert_eq!(next, max.get());
            }
        }
    }

    #[test]
    fn default_max_parallelism_is_flinks() {
        for (parallelism, max) in [(1, 128), (85, 128), (86, 256), (200, 512), (30000, 32768)] {
            assert_eq!(MaxParallelism::default_for(parallelism).get(), max);
        }
    }
}
