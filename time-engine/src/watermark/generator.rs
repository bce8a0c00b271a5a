//! Who makes watermarks out of the events of one source.

use super::Watermark;
use crate::{Error, Result, Timestamp};
use std::{fmt, fmt::Debug, time::Duration};

/// Makes the watermarks of one stream of events.
///
/// A generator may repeat itself or go back; who sends its watermarks on ([`super::WatermarkAssigner`])
/// drops what does not grow. `now` is the clock's reading, for generators that compare it with event
/// time.
pub trait WatermarkGenerator<E: ?Sized>: Debug {
    /// Sees an event; may give a watermark at once.
    fn on_event(&mut self, event: &E, at: Timestamp, now: Timestamp) -> Option<Watermark>;

    /// Called at each tick of the watermark interval.
    fn on_periodic(&mut self, now: Timestamp) -> Option<Watermark>;
}

/// Events may come up to a bound later than newer ones: the watermark is the latest timestamp seen,
/// less the bound, less 1 ms. Flink's `BoundedOutOfOrdernessWatermarks`.
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Timestamp, Watermark};
/// use time_engine::watermark::{BoundedOutOfOrderness, WatermarkGenerator};
///
/// let mut generator = BoundedOutOfOrderness::new(Duration::from_millis(5));
/// let now = Timestamp::EPOCH;
/// for ts in [20, 18] {
///     generator.on_event("event", Timestamp::from_millis(ts), now);
/// }
/// let periodic = WatermarkGenerator::<str>::on_periodic(&mut generator, now);
/// assert_eq!(periodic, Some(Watermark::from_millis(14)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BoundedOutOfOrderness {
    latest: i64,
    bound: i64,
}

impl BoundedOutOfOrderness {
    /// Events come at most `bound` out of order.
    pub fn new(bound: Duration) -> Self {
        // Less than the whole range, so that the start below is one.
        let bound = crate::timestamp::duration_millis(bound).min(i64::MAX - 1);
        Self {
            // So that nothing underflows before the first event.
            latest: i64::MIN + bound + 1,
            bound,
        }
    }

    /// The watermark now; [`Watermark::MIN`] before the first event.
    pub const fn watermark(&self) -> Watermark {
        Watermark::from_millis(self.latest - self.bound - 1)
    }

    /// Sees a timestamp.
    pub fn observe(&mut self, at: Timestamp) {
        self.latest = self.latest.max(at.as_millis());
    }
}

impl<E: ?Sized> WatermarkGenerator<E> for BoundedOutOfOrderness {
    fn on_event(&mut self, _event: &E, at: Timestamp, _now: Timestamp) -> Option<Watermark> {
        self.observe(at);
        None
    }

    fn on_periodic(&mut self, _now: Timestamp) -> Option<Watermark> {
        Some(self.watermark())
    }
}

/// Events come in order: a bound of zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Monotonous(BoundedOutOfOrderness);

impl Monotonous {
    /// Nothing seen yet.
    pub fn new() -> Self {
        Self(BoundedOutOfOrderness::new(Duration::ZERO))
    }
}

impl Default for Monotonous {
    fn default() -> Self {
        Self::new()
    }
}

impl<E: ?Sized> WatermarkGenerator<E> for Monotonous {
    fn on_event(&mut self, event: &E, at: Timestamp, now: Timestamp) -> Option<Watermark> {
        self.0.on_event(event, at, now)
    }

    fn on_periodic(&mut self, now: Timestamp) -> Option<Watermark> {
        WatermarkGenerator::<E>::on_periodic(&mut self.0, now)
    }
}

/// Certain events carry the watermark themselves.
pub struct Punctuated<F>(F);

impl<F> Punctuated<F> {
    /// `mark` gives the instant an event vouches for, if it does.
    pub const fn new(mark: F) -> Self {
        Self(mark)
    }
}

impl<F> Debug for Punctuated<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Punctuated")
    }
}

impl<E: ?Sized, F: FnMut(&E, Timestamp) -> Option<Timestamp>> WatermarkGenerator<E>
    for Punctuated<F>
{
    fn on_event(&mut self, event: &E, at: Timestamp, _now: Timestamp) -> Option<Watermark> {
        (self.0)(event, at).map(Watermark::new)
    }

    fn on_periodic(&mut self, _now: Timestamp) -> Option<Watermark> {
        None
    }
}

/// The stream has no event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct NoWatermarks;

impl<E: ?Sized> WatermarkGenerator<E> for NoWatermarks {
    fn on_event(&mut self, _event: &E, _at: Timestamp, _now: Timestamp) -> Option<Watermark> {
        None
    }

    fn on_periodic(&mut self, _now: Timestamp) -> Option<Watermark> {
        None
    }
}

/// For generators chosen at run time.
impl<E: ?Sized, G: WatermarkGenerator<E> + ?Sized> WatermarkGenerator<E> for Box<G> {
    fn on_event(&mut self, event: &E, at: Timestamp, now: Timestamp) -> Option<Watermark> {
        (**self).on_event(event, at, now)
    }

    fn on_periodic(&mut self, now: Timestamp) -> Option<Watermark> {
        (**self).on_periodic(now)
    }
}

/// A delay given in milliseconds, as configurations have it.
///
/// # Errors
/// A negative one.
pub(super) fn non_negative(what: &'static str, value: f64) -> Result<f64> {
    if value >= 0.0 && value.is_finite() {
        Ok(value)
    } else {
        Err(Error::Invalid {
            what,
            must: "be a finite number, at least 0",
            value: value as i64,
        })
    }
}
