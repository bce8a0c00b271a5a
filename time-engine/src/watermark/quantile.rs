//! A delay that a chosen share of the events keeps.

use super::{Watermark, WatermarkGenerator};
use crate::{Error, Result, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// What a [`QuantileWatermarks`] aims at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantileOptions {
    quantile: f64,
    sample: usize,
    floor: Duration,
    ceiling: Duration,
}

impl Default for QuantileOptions {
    /// 99.9 % of the last 10,000 events on time; a delay of at most an hour.
    fn default() -> Self {
        Self {
            quantile: 0.999,
            sample: 10_000,
            floor: Duration::ZERO,
            ceiling: Duration::from_secs(3_600),
        }
    }
}

impl QuantileOptions {
    /// The share of events that shall be on time, between 0 and 1.
    #[must_use]
    pub const fn with_quantile(mut self, quantile: f64) -> Self {
        self.quantile = quantile;
        self
    }

    /// How many of the last events are looked at; 2 bytes each.
    #[must_use]
    pub const fn with_sample(mut self, events: usize) -> Self {
        self.sample = events;
        self
    }

    /// The least delay.
    #[must_use]
    pub const fn with_floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// The greatest delay: a source that sends a day late does not hold everything back for a day.
    #[must_use]
    pub const fn with_ceiling(mut self, ceiling: Duration) -> Self {
        self.ceiling = ceiling;
        self
    }
}

/// Lags the newest timestamp by a quantile of how far events were behind it.
///
/// The lateness of an event is the newest timestamp before it, less its own; no clock is involved, so
/// replaying a log gives the same watermarks.
///
/// **Guarantee.** At each tick let `d` be the delay chosen. If floor <= d < ceiling then of the last `n`
/// events (the sample) at least the share `q` had a lateness of at most `d`; and `d` is at most 1/16
/// greater than the smallest delay with this property (or 1 ms, or the floor). So a stream whose disorder
/// does not change has at most `1 - q` of its events behind the watermark, give or take the sampling
/// error. A watermark already given is never taken back, so a disorder that grows is met from the next
/// tick on.
///
/// Memory: 2 bytes for each event of the sample and 4 kB, whatever the timestamps. Cost: O(1) an event,
/// about 1,000 steps a tick. [`BoundedOutOfOrderness`](super::BoundedOutOfOrderness) is the case of a
/// known bound; [`DynamicWatermarks`](super::DynamicWatermarks) the mean without a promise.
#[derive(Debug, Clone)]
pub struct QuantileWatermarks {
    options: QuantileOptions,
    newest: Option<Timestamp>,
    buckets: Vec<u32>,
    sample: VecDeque<u16>,
    current: Watermark,
}

/// Buckets to a power of two: the relative error.
const STEPS: u64 = 16;
const BUCKETS: usize = 1_024;

/// Lateness in buckets that grow with it: 0 to 15 exactly, then sixteen to a doubling.
fn bucket_of(lateness: u64) -> u16 {
    if lateness < STEPS {
        return lateness as u16;
    }
    let doubling = 63 - u64::from(lateness.leading_zeros());
    let step = (lateness >> (doubling - 4)) & (STEPS - 1);
    ((doubling - 3) * STEPS + step) as u16
}

/// The greatest lateness in a bucket.
fn bucket_limit(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < STEPS {
        return bucket;
    }
    let shift = bucket / STEPS - 1;
    let low = u128::from(STEPS + bucket % STEPS) << shift;
    u64::try_from(low + (1 << shift) - 1).unwrap_or(u64::MAX)
}

impl QuantileWatermarks {
    /// Nothing seen yet.
    ///
    /// # Errors
    /// A quantile outside 0 to 1, an empty sample or one of over 16 million events, a floor above the
    /// ceiling.
    pub fn new(options: QuantileOptions) -> Result<Self> {
        let invalid = |what, must, value| Err(Error::Invalid { what, must, value });
        if !(0.0..=1.0).contains(&options.quantile) {
            return invalid(
                "quantile",
                "lie between 0 and 1",
                options.quantile.round() as i64,
            );
        }
        if options.sample == 0 || options.sample > 1 << 24 {
            let sample = i64::try_from(options.sample).unwrap_or(i64::MAX);
            return invalid("sample", "be between 1 and 16777216 events", sample);
        }
        if options.floor > options.ceiling {
            let floor = crate::timestamp::duration_millis(options.floor);
            return invalid("floor", "not be above the ceiling", floor);
        }
        Ok(Self {
            options,
            newest: None,
            buckets: vec![0; BUCKETS],
            sample: VecDeque::new(),
            current: Watermark::MIN,
        })
    }

    /// The delay now.
    pub fn delay(&self) -> Duration {
        let wanted = (self.options.quantile * self.sample.len() as f64).ceil() as u64;
        let mut seen = 0_u64;
        let mut delay = 0;
        for (bucket, count) in (0_u16..).zip(&self.buckets) {
            if seen >= wanted {
                break;
            }
            seen += u64::from(*count);
            if *count > 0 {
                delay = bucket_limit(bucket);
            }
        }
        Duration::from_millis(delay).clamp(self.options.floor, self.options.ceiling)
    }

    fn observe(&mut self, at: Timestamp) {
        let lateness = self.newest.map_or(0, |newest| newest.millis_since(at));
        self.newest = Some(self.newest.map_or(at, |newest| newest.max(at)));
        if self.sample.len() == self.options.sample
            && let Some(oldest) = self.sample.pop_front()
        {
            self.buckets[usize::from(oldest)] -= 1;
        }
        let bucket = bucket_of(lateness.max(0).unsigned_abs());
        self.buckets[usize::from(bucket)] += 1;
        self.sample.push_back(bucket);
    }
}

impl<E: ?Sized> WatermarkGenerator<E> for QuantileWatermarks {
    fn on_event(&mut self, _event: &E, at: Timestamp, _now: Timestamp) -> Option<Watermark> {
        self.observe(at);
        None
    }

    fn on_periodic(&mut self, _now: Timestamp) -> Option<Watermark> {
        let newest = self.newest?;
        let at = newest
            .saturating_sub(self.delay())
            .as_millis()
            .saturating_sub(1);
        self.current = self.current.max(Watermark::from_millis(at));
        Some(self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_contiguous_and_a_sixteenth_wide() {
        for lateness in (0..10_000).chain([1 << 40, (1 << 40) + 12_345, u64::MAX >> 1]) {
            let limit = bucket_limit(bucket_of(lateness));
            assert!(limit >= lateness, "{lateness} is in a bucket up to {limit}");
            assert!(limit - lateness <= lateness / STEPS, "{lateness}: {limit}");
            assert!(bucket_of(limit + 1) == bucket_of(lateness) + 1);
        }
        assert!(usize::from(bucket_of(u64::MAX)) < BUCKETS);
    }

    #[test]
    fn options_that_cannot_be_are_refused() {
        let options = QuantileOptions::default();
        assert!(QuantileWatermarks::new(options.with_quantile(1.5)).is_err());
        assert!(QuantileWatermarks::new(options.with_quantile(f64::NAN)).is_err());
        assert!(QuantileWatermarks::new(options.with_sample(0)).is_err());
        assert!(QuantileWatermarks::new(options.with_floor(Duration::MAX)).is_err());
    }

    #[test]
    fn extremes_stay_in_bounds() {
        let mut generator = QuantileWatermarks::new(QuantileOptions::default()).unwrap();
        for at in [Timestamp::MIN, Timestamp::MAX, Timestamp::MIN] {
            generator.on_event(&(), at, Timestamp::EPOCH);
            WatermarkGenerator::<()>::on_periodic(&mut generator, Timestamp::EPOCH);
        }
        assert_eq!(generator.delay(), Duration::from_secs(3_600));
    }

    proptest! {
        /// The guarantee of the type's documentation.
        #[test]
        fn the_share_on_time_is_kept(
            disorder in prop::collection::vec(0_i64..5_000, 1..400),
            percent in 1_u32..=100,
            sample in 1_usize..200,
        ) {
            let quantile = f64::from(percent) / 100.0;
            let options = QuantileOptions::default().with_quantile(quantile).with_sample(sample);
            let mut generator = QuantileWatermarks::new(options).unwrap();
            let (mut newest, mut lateness) = (i64::MIN, Vec::new());
            for (i, back) in (0_i64..).zip(disorder) {
                let at = i * 10 - back;
                lateness.push(newest.saturating_sub(at).max(0));
                newest = newest.max(at);
                generator.on_event(&(), Timestamp::from_millis(at), Timestamp::EPOCH);
            }
            let last = &lateness[lateness.len().saturating_sub(sample)..];
            let delay = i64::try_from(generator.delay().as_millis()).unwrap();
            let share = |d: i64| last.iter().filter(|l| **l <= d).count() as f64;
            let wanted = (quantile * last.len() as f64).ceil();
            prop_assert!(share(delay) >= wanted);
            // The smallest delay that keeps the promise is not much smaller.
            let mut sorted = last.to_vec();
            sorted.sort_unstable();
            let least = sorted[(wanted as usize).max(1) - 1];
            prop_assert!(delay <= least + least / 16 + 1);
        }
    }
}
