//! Which windows an element belongs to.

use super::{Window, window_start};
use crate::{Error, Result, TimeDomain, Timestamp};
use std::{fmt, fmt::Debug, sync::Arc, time::Duration};

/// A user's own way to put elements into windows. Ready-made ones are the constructors of
/// [`super::WindowSpec`].
pub trait WindowAssigner: Debug + Send + Sync + 'static {
    /// Appends the windows of an element with the timestamp `at` when the clock shows `now`.
    fn assign(&self, at: Timestamp, now: Timestamp, out: &mut Vec<Window>);

    /// Which time its windows are over: decides about lateness and clean-up.
    fn domain(&self) -> TimeDomain;
}

/// The most windows one element may be in under per-window evaluation.
pub(crate) const MAX_OVERLAP: i64 = 1 << 20;

/// How long a session waits for its next element.
pub(crate) enum Gap<In> {
    /// Always as long.
    Fixed(i64),
    /// As long as this element says, in milliseconds.
    Dynamic(Arc<dyn Fn(&In) -> i64 + Send + Sync>),
}

impl<In> Clone for Gap<In> {
    fn clone(&self) -> Self {
        match self {
            Self::Fixed(ms) => Self::Fixed(*ms),
            Self::Dynamic(gap) => Self::Dynamic(Arc::clone(gap)),
        }
    }
}

pub(crate) enum Assigner<In> {
    /// Tumbling windows too: those whose slide is their size.
    Sliding {
        domain: TimeDomain,
        size: i64,
        slide: i64,
        offset: i64,
    },
    Session {
        domain: TimeDomain,
        gap: Gap<In>,
    },
    Global,
    Custom(Arc<dyn WindowAssigner>),
}

impl<In> Clone for Assigner<In> {
    fn clone(&self) -> Self {
        match self {
            Self::Sliding {
                domain,
                size,
                slide,
                offset,
            } => Self::Sliding {
                domain: *domain,
                size: *size,
                slide: *slide,
                offset: *offset,
            },
            Self::Session { domain, gap } => Self::Session {
                domain: *domain,
                gap: gap.clone(),
            },
            Self::Global => Self::Global,
            Self::Custom(assigner) => Self::Custom(Arc::clone(assigner)),
        }
    }
}

impl<In> Debug for Assigner<In> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sliding {
                domain,
                size,
                slide,
                offset,
            } => write!(
                f,
                "{domain:?}-time windows of {size} ms every {slide} ms, offset {offset} ms"
            ),
            Self::Session { domain, gap } => match gap {
                Gap::Fixed(gap) => write!(f, "{domain:?}-time sessions, gap {gap} ms"),
                Gap::Dynamic(_) => write!(f, "{domain:?}-time sessions, gap by element"),
            },
            Self::Global => f.write_str("global window"),
            Self::Custom(assigner) => assigner.fmt(f),
        }
    }
}

impl<In> Assigner<In> {
    pub(crate) fn sliding(size: Duration, slide: Duration) -> Self {
        Self::Sliding {
            domain: TimeDomain::Event,
            size: crate::timestamp::duration_millis(size),
            slide: crate::timestamp::duration_millis(slide),
            offset: 0,
        }
    }

    pub(crate) fn domain(&self) -> TimeDomain {
        match self {
            Self::Sliding { domain, .. } | Self::Session { domain, .. } => *domain,
            // As in Flink: its windows are cleaned up, and late, by event time, that is never
            // before the final watermark.
            Self::Global => TimeDomain::Event,
            Self::Custom(assigner) => assigner.domain(),
        }
    }

    pub(crate) fn merges(&self) -> bool {
        matches!(self, Self::Session { .. })
    }

    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Self::Sliding {
                size,
                slide,
                offset,
                ..
            } => {
                for (what, value) in [("size", size), ("slide", slide)] {
                    if value <= 0 {
                        return Err(Error::Invalid {
                            what,
                            must: "be at least a millisecond",
                            value,
                        });
                    }
                }
                if offset.unsigned_abs() >= slide.unsigned_abs() {
                    return Err(Error::Invalid {
                        what: "offset",
                        must: "be smaller than the slide (of tumbling windows, the size)",
                        value: offset,
                    });
                }
                Ok(())
            }
            Self::Session {
                gap: Gap::Fixed(gap_ms),
                ..
            } if gap_ms <= 0 => Err(Error::InvalidGap { gap_ms }),
            _ => Ok(()),
        }
    }

    /// The windows of an element, newest first.
    ///
    /// # Errors
    /// No timestamp where one is needed; a gap that is not positive.
    pub(crate) fn assign(&self, value: &In, at: Timestamp, now: Timestamp) -> Result<Assigned> {
        let of = |domain| match domain {
            TimeDomain::Event => at,
            TimeDomain::Processing => now,
        };
        match self {
            Self::Sliding {
                domain,
                size,
                slide,
                offset,
            } => {
                let at = of(*domain);
                if *domain == TimeDomain::Event && at == Timestamp::MIN {
                    return Err(Error::MissingTimestamp);
                }
                let at = at.as_millis();
                let newest = window_start(at, *offset, *slide);
                Ok(Assigned(Kind::Sliding {
                    start: Some(newest),
                    // Tumbling windows have exactly one, also where the size wraps around.
                    floor: (size != slide).then(|| at.wrapping_sub(*size)),
                    size: *size,
                    slide: *slide,
                }))
            }
            Self::Session { domain, gap } => {
                let gap_ms = match gap {
                    Gap::Fixed(gap) => *gap,
                    Gap::Dynamic(gap) => gap(value),
                };
                if gap_ms <= 0 {
                    return Err(Error::InvalidGap { gap_ms });
                }
                let start = of(*domain).as_millis();
                let end = start.wrapping_add(gap_ms);
                Ok(Assigned(Kind::One(Some(Window::from_millis(start, end)))))
            }
            Self::Global => Ok(Assigned(Kind::One(Some(Window::GLOBAL)))),
            Self::Custom(assigner) => {
                let mut windows = Vec::new();
                assigner.assign(at, now, &mut windows);
                Ok(Assigned(Kind::Many(windows.into_iter())))
            }
        }
    }
}

/// The windows of one element, without a list of them where there can be many.
pub(crate) struct Assigned(Kind);

enum Kind {
    One(Option<Window>),
    Sliding {
        start: Option<i64>,
        floor: Option<i64>,
        size: i64,
        slide: i64,
    },
    Many(std::vec::IntoIter<Window>),
}

impl Iterator for Assigned {
    type Item = Window;

    fn next(&mut self) -> Option<Window> {
        match &mut self.0 {
            Kind::One(window) => window.take(),
            Kind::Many(windows) => windows.next(),
            Kind::Sliding {
                start,
                floor,
                size,
                slide,
            } => {
                let from = start.take()?;
                match *floor {
                    Some(floor) if from <= floor => return None,
                    // Flink's loop would wrap round below the beginning of time and not end.
                    Some(_) => *start = from.checked_sub(*slide),
                    None => {}
                }
                Some(Window::from_millis(from, from.wrapping_add(*size)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn windows(size: i64, slide: i64, offset: i64, at: i64) -> Vec<(i64, i64)> {
        let assigner: Assigner<()> = Assigner::Sliding {
            domain: TimeDomain::Event,
            size,
            slide,
            offset,
        };
        assigner
            .assign(&(), Timestamp::from_millis(at), Timestamp::EPOCH)
            .unwrap()
            .map(|w| (w.start().as_millis(), w.end().as_millis()))
            .collect()
    }

    #[test]
    fn windows_come_newest_first_over_negative_time_too() {
        assert_eq!(windows(10, 10, 0, -1), [(-10, 0)]);
        assert_eq!(windows(10, 10, -3, 0), [(-3, 7)]);
        assert_eq!(windows(15, 5, 0, 7), [(5, 20), (0, 15), (-5, 10)]);
        assert_eq!(windows(4, 10, 0, 5), []);
    }

    #[test]
    fn the_ends_of_time_do_not_hang() {
        assert_eq!(windows(10, 10, 0, i64::MAX).len(), 1);
        assert!(windows(1 << 62, 1 << 60, 0, i64::MIN + 1).len() <= 4);
        assert!(windows(i64::MAX, i64::MAX / 2, 0, -5).len() <= 3);
    }
}
