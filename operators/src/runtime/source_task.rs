//! Runs one reader of a source and the chain behind it.

use super::event::{Barrier, Event, Flow, Flush, Passing};
use super::link::Next;
use super::report::{Command, Report};
use super::shell::Shell;
use super::task::{Step, Task};
use crate::checkpoint::{Ack, PhaseTimes, ShardKey};
use crate::element::Element;
use crate::error::Result;
use crate::source::{SourceOutput, SourceReader, SourceStatus, Split};
use std::collections::{BTreeMap, VecDeque};
use std::vec::IntoIter;
use time_engine::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Reading,
    /// A stop is under way: nothing is read until it has failed.
    Halted,
    /// There is nothing more to read; barriers are still sent.
    Exhausted,
    /// Time is running to its end.
    Draining,
    Ending,
}

pub(crate) struct SourceTask<R: SourceReader> {
    reader: R,
    chain: Next<R::Item>,
    shell: Shell,
    part: ShardKey,
    batch: IntoIter<Element<R::Item>>,
    batch_size: usize,
    /// The batch is through but its end has not been told to the chain.
    batch_open: bool,
    status: SourceStatus,
    mode: Mode,
    barriers: VecDeque<Barrier>,
    reported: BTreeMap<u64, Vec<Split>>,
}

impl<R: SourceReader> SourceTask<R> {
    pub(crate) fn new(
        reader: R,
        chain: Next<R::Item>,
        shell: Shell,
        part: ShardKey,
        batch_size: usize,
    ) -> Self {
        Self {
            reader,
            chain,
            shell,
            part,
            batch: Vec::new().into_iter(),
            batch_size,
            batch_open: false,
            status: SourceStatus::Ready,
            mode: Mode::Reading,
            barriers: VecDeque::new(),
            reported: BTreeMap::new(),
        }
    }

    fn commands(&mut self) -> Result<()> {
        while let Some(command) = self.shell.commands.receive() {
            match command {
                Command::Trigger(barrier) => self.barriers.push_back(barrier),
                Command::Overtake(id) => {
                    for barrier in self.barriers.iter_mut().filter(|b| b.id == id) {
                        barrier.passing = Passing::Overtaking;
                    }
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Overtake(id))?;
                }
                Command::Complete(id) => {
                    if let Some(positions) = self.reported.remove(&id) {
                        self.reader.checkpoint_complete(id, &positions)?;
                    }
                    self.reported.retain(|other, _| *other > id);
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Complete(id))?;
                }
                Command::Abort(id) => {
                    self.barriers.retain(|barrier| barrier.id != id);
                    self.reported.remove(&id);
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Abort(id))?;
                }
                Command::Finish => self.mode = Mode::Ending,
                Command::Drain => {
                    if self.mode == Mode::Reading {
                        self.mode = Mode::Draining;
                    }
                }
                Command::Resume => {
                    if self.mode == Mode::Halted {
                        self.mode = Mode::Reading;
                    }
                }
            }
        }
        Ok(())
    }

    /// A barrier that overtakes does not wait for room in the queues: the rest of the batch, which the
    /// positions are behind, goes ahead of it all the same.
    fn push_through(&mut self) -> Result<()> {
        let first = self.barriers.front().copied();
        let Some(barrier) = first.filter(|barrier| barrier.passing == Passing::Overtaking) else {
            return Ok(());
        };
        self.barriers.pop_front();
        while self.batch.len() > 0 {
            self.shell.cx.halt = false;
            let rest = self.batch.len();
            let taken = self
                .chain
                .elements(&mut self.batch, rest, &mut self.shell.cx)?;
            self.shell.count_in(taken);
            self.shell.cx.take_failure()?;
        }
        if self.batch_open {
            let _ = self.shell.deliver(&mut *self.chain, &mut Event::BatchEnd)?;
            self.batch_open = false;
        }
        self.barrier(barrier)
    }

    /// Sends a barrier, the batch before it being through.
    fn barrier(&mut self, barrier: Barrier) -> Result<()> {
        if barrier.halt && self.mode == Mode::Reading {
            self.mode = Mode::Halted;
        }
        let positions = self.reader.positions()?;
        let delay = self.shell.cx.now.millis_since(barrier.triggered).max(0);
        let times = PhaseTimes {
            start_delay_us: delay.unsigned_abs().saturating_mul(1_000),
            ..PhaseTimes::default()
        };
        self.shell.cx.barrier_times = times;
        self.shell.publish_positions(&positions);
        self.reported.insert(barrier.id, positions.clone());
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Barrier(&barrier))?;
        let ack = Ack {
            positions: Some(positions),
            times,
            ..Ack::default()
        };
        self.shell.reporter.ack(barrier.id, self.part.clone(), ack);
        Ok(())
    }

    fn wait(&mut self) -> Result<Step> {
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Flush(Flush::Idle))?;
        if let Ok(positions) = self.reader.positions() {
            self.shell.publish_positions(&positions);
        }
        let mut wake = self.shell.cx.wake_at;
        if let (SourceStatus::IdleUntil(at), Mode::Reading) = (self.status, self.mode) {
            wake = wake.min(at);
        }
        let step = self.shell.wait_until(wake);
        if let (SourceStatus::IdleFor(time), Mode::Reading) = (self.status, self.mode)
            && let Step::Wait {
                until,
                backpressured,
            } = step
        {
            let until = Some(until.map_or(time, |until| until.min(time)));
            return Ok(Step::Wait {
                until,
                backpressured,
            });
        }
        Ok(step)
    }
}

impl<R: SourceReader> Task for SourceTask<R> {
    fn step(&mut self) -> Result<Step> {
        self.shell.begin_step();
        self.commands()?;
        self.push_through()?;
        if self.shell.is_halted(&mut *self.chain)? {
            return self.shell.backpressured(&mut *self.chain);
        }
        if self.shell.processing_time(&mut *self.chain)? == Flow::Blocked {
            return Ok(Step::Progress);
        }
        let rest = self.batch.len();
        if rest > 0 {
            let taken = self
                .chain
                .elements(&mut self.batch, rest, &mut self.shell.cx)?;
            self.shell.count_in(taken);
            self.shell.cx.take_failure()?;
            if self.batch.len() > 0 {
                return Ok(Step::Progress);
            }
        }
        if self.batch_open {
            if self.shell.deliver(&mut *self.chain, &mut Event::BatchEnd)? == Flow::Blocked {
                return Ok(Step::Progress);
            }
            self.batch_open = false;
        }
        if self.shell.cx.halt {
            return Ok(Step::Progress);
        }
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Flush(Flush::Due))?;
        let worked = self.shell.work(&mut *self.chain)?;
        if let Some(barrier) = self.barriers.pop_front() {
            self.barrier(barrier)?;
            return Ok(Step::Progress);
        }
        match self.mode {
            Mode::Reading => {
                let mut out = SourceOutput {
                    elements: Vec::with_capacity(self.batch_size),
                };
                self.status = self.reader.poll_batch(self.batch_size, &mut out)?;
                let empty = out.elements.is_empty();
                self.batch = out.elements.into_iter();
                self.batch_open = true;
                match self.status {
                    SourceStatus::End => {
                        self.mode = Mode::Draining;
                        return Ok(Step::Progress);
                    }
                    SourceStatus::Ready => return Ok(Step::Progress),
                    _ if !empty => return Ok(Step::Progress),
                    _ => {}
                }
                // nothing for now: the chain still hears of it, for idleness and flushes
                self.batch_open = false;
                if worked {
                    Ok(Step::Progress)
                } else {
                    self.wait()
                }
            }
            Mode::Draining => {
                let event = &mut Event::Watermark(Timestamp::MAX);
                if self.shell.deliver(&mut *self.chain, event)? == Flow::Done {
                    self.mode = Mode::Exhausted;
                    let positions = self.reader.positions()?;
                    self.shell.publish_positions(&positions);
                    self.shell.reporter.send(Report::Exhausted);
                }
                Ok(Step::Progress)
            }
            Mode::Halted | Mode::Exhausted => {
                if worked {
                    Ok(Step::Progress)
                } else {
                    self.wait()
                }
            }
            Mode::Ending => self.shell.end(&mut *self.chain),
        }
    }
}
