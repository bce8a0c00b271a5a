//! A delay that follows the mean lateness of late.

use super::{Watermark, WatermarkGenerator, generator::non_negative};
use crate::{Result, Timestamp};
use std::{collections::VecDeque, time::Duration};

/// The elements the mean is over.
const REMEMBERED: usize = 100;

/// Lags the newest event by 1.5 times the mean delay (clock less timestamp) of the last 100 events, and
/// never by less than a floor.
///
/// The watermark never goes back. When no event has come since the last tick it follows the clock, less
/// the same delay, so that windows close although the stream has stopped.
///
/// It promises nothing about how many events come late: a mean says little about the slowest, and one
/// event with a timestamp far ahead takes time with it. [`super::QuantileWatermarks`] does promise.
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Timestamp, Watermark};
/// use time_engine::watermark::{DynamicWatermarks, WatermarkGenerator};
///
/// let at = Timestamp::from_millis;
/// let mut generator = DynamicWatermarks::new(Duration::from_millis(100));
/// // 200 ms late: the delay becomes 300 ms.
/// let watermark = generator.on_event("e", at(1_000), at(1_200));
/// assert_eq!(watermark, Some(Watermark::from_millis(700)));
/// ```
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct DynamicWatermarks {
    floor: i64,
    factor: f64,
    delays: VecDeque<i64>,
    sum: i128,
    current: Watermark,
    seen_since_tick: bool,
}

impl DynamicWatermarks {
    /// Never lags by less than `floor`.
    pub fn new(floor: Duration) -> Self {
        Self {
            floor: crate::timestamp::duration_millis(floor),
            factor: 1.5,
            delays: VecDeque::with_capacity(REMEMBERED),
            sum: 0,
            current: Watermark::MIN,
            seen_since_tick: false,
        }
    }

    /// Another factor than 1.5.
    ///
    /// # Errors
    /// One that is negative or not a number.
    pub fn with_factor(mut self, factor: f64) -> Result<Self> {
        self.factor = non_negative("factor", factor)?;
        Ok(self)
    }

    /// The delay now, in milliseconds.
    pub fn delay_ms(&self) -> i64 {
        if self.delays.is_empty() {
            return self.floor;
        }
        let mean = self.sum as f64 / self.delays.len() as f64;
        // The conversion saturates.
        ((mean * self.factor) as i64).max(self.floor)
    }

    fn advance(&mut self, from: Timestamp) -> Option<Watermark> {
        let next = Watermark::from_millis(from.as_millis().saturating_sub(self.delay_ms()));
        (next > self.current).then(|| {
            self.current = next;
            next
        })
    }
}

impl<E: ?Sized> WatermarkGenerator<E> for DynamicWatermarks {
    fn on_event(&mut self, _event: &E, at: Timestamp, now: Timestamp) -> Option<Watermark> {
        if self.delays.len() == REMEMBERED
            && let Some(oldest) = self.delays.pop_front()
        {
            self.sum -= i128::from(oldest);
        }
        let delay = now.millis_since(at);
        self.delays.push_back(delay);
        self.sum += i128::from(delay);
        self.seen_since_tick = true;
        self.advance(at)
    }

    fn on_periodic(&mut self, now: Timestamp) -> Option<Watermark> {
        if std::mem::take(&mut self.seen_since_tick) {
            return None;
        }
        self.advance(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn tick(generator: &mut DynamicWatermarks, now: i64) -> Option<Watermark> {
        WatermarkGenerator::<()>::on_periodic(generator, at(now))
    }

    #[test]
    fn only_the_last_hundred_count() {
        let mut generator = DynamicWatermarks::new(Duration::from_millis(10));
        for i in 0..50 {
            generator.on_event(&(), at(i), at(i + 1_000));
        }
        assert_eq!(generator.delay_ms(), 1_500);
        for i in 50..150 {
            generator.on_event(&(), at(i), at(i + 2));
        }
        assert_eq!(generator.delay_ms(), 10, "3 ms is under the floor");
        assert_eq!(generator.delays.len(), 100);
    }

    #[test]
    fn it_never_goes_back() {
        let mut generator = DynamicWatermarks::new(Duration::from_millis(10));
        let first = generator.on_event(&(), at(1_000), at(1_000));
        assert_eq!(first, Some(Watermark::from_millis(990)));
        assert_eq!(generator.on_event(&(), at(1_001), at(9_000)), None);
        assert_eq!(generator.on_event(&(), at(5), at(9_000)), None);
    }

    #[test]
    fn time_goes_on_when_nothing_comes() {
        let mut generator = DynamicWatermarks::new(Duration::from_millis(10));
        generator.on_event(&(), at(1_000), at(1_100));
        assert_eq!(tick(&mut generator, 1_300), None, "an event came since");
        // 150 ms behind the clock, not the floor: what is on its way is as slow as what came.
        assert_eq!(
            tick(&mut generator, 1_500),
            Some(Watermark::from_millis(1_350))
        );
        assert_eq!(tick(&mut generator, 1_400), None);
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        let mut generator = DynamicWatermarks::new(Duration::ZERO);
        generator.on_event(&(), Timestamp::MIN, Timestamp::MAX);
        generator.on_event(&(), Timestamp::MAX, Timestamp::MIN);
        tick(&mut generator, i64::MAX);
    }
}
