//! The stateless links: functions, timestamps, sinks.

use super::event::{Event, Flow, TaskContext};
use super::link::{Downstream, Link, Next};
use crate::element::{Collector, Element};
use crate::error::{Error, Result};
use crate::operator::SubtaskInfo;
use crate::sink::Sink;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;
use time_engine::watermark::{Signal, WatermarkAssigner, WatermarkGenerator, WatermarkStatus};
use time_engine::{Timestamp, Watermark};

/// One to one.
pub(crate) struct Map<F, U> {
    pub(crate) f: Arc<F>,
    pub(crate) next: Next<U>,
}

impl<T, U, F: Fn(T) -> U + Send + Sync> Link<T> for Map<F, U> {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        self.next.element(element.map(|value| (self.f)(value)), cx)
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.next.event(event, cx)
    }
}

/// One to none or one.
pub(crate) struct Filter<F, T> {
    pub(crate) f: Arc<F>,
    pub(crate) next: Next<T>,
}

impl<T, F: Fn(&T) -> bool + Send + Sync> Link<T> for Filter<F, T> {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        if (self.f)(&element.value) {
            self.next.element(element, cx)
        } else {
            Ok(())
        }
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.next.event(event, cx)
    }
}

/// One to any number.
pub(crate) struct FlatMap<F, U> {
    pub(crate) f: Arc<F>,
    pub(crate) next: Next<U>,
}

impl<T, U, F> Link<T> for FlatMap<F, U>
where
    F: Fn(T, &mut dyn Collector<U>) -> Result<()> + Send + Sync,
{
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        let timestamp = element.timestamp;
        let mut out = Downstream {
            next: &mut *self.next,
            cx,
            timestamp,
        };
        (self.f)(element.value, &mut out)?;
        cx.take_failure()
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.next.event(event, cx)
    }
}

/// Gives each element its event time, and makes watermarks.
pub(crate) struct Timestamps<T, F, G> {
    pub(crate) timestamp: Arc<F>,
    pub(crate) assigner: WatermarkAssigner<G>,
    /// How often the clock is looked at when nothing comes; needed for idleness and dynamic delays.
    pub(crate) tick: Option<Duration>,
    pub(crate) next_tick: Timestamp,
    pub(crate) owed: Vec<Signal>,
    pub(crate) next: Next<T>,
}

impl<T, F, G> Timestamps<T, F, G> {
    /// Hands on what the assigner has said; says whether the chain has taken it all.
    fn settle(&mut self, cx: &mut TaskContext) -> Result<Flow> {
        while let Some(signal) = self.owed.first().copied() {
            let flow = match signal {
                Signal::Watermark(at) => {
                    let at = at.timestamp();
                    let figure = &cx.metrics.watermark;
                    figure.store(at.as_millis(), std::sync::atomic::Ordering::Relaxed);
                    self.next.event(&mut Event::Watermark(at), cx)?
                }
                Signal::Status(WatermarkStatus::Idle) => self.next.event(&mut Event::Idle, cx)?,
                Signal::Status(WatermarkStatus::Active) => {
                    self.next.event(&mut Event::Active, cx)?
                }
            };
            if flow == Flow::Blocked {
                return Ok(flow);
            }
            self.owed.remove(0);
        }
        Ok(Flow::Done)
    }
}

impl<T, F, G> Link<T> for Timestamps<T, F, G>
where
    T: Send,
    F: Fn(&T) -> Timestamp + Send + Sync,
    G: WatermarkGenerator<T> + Send,
{
    fn element(&mut self, mut element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        element.timestamp = (self.timestamp)(&element.value);
        let owed = &mut self.owed;
        let mut out = |signal| owed.push(signal);
        self.assigner
            .on_event(&element.value, element.timestamp, cx.now, &mut out);
        self.next.element(element, cx)?;
        if !self.owed.is_empty() {
            // a punctuated watermark comes right behind its element
            let _ = self.settle(cx)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        // what is owed already is given first
        let settled = self.owed.is_empty();
        let owed = &mut self.owed;
        let mut out = |signal| owed.push(signal);
        match event {
            Event::BatchEnd => {
                if settled {
                    self.assigner.finish::<T>(cx.now, &mut out);
                }
                if let Some(tick) = self.tick {
                    self.next_tick = cx.now.saturating_add(tick);
                    cx.wake_by(self.next_tick);
                }
                if self.settle(cx)? == Flow::Blocked {
                    return Ok(Flow::Blocked);
                }
            }
            Event::ProcessingTime(now) => {
                if let Some(tick) = self.tick {
                    if *now > self.next_tick {
                        self.next_tick = now.saturating_add(tick);
                        if settled {
                            self.assigner.finish::<T>(*now, &mut out);
                        }
                    }
                    cx.wake_by(self.next_tick);
                }
                if self.settle(cx)? == Flow::Blocked {
                    return Ok(Flow::Blocked);
                }
            }
            Event::Watermark(at) => {
                if settled {
                    self.assigner.on_upstream(Watermark::new(*at), &mut out);
                }
                return self.settle(cx);
            }
            Event::Idle | Event::Active => return Ok(Flow::Done),
            _ => {}
        }
        self.next.event(event, cx)
    }
}

/// The end of a chain: results leave the job.
pub(crate) struct SinkLink<T, S> {
    pub(crate) sink: S,
    pub(crate) info: SubtaskInfo,
    pub(crate) kind: PhantomData<fn(T)>,
}

impl<T, S> SinkLink<T, S> {
    fn name(&self, error: Error) -> Error {
        error.of(&self.info)
    }
}

impl<T, S: Sink<T>> Link<T> for SinkLink<T, S> {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        super::metrics::add(&cx.metrics.records_out, 1);
        self.sink.write(element).map_err(|error| self.name(error))
    }

    fn event(&mut self, event: &mut Event<'_>, _: &mut TaskContext) -> Result<Flow> {
        if matches!(event, Event::Barrier(_) | Event::End) {
            self.sink.flush().map_err(|error| self.name(error))?;
        }
        Ok(Flow::Done)
    }
}
