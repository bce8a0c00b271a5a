//! What every task does around its chain: commands, flushing, processing time, background work, figures.

use super::event::{Event, Flow, Flush, TaskContext};
use super::inbox::Inbox;
use super::link::Link;
use super::metrics::add;
use super::query::QueryCommand;
use super::report::Command;
use super::snapshot::Reporter;
use super::task::Step;
use crate::error::Result;
use crate::source::Split;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use time_engine::{Clock, TimeDomain, Timestamp};
use tokio::sync::mpsc;

/// The most slices in one go, also where the clock stands still.
const SLICES: usize = 8;

pub(crate) struct Shell {
    pub(crate) cx: TaskContext,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) commands: Arc<Inbox<Command>>,
    pub(crate) queries: mpsc::Receiver<QueryCommand>,
    /// There has been a question.
    pub(crate) asked: bool,
    pub(crate) reporter: Reporter,
    pub(crate) positions: Arc<Mutex<Vec<Split>>>,
    /// A call with processing time is not over.
    timing: Option<Timestamp>,
    ended: bool,
}

impl Shell {
    pub(crate) fn new(
        cx: TaskContext,
        clock: Arc<dyn Clock>,
        commands: Arc<Inbox<Command>>,
        queries: mpsc::Receiver<QueryCommand>,
        reporter: Reporter,
        positions: Arc<Mutex<Vec<Split>>>,
    ) -> Self {
        Self {
            cx,
            clock,
            commands,
            queries,
            asked: false,
            reporter,
            positions,
            timing: None,
            ended: false,
        }
    }

    pub(crate) fn begin_step(&mut self) {
        self.cx.now = self.clock.now();
    }

    pub(crate) fn deliver<T>(
        &mut self,
        chain: &mut dyn Link<T>,
        event: &mut Event<'_>,
    ) -> Result<Flow> {
        let flow = chain.event(event, &mut self.cx)?;
        self.cx.take_failure()?;
        Ok(flow)
    }

    /// Tries what was refused again; says whether the outputs are still full.
    pub(crate) fn is_halted<T>(&mut self, chain: &mut dyn Link<T>) -> Result<bool> {
        if self.cx.halt {
            self.cx.halt = false;
            let _ = self.deliver(chain, &mut Event::Flush(Flush::Refused))?;
        }
        Ok(self.cx.halt)
    }

    /// The outputs are full: snapshots go on all the same.
    pub(crate) fn backpressured<T>(&mut self, chain: &mut dyn Link<T>) -> Result<Step> {
        if self.work(chain)? {
            return Ok(Step::Progress);
        }
        let until = self
            .until(self.cx.wake_at)
            .map(|wait| wait.max(Duration::from_millis(1)));
        Ok(Step::Wait {
            until,
            backpressured: true,
        })
    }

    /// Calls the chain when a processing time has come that it waits for.
    pub(crate) fn processing_time<T>(&mut self, chain: &mut dyn Link<T>) -> Result<Flow> {
        let now = match self.timing {
            Some(now) => now,
            None if TimeDomain::Processing.is_due(self.cx.wake_at, self.cx.now) => {
                self.cx.wake_at = Timestamp::MAX;
                self.cx.now
            }
            None => return Ok(Flow::Done),
        };
        let flow = self.deliver(chain, &mut Event::ProcessingTime(now))?;
        self.timing = (flow == Flow::Blocked).then_some(now);
        Ok(flow)
    }

    /// A slice of background work, or several, between which questions are answered; says whether there is more.
    pub(crate) fn work<T>(&mut self, chain: &mut dyn Link<T>) -> Result<bool> {
        self.cx.work_left = false;
        for round in 0..SLICES {
            self.cx.slice_due = false;
            let _ = self.deliver(chain, &mut Event::Work { round })?;
            if !self.cx.slice_due {
                break;
            }
            self.queries(chain)?;
        }
        Ok(self.cx.work_left)
    }

    /// Answers what was asked meanwhile, a bounded number.
    pub(crate) fn queries<T>(&mut self, chain: &mut dyn Link<T>) -> Result<()> {
        for _ in 0..64 {
            let Ok(command) = self.queries.try_recv() else {
                break;
            };
            self.asked = true;
            let mut slot = Some(command);
            let _ = self.deliver(chain, &mut Event::Query(&mut slot))?;
        }
        Ok(())
    }

    pub(crate) fn count_in(&self, elements: usize) {
        add(&self.cx.metrics.records_in, elements as u64);
    }

    pub(crate) fn publish_positions(&self, positions: &[Split]) {
        let mut shared = self
            .positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        positions.clone_into(&mut shared);
    }

    fn until(&self, wake: Timestamp) -> Option<Duration> {
        if wake == Timestamp::MAX {
            return None;
        }
        // a processing time is over, and its timers due, one millisecond later
        let ms = wake.millis_since(self.cx.now).saturating_add(1).max(0);
        Some(Duration::from_millis(ms.unsigned_abs()))
    }

    pub(crate) fn wait_until(&self, wake: Timestamp) -> Step {
        Step::Wait {
            until: self.until(wake),
            backpressured: false,
        }
    }

    /// Hands the end on, then sees everything out.
    pub(crate) fn end<T>(&mut self, chain: &mut dyn Link<T>) -> Result<Step> {
        if !self.ended {
            self.ended = true;
            let _ = self.deliver(chain, &mut Event::End)?;
        }
        if self.is_halted(chain)? {
            return self.backpressured(chain);
        }
        let _ = self.deliver(chain, &mut Event::Close)?;
        Ok(Step::Finished)
    }
}
