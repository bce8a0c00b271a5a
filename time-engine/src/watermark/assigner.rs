//! From a generator to the watermarks that go downstream.

use super::{Signal, Watermark, WatermarkGenerator, WatermarkStatus};
use crate::{TimeDomain, Timestamp};
use std::time::Duration;

/// How a [`WatermarkAssigner`] ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AssignerOptions {
    interval: Duration,
    idleness: Option<Duration>,
}

impl Default for AssignerOptions {
    /// A tick every 200 ms, as in Flink; never idle.
    fn default() -> Self {
        Self {
            interval: Duration::from_millis(200),
            idleness: None,
        }
    }
}

impl AssignerOptions {
    /// The time between ticks; zero for none.
    #[must_use]
    pub const fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = interval;
        self
    }

    /// Without an event for this long, the stream is marked idle at the next tick.
    #[must_use]
    pub const fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }
}

/// Sends the watermarks of a generator on: only those that grow, at ticks of the clock, with idleness.
/// Flink's `TimestampsAndWatermarksOperator` over `WatermarksWithIdleness`.
///
/// Idleness is noticed at ticks only, and its time starts at the first tick that sees no new event, so
/// the status comes up to two intervals after the timeout. The stream is active again with the next
/// *growing* watermark: late events after an idle phase leave it idle.
#[derive(Debug)]
pub struct WatermarkAssigner<G> {
    generator: G,
    options: AssignerOptions,
    current: Watermark,
    next_tick: Option<Timestamp>,
    status: WatermarkStatus,
    idleness: Idleness,
}

#[derive(Debug, Default)]
struct Idleness {
    /// An event came since the last tick.
    seen: bool,
    /// The first tick that saw none.
    quiet_since: Option<Timestamp>,
    marked: bool,
}

impl Idleness {
    fn is_idle(&mut self, now: Timestamp, timeout: Duration) -> bool {
        if self.seen {
            self.seen = false;
            self.quiet_since = None;
            return false;
        }
        match self.quiet_since {
            None => {
                self.quiet_since = Some(now);
                false
            }
            Some(since) => now > since.saturating_add(timeout),
        }
    }
}

impl<G> WatermarkAssigner<G> {
    /// Starts when the clock shows `now`; the first tick comes an interval later.
    pub fn new(generator: G, options: AssignerOptions, now: Timestamp) -> Self {
        Self {
            generator,
            options,
            current: Watermark::MIN,
            next_tick: (!options.interval.is_zero()).then(|| now.saturating_add(options.interval)),
            status: WatermarkStatus::Active,
            idleness: Idleness::default(),
        }
    }

    /// The last watermark sent.
    pub const fn current(&self) -> Watermark {
        self.current
    }

    /// When the next tick is due: when the clock has gone past this.
    pub const fn next_tick(&self) -> Option<Timestamp> {
        self.next_tick
    }

    /// Sees an event.
    pub fn on_event<E: ?Sized>(
        &mut self,
        event: &E,
        at: Timestamp,
        now: Timestamp,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) where
        G: WatermarkGenerator<E>,
    {
        let watermark = self.generator.on_event(event, at, now);
        self.emit(watermark, out);
        self.idleness.seen = true;
        self.idleness.marked = false;
    }

    /// Sees the clock; ticks if it has passed [`WatermarkAssigner::next_tick`], once however far.
    pub fn on_clock<E: ?Sized>(&mut self, now: Timestamp, out: &mut (impl FnMut(Signal) + ?Sized))
    where
        G: WatermarkGenerator<E>,
    {
        let Some(due) = self.next_tick else { return };
        if TimeDomain::Processing.is_due(due, now) {
            self.next_tick = Some(now.saturating_add(self.options.interval));
            self.tick::<E>(now, out);
        }
    }

    /// Sees a watermark from further up: of no interest, except that [`Watermark::MAX`] ends the stream.
    pub fn on_upstream(&mut self, watermark: Watermark, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if watermark == Watermark::MAX {
            self.emit(Some(watermark), out);
        }
    }

    /// The input has ended: what the generator knows goes out, without waiting for a tick.
    pub fn finish<E: ?Sized>(&mut self, now: Timestamp, out: &mut (impl FnMut(Signal) + ?Sized))
    where
        G: WatermarkGenerator<E>,
    {
        self.tick::<E>(now, out);
    }

    fn tick<E: ?Sized>(&mut self, now: Timestamp, out: &mut (impl FnMut(Signal) + ?Sized))
    where
        G: WatermarkGenerator<E>,
    {
        if let Some(timeout) = self.options.idleness
            && self.idleness.is_idle(now, timeout)
        {
            if !self.idleness.marked {
                self.idleness.marked = true;
                self.set_status(WatermarkStatus::Idle, out);
            }
            return;
        }
        let watermark = self.generator.on_periodic(now);
        self.emit(watermark, out);
    }

    fn emit(&mut self, watermark: Option<Watermark>, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if let Some(watermark) = watermark
            && watermark > self.current
        {
            self.current = watermark;
            self.set_status(WatermarkStatus::Active, out);
            out(Signal::Watermark(watermark));
        }
    }

    fn set_status(&mut self, status: WatermarkStatus, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if self.status != status {
            self.status = status;
            out(Signal::Status(status));
        }
    }
}
