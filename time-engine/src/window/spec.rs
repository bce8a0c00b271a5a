//! One window specification: assigner, trigger, evictor, lateness.

use super::{
    Aggregate, Collect, CountEvictor, CountTrigger, EvictAt, Evictor, PurgingTrigger, Trigger,
    WindowAssigner,
    assigner::{Assigner, Gap, MAX_OVERLAP},
};
use crate::{Error, Result, TimeDomain};
use std::{fmt, sync::Arc, time::Duration};

/// Which windows, when they fire, and how long they wait for late elements.
///
/// ```
/// use std::time::Duration;
/// use time_engine::window::{Stats, WindowSpec};
///
/// let minute = Duration::from_secs(60);
/// let spec: WindowSpec<Stats> = WindowSpec::sliding(minute, minute / 2)
///     .with_allowed_lateness(Duration::from_secs(10));
/// assert!(spec.check().is_ok());
/// assert!(WindowSpec::<Stats>::tumbling(Duration::ZERO).check().is_err());
/// ```
pub struct WindowSpec<A: Aggregate> {
    pub(crate) assigner: Assigner<A::In>,
    pub(crate) trigger: Option<Arc<dyn Trigger>>,
    pub(crate) evictor: Option<Arc<dyn Evictor<A::Acc>>>,
    pub(crate) lateness: i64,
}

impl<A: Aggregate> WindowSpec<A> {
    fn new(assigner: Assigner<A::In>) -> Self {
        Self {
            assigner,
            trigger: None,
            evictor: None,
            lateness: 0,
        }
    }

    /// Windows of `size` side by side.
    pub fn tumbling(size: Duration) -> Self {
        Self::new(Assigner::sliding(size, size))
    }

    /// Windows of `size`, a new one every `slide`. With a slide greater than the size there are gaps
    /// that belong to no window.
    pub fn sliding(size: Duration, slide: Duration) -> Self {
        Self::new(Assigner::sliding(size, slide))
    }

    /// Windows that end when nothing has come for `gap`.
    pub fn session(gap: Duration) -> Self {
        Self::new(Assigner::Session {
            domain: TimeDomain::Event,
            gap: Gap::Fixed(crate::timestamp::duration_millis(gap)),
        })
    }

    /// Sessions whose gap, in milliseconds, each element sets for the time after itself.
    pub fn session_with(gap_ms: impl Fn(&A::In) -> i64 + Send + Sync + 'static) -> Self {
        Self::new(Assigner::Session {
            domain: TimeDomain::Event,
            gap: Gap::Dynamic(Arc::new(gap_ms)),
        })
    }

    /// One window for all time. It fires only if it is given a trigger.
    pub fn global() -> Self {
        Self::new(Assigner::Global)
    }

    /// Windows of `n` elements (Flink's `countWindow(n)`). One that does not fill never fires.
    pub fn count(n: u64) -> Self {
        Self::global().with_trigger(PurgingTrigger::new(CountTrigger::new(n)))
    }

    /// Windows of a user's own kind.
    pub fn custom(assigner: impl WindowAssigner) -> Self {
        Self::new(Assigner::Custom(Arc::new(assigner)))
    }

    /// Moves the borders of tumbling and sliding windows, which otherwise lie at multiples of the slide
    /// from 1970-01-01T00:00Z; negative moves them back. For days of a time zone.
    #[must_use]
    pub fn with_offset_ms(mut self, offset_ms: i64) -> Self {
        if let Assigner::Sliding { offset, .. } = &mut self.assigner {
            *offset = offset_ms;
        }
        self
    }

    /// Takes the clock's time, not the elements', for tumbling, sliding and session windows.
    #[must_use]
    pub fn in_processing_time(mut self) -> Self {
        if let Assigner::Sliding { domain, .. } | Assigner::Session { domain, .. } =
            &mut self.assigner
        {
            *domain = TimeDomain::Processing;
        }
        self
    }

    /// Takes the place of the default trigger.
    #[must_use]
    pub fn with_trigger(self, trigger: impl Trigger) -> Self {
        self.with_shared_trigger(Arc::new(trigger))
    }

    /// The same for a trigger chosen at run time.
    #[must_use]
    pub fn with_shared_trigger(mut self, trigger: Arc<dyn Trigger>) -> Self {
        self.trigger = Some(trigger);
        self
    }

    /// Drops elements around each firing.
    #[must_use]
    pub fn with_evictor(mut self, evictor: impl Evictor<A::Acc>) -> Self {
        self.evictor = Some(Arc::new(evictor));
        self
    }

    /// Keeps an event-time window for `lateness` after its end: elements that come until then make it
    /// fire again, at once, each.
    #[must_use]
    pub fn with_allowed_lateness(mut self, lateness: Duration) -> Self {
        self.lateness = crate::timestamp::duration_millis(lateness);
        self
    }

    /// Whether such windows can be.
    ///
    /// # Errors
    /// A size, slide or gap that is not positive, an offset as large as the slide.
    pub fn check(&self) -> Result<()> {
        self.assigner.check()
    }

    /// Whether one element has so few windows that each may keep its own contents.
    pub(crate) fn check_overlap(&self) -> Result<()> {
        match self.assigner {
            Assigner::Sliding { size, slide, .. } if size / slide > MAX_OVERLAP => {
                Err(Error::TooManyWindows {
                    windows: size / slide,
                    limit: MAX_OVERLAP,
                })
            }
            _ => Ok(()),
        }
    }
}

impl<T: Clone + 'static> WindowSpec<Collect<T>> {
    /// The last `size` elements, every `slide` elements (Flink's `countWindow(size, slide)`).
    pub fn count_sliding(size: usize, slide: u64) -> Self {
        Self::global()
            .with_trigger(CountTrigger::new(slide))
            .with_evictor(CountEvictor::new(size, EvictAt::Before))
    }
}

impl<A: Aggregate> Clone for WindowSpec<A> {
    fn clone(&self) -> Self {
        Self {
            assigner: self.assigner.clone(),
            trigger: self.trigger.clone(),
            evictor: self.evictor.clone(),
            lateness: self.lateness,
        }
    }
}

impl<A: Aggregate> fmt::Debug for WindowSpec<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WindowSpec")
            .field("windows", &self.assigner)
            .field("trigger", &self.trigger)
            .field("evictor", &self.evictor)
            .field("allowed_lateness_ms", &self.lateness)
            .finish()
    }
}
