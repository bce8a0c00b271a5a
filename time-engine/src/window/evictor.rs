//! Dropping elements of a window around its evaluation.

use super::{Timestamped, Window};
use crate::Timestamp;
use std::{fmt, fmt::Debug, time::Duration};

/// When an evictor runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum EvictAt {
    /// Before the result is computed: it does not see the evicted elements.
    #[default]
    Before,
    /// After it: the next firing does not see them.
    After,
}

/// Drops elements of a firing window, for good: later firings do not see them either.
pub trait Evictor<Acc>: Debug + Send + Sync + 'static {
    /// When it runs.
    fn at(&self) -> EvictAt;

    /// Drops what must go and gives the number of elements that stay. A window without elements does
    /// not fire until another comes.
    fn evict(&self, contents: &mut Acc, window: Window) -> usize;
}

/// Keeps the last `n` elements in the order of arrival.
#[derive(Debug, Clone, Copy)]
pub struct CountEvictor {
    keep: usize,
    at: EvictAt,
}

impl CountEvictor {
    /// Keeps the last `n`, which may be 0.
    pub const fn new(n: usize, at: EvictAt) -> Self {
        Self { keep: n, at }
    }
}

impl<T: 'static> Evictor<Vec<T>> for CountEvictor {
    fn at(&self) -> EvictAt {
        self.at
    }

    fn evict(&self, contents: &mut Vec<T>, _window: Window) -> usize {
        contents.drain(..contents.len().saturating_sub(self.keep));
        contents.len()
    }
}

/// Keeps the elements younger than the youngest one's timestamp less a size; the limit itself goes.
/// If the first element has no timestamp, everything stays.
#[derive(Debug, Clone, Copy)]
pub struct TimeEvictor {
    size: Duration,
    at: EvictAt,
}

impl TimeEvictor {
    /// Keeps a span of `size` up to the youngest element.
    pub const fn new(size: Duration, at: EvictAt) -> Self {
        Self { size, at }
    }
}

impl<T: 'static> Evictor<Vec<Timestamped<T>>> for TimeEvictor {
    fn at(&self) -> EvictAt {
        self.at
    }

    fn evict(&self, contents: &mut Vec<Timestamped<T>>, _window: Window) -> usize {
        let has_time = contents.first().is_some_and(|e| e.at != Timestamp::MIN);
        if let (true, Some(youngest)) = (has_time, contents.iter().map(|e| e.at).max()) {
            let limit = youngest.saturating_sub(self.size);
            contents.retain(|e| e.at > limit);
        }
        contents.len()
    }
}

/// Drops the elements whose distance to the last one reaches a threshold.
pub struct DeltaEvictor<F> {
    threshold: f64,
    delta: F,
    at: EvictAt,
}

impl<F> DeltaEvictor<F> {
    /// `delta(element, last)` gives the distance.
    pub const fn new(threshold: f64, delta: F, at: EvictAt) -> Self {
        Self {
            threshold,
            delta,
            at,
        }
    }
}

impl<F> Debug for DeltaEvictor<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaEvictor")
            .field("threshold", &self.threshold)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl<T, F> Evictor<Vec<Timestamped<T>>> for DeltaEvictor<F>
where
    T: Clone + 'static,
    F: Fn(&T, &T) -> f64 + Send + Sync + 'static,
{
    fn at(&self) -> EvictAt {
        self.at
    }

    fn evict(&self, contents: &mut Vec<Timestamped<T>>, _window: Window) -> usize {
        if let Some(last) = contents.last().cloned() {
            // A distance that is not a number stays, as Java's comparison has it.
            contents.retain(|e| {
                let delta = (self.delta)(&e.value, &last.value);
                delta.is_nan() || delta < self.threshold
            });
        }
        contents.len()
    }
}
