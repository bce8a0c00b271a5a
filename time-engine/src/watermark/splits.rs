//! A source that reads several splits, each with its own event time.

use super::{
    Alignment, AssignerOptions, Emission, Pace, Signal, Watermark, WatermarkAssigner,
    WatermarkGenerator, WatermarkMultiplexer, WatermarkStatus,
};
use crate::{Error, Result, Timestamp};
use std::{collections::BTreeMap, fmt::Debug, time::Duration};

/// The watermarks of a source over its splits: a generator and an idle time-out for each split, the
/// minimum over those that are not idle, and a word to those that run ahead.
///
/// Reading partitions of different speed as one stream would call the slow ones' events late; a
/// generator for each does not. As in Flink's source operator, punctuated watermarks count at once and
/// periodic ones at the tick; a source is active again with its next growing watermark.
///
/// ```
/// use std::time::Duration;
/// use time_engine::{Timestamp, Watermark};
/// use time_engine::watermark::{AssignerOptions, Monotonous, Pace, Signal, SplitWatermarks};
///
/// let at = Timestamp::from_millis;
/// let options = AssignerOptions::default().with_interval(Duration::from_millis(100));
/// let mut source = SplitWatermarks::new(options).with_alignment(Duration::from_secs(20));
/// source.register("fast", Monotonous::new(), at(0))?;
/// source.register("slow", Monotonous::new(), at(0))?;
///
/// let mut out = Vec::new();
/// source.on_event(&"fast", "event", at(60_000), at(5), &mut |s| out.push(s))?;
/// source.on_event(&"slow", "event", at(1_000), at(6), &mut |s| out.push(s))?;
/// source.on_clock::<str>(at(101), &mut |s| out.push(s));
/// assert_eq!(out, [Signal::Watermark(Watermark::from_millis(999))]);
/// assert_eq!(source.pace(&"fast"), Pace::Hold);
/// assert_eq!(source.pace(&"slow"), Pace::Go);
/// # Ok::<(), time_engine::Error>(())
/// ```
#[derive(Debug)]
pub struct SplitWatermarks<S, G> {
    options: AssignerOptions,
    splits: BTreeMap<S, WatermarkAssigner<G>>,
    combined: WatermarkMultiplexer<S>,
    alignment: Option<Alignment<S>>,
    status: WatermarkStatus,
}

impl<S: Ord + Clone + Debug, G> SplitWatermarks<S, G> {
    /// No splits yet; each will tick and go idle by `options`.
    pub fn new(options: AssignerOptions) -> Self {
        Self {
            options,
            splits: BTreeMap::new(),
            combined: WatermarkMultiplexer::new(),
            alignment: None,
            status: WatermarkStatus::Active,
        }
    }

    /// Holds back whoever is more than `max_drift` ahead of the slowest split that is not idle.
    #[must_use]
    pub fn with_alignment(mut self, max_drift: Duration) -> Self {
        self.alignment = Some(Alignment::new(max_drift));
        self
    }

    /// Reads a split from now on. It holds the source's watermark until it has one of its own.
    ///
    /// # Errors
    /// A split of that name is read already.
    pub fn register(&mut self, split: S, generator: G, now: Timestamp) -> Result<()> {
        self.combined.register(split.clone())?;
        if let Some(alignment) = &mut self.alignment {
            alignment.report(split.clone(), Watermark::MIN);
        }
        let assigner = WatermarkAssigner::new(generator, self.options, now);
        self.splits.insert(split, assigner);
        Ok(())
    }

    /// Reads a split no longer; what it held back goes out with the next tick.
    pub fn unregister(&mut self, split: &S) -> bool {
        if let Some(alignment) = &mut self.alignment {
            alignment.leave(split);
        }
        self.combined.unregister(split);
        self.splits.remove(split).is_some()
    }

    /// The source's watermark.
    pub const fn current(&self) -> Watermark {
        self.combined.current()
    }

    /// Whether a split should be read on or wait; [`Pace::Go`] without alignment.
    pub fn pace(&self, split: &S) -> Pace {
        match (&self.alignment, self.splits.get(split)) {
            (Some(alignment), Some(assigner)) => alignment.pace(assigner.current()),
            _ => Pace::Go,
        }
    }

    /// Sees an event of a split.
    ///
    /// # Errors
    /// No such split.
    pub fn on_event<E: ?Sized>(
        &mut self,
        split: &S,
        event: &E,
        at: Timestamp,
        now: Timestamp,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()>
    where
        G: WatermarkGenerator<E>,
    {
        let Some(assigner) = self.splits.get_mut(split) else {
            return Err(Error::UnknownInput {
                id: format!("{split:?}"),
                problem: "is not a split of this source",
            });
        };
        let mut news = Vec::new();
        assigner.on_event(event, at, now, &mut |signal| news.push(signal));
        self.pass_on(&split.clone(), news, Emission::Immediate, out);
        Ok(())
    }

    /// Sees the clock: the splits tick, and the source with them.
    pub fn on_clock<E: ?Sized>(&mut self, now: Timestamp, out: &mut (impl FnMut(Signal) + ?Sized))
    where
        G: WatermarkGenerator<E>,
    {
        let mut news = Vec::new();
        for (split, assigner) in &mut self.splits {
            assigner.on_clock::<E>(now, &mut |signal| news.push((split.clone(), signal)));
        }
        for (split, signal) in news {
            self.pass_on(&split, [signal], Emission::Deferred, out);
        }
        let status = &mut self.status;
        self.combined
            .on_periodic(&mut |signal| emit(status, signal, out));
    }

    fn pass_on(
        &mut self,
        split: &S,
        news: impl IntoIterator<Item = Signal>,
        emission: Emission,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) {
        for signal in news {
            let status = &mut self.status;
            let mut emit = |signal| emit(status, signal, out);
            // Every split is registered in both, so neither call is refused.
            let _ = match signal {
                Signal::Watermark(watermark) => {
                    if let Some(alignment) = &mut self.alignment {
                        alignment.report(split.clone(), watermark);
                    }
                    self.combined
                        .on_watermark(split, watermark, emission, &mut emit)
                }
                Signal::Status(status) => {
                    if let (WatermarkStatus::Idle, Some(alignment)) = (status, &mut self.alignment)
                    {
                        alignment.leave(split);
                    }
                    self.combined.on_status(split, status, emission, &mut emit)
                }
            };
        }
    }
}

/// Says that the source is idle once, and that it is active again before the next watermark.
fn emit(status: &mut WatermarkStatus, signal: Signal, out: &mut (impl FnMut(Signal) + ?Sized)) {
    let new = match signal {
        Signal::Watermark(_) => WatermarkStatus::Active,
        Signal::Status(new) => new,
    };
    if *status != new {
        *status = new;
        out(Signal::Status(new));
    }
    if let Signal::Watermark(_) = signal {
        out(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::watermark::Monotonous;

    fn at(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn source() -> SplitWatermarks<u8, Monotonous> {
        let options = AssignerOptions::default()
            .with_interval(Duration::from_millis(10))
            .with_idleness(Duration::from_millis(15));
        let mut source = SplitWatermarks::new(options).with_alignment(Duration::from_millis(50));
        for split in [0, 1] {
            source
                .register(split, Monotonous::new(), at(0))
                .expect("a new split");
        }
        source
    }

    fn event(source: &mut SplitWatermarks<u8, Monotonous>, split: u8, ts: i64) {
        source
            .on_event(&split, &(), at(ts), at(0), &mut |_| {
                unreachable!("these generators speak at ticks")
            })
            .expect("a known split");
    }

    fn tick(source: &mut SplitWatermarks<u8, Monotonous>, now: i64) -> Vec<Signal> {
        let mut out = Vec::new();
        source.on_clock::<()>(at(now), &mut |signal| out.push(signal));
        out
    }

    fn watermark(ms: i64) -> Signal {
        Signal::Watermark(Watermark::from_millis(ms))
    }

    #[test]
    fn an_idle_split_holds_neither_time_nor_the_fast_back() {
        let mut source = source();
        event(&mut source, 0, 1_000);
        assert_eq!(tick(&mut source, 11), []);
        assert_eq!(source.pace(&0), Pace::Hold);
        let mut now = 11;
        let mut out = Vec::new();
        while out.is_empty() {
            now += 11;
            event(&mut source, 0, 1_000 + now);
            out = tick(&mut source, now);
        }
        assert_eq!(out, [watermark(1_000 + now - 1)]);
        assert_eq!(source.pace(&0), Pace::Go);
    }

    #[test]
    fn all_idle_is_said_once_and_undone_by_the_next_watermark() {
        let mut source = source();
        event(&mut source, 0, 100);
        event(&mut source, 1, 90);
        assert_eq!(tick(&mut source, 11), [watermark(89)]);
        let quiet: Vec<Signal> = (2..8).flat_map(|n| tick(&mut source, n * 11)).collect();
        // Each split that goes idle stops holding the other; the last one leaves the source idle.
        assert_eq!(quiet.last(), Some(&Signal::Status(WatermarkStatus::Idle)));
        assert_eq!(
            quiet
                .iter()
                .filter(|s| matches!(s, Signal::Status(_)))
                .count(),
            1
        );
        event(&mut source, 1, 200);
        let active = Signal::Status(WatermarkStatus::Active);
        assert_eq!(tick(&mut source, 100), [active, watermark(199)]);
    }

    #[test]
    fn a_split_that_ends_lets_the_others_go() {
        let mut source = source();
        event(&mut source, 0, 500);
        event(&mut source, 1, 10);
        assert_eq!(tick(&mut source, 11), [watermark(9)]);
        assert_eq!(source.pace(&0), Pace::Hold);
        assert!(source.unregister(&1));
        assert_eq!(source.pace(&0), Pace::Go);
        assert_eq!(tick(&mut source, 12), [watermark(499)]);
        assert!(source.register(0, Monotonous::new(), at(12)).is_err());
    }
}
