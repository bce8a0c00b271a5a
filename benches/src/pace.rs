//! A source at a steady rate, for latencies.

use crate::events::Event;
use operators::{Result, Source, SourceContext, SourceOutput, SourceReader, SourceStatus, Split};
use std::sync::Arc;
use std::time::Duration;
use time_engine::Clock;

/// Event `n` is due `n / rate` seconds after the first poll; it carries that time, in ns of the clock.
#[derive(Debug, Clone)]
pub struct PacedEvents {
    /// Events a second, of all readers together.
    pub rate: u64,
    /// The end.
    pub count: u64,
    /// Gives the time.
    pub clock: Arc<dyn Clock>,
}

impl Source for PacedEvents {
    type Item = (Event, u64);
    type Reader = PacedReader;

    fn splits(&self, parallelism: usize) -> Result<Vec<Split>> {
        Ok((0..parallelism)
            .map(|i| Split::new(i.to_string()).at_offset(i as u64))
            .collect())
    }

    fn open(&self, splits: Vec<Split>, cx: SourceContext) -> Result<PacedReader> {
        let split = splits
            .into_iter()
            .next()
            .unwrap_or_else(|| Split::new("none"));
        let next = split.offset().unwrap_or(0);
        let (source, stride) = (self.clone(), cx.parallelism as u64);
        let start = self.clock.elapsed() + Duration::from_millis(20);
        Ok(PacedReader {
            source,
            id: split.id,
            first: next,
            next,
            stride,
            start,
        })
    }
}

/// Reads [`PacedEvents`].
#[derive(Debug)]
pub struct PacedReader {
    source: PacedEvents,
    id: String,
    first: u64,
    next: u64,
    stride: u64,
    start: Duration,
}

impl PacedReader {
    fn due(&self, n: u64) -> Duration {
        let ns = u128::from(n - self.first) * 1_000_000_000 / u128::from(self.source.rate);
        self.start + Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl SourceReader for PacedReader {
    type Item = (Event, u64);

    fn poll_batch(
        &mut self,
        max: usize,
        out: &mut SourceOutput<(Event, u64)>,
    ) -> Result<SourceStatus> {
        let now = self.source.clock.elapsed();
        for _ in 0..max {
            if self.next >= self.source.count {
                return Ok(SourceStatus::End);
            }
            let due = self.due(self.next);
            if due > now {
                return Ok(SourceStatus::IdleFor(due - now));
            }
            out.push((
                Event::nth(self.next),
                u64::try_from(due.as_nanos()).unwrap_or(u64::MAX),
            ));
            self.next += self.stride;
        }
        Ok(SourceStatus::Ready)
    }

    fn positions(&self) -> Result<Vec<Split>> {
        Ok(vec![Split::new(self.id.clone()).at_offset(self.next)])
    }
}
