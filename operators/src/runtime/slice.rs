//! How much is done at a time: background work between two batches, elements between two questions.

use super::link::PREFETCH;
use state_backend::PumpBudget;
use std::time::Duration;

/// What a slice should take: elements wait for it.
const TARGET: Duration = Duration::from_micros(250);
const LEAST: u32 = 16;
/// To begin with: microseconds for small values, and under a millisecond for large ones.
const FIRST: u32 = 64;

/// A number of entries, smaller where entries take long.
#[derive(Debug)]
pub(crate) struct Slice {
    entries: u32,
    most: u32,
}

impl Slice {
    /// Up to `most` entries.
    pub(crate) fn new(most: u32) -> Self {
        let most = most.max(1);
        let entries = most.min(FIRST);
        Self { entries, most }
    }

    pub(crate) fn budget(&self) -> PumpBudget {
        PumpBudget::entries(self.entries)
    }

    /// Learns from how long one took. A thread that lost its core in the middle has smaller ones for a while.
    pub(crate) fn took(&mut self, time: Duration) {
        if time > TARGET {
            self.entries = (self.entries / 2).max(LEAST).min(self.most);
        } else if time < TARGET / 4 {
            self.entries = self.entries.saturating_mul(2).min(self.most);
        }
    }
}

/// What a question waits for at most, about, between two looks.
const PATIENCE: Duration = Duration::from_micros(60);

/// A number of elements, smaller where elements take long.
#[derive(Debug)]
pub(crate) struct Stride(usize);

impl Default for Stride {
    fn default() -> Self {
        Self(PREFETCH)
    }
}

impl Stride {
    pub(crate) fn elements(&self) -> usize {
        self.0
    }

    /// Learns from how long one took.
    pub(crate) fn took(&mut self, time: Duration) {
        if time > PATIENCE {
            self.0 = (self.0 / 2).max(1);
        } else if time < PATIENCE / 4 {
            self.0 = (self.0 * 2).min(PREFETCH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The longest of the slices of a snapshot whose entries take so long each.
    fn longest(ns_per_entry: u64, most: u32) -> Duration {
        let mut slice = Slice::new(most);
        let mut longest = Duration::ZERO;
        for _ in 0..1_000 {
            let time = Duration::from_nanos(u64::from(slice.entries) * ns_per_entry);
            longest = longest.max(time);
            slice.took(time);
        }
        longest
    }

    #[test]
    fn slices_stay_short_whatever_an_entry_costs() {
        for ns in [10, 100, 1_000, 5_000, 15_000] {
            assert!(longest(ns, 2_048) <= Duration::from_millis(1), "{ns} ns");
        }
        assert_eq!(longest(100, 2_048), Duration::from_nanos(102_400));
        assert_eq!(longest(1, 64), Duration::from_nanos(64));
    }

    #[test]
    fn strides_are_short_where_elements_take_long() {
        let mut stride = Stride::default();
        for (us_per_element, elements) in [(1, 16), (10, 4), (100, 1), (1, 16)] {
            for _ in 0..8 {
                let time = us_per_element * stride.elements() as u64;
                stride.took(Duration::from_micros(time));
            }
            assert_eq!(stride.elements(), elements, "{us_per_element} us");
        }
    }

    #[test]
    fn one_long_slice_is_forgotten() {
        let mut slice = Slice::new(1_024);
        for _ in 0..4 {
            slice.took(Duration::ZERO);
        }
        slice.took(Duration::from_millis(20));
        assert_eq!(slice.entries, 512);
        slice.took(Duration::from_micros(50));
        assert_eq!(slice.entries, 1_024);
    }
}
