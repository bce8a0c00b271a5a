//! Latencies, counted in buckets that are at most 3 % wide.

use std::time::Duration;

/// Buckets for each power of two: 32.
const SUB_BITS: u32 = 5;

/// Counts of durations in nanoseconds. 15 KiB.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max_ns: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: vec![0; bucket(u64::MAX) + 1],
            count: 0,
            max_ns: 0,
        }
    }
}

impl Histogram {
    #[inline]
    pub(crate) fn record(&mut self, took: Duration) {
        let ns = took.as_nanos().min(u128::from(u64::MAX)) as u64;
        self.buckets[bucket(ns)] += 1;
        self.count += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    /// The duration that this share of all stays at or below, in microseconds; 0 without any.
    pub(crate) fn quantile_us(&self, share: f64) -> f64 {
        let wanted = (share * self.count as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if *count > 0 && seen >= wanted {
                return upper_end(bucket).min(self.max_ns) as f64 / 1e3;
            }
        }
        0.0
    }

    pub(crate) fn max_us(&self) -> f64 {
        self.max_ns as f64 / 1e3
    }
}

/// Exact below 32, then by the 6 highest bits.
fn bucket(ns: u64) -> usize {
    let bits = u64::BITS - ns.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    ((shift as usize) << SUB_BITS) + (ns >> shift) as usize
}

/// Largest value of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let width = 1usize << SUB_BITS;
    if bucket < 2 * width {
        return bucket as u64;
    }
    let shift = (bucket >> SUB_BITS) as u32 - 1;
    let base = (bucket - ((shift as usize) << SUB_BITS)) as u64;
    (((u128::from(base) + 1) << shift) - 1).min(u128::from(u64::MAX)) as u64
}
