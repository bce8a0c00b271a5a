//! Runs a chain that is fed by other tasks: takes turns over its inputs, merges their watermarks, aligns
//! their barriers.

use super::align::{Aligner, Alignment};
use super::channel::{Channel, Mark, Packet, Tail};
use super::event::{Barrier, Event, Flow, Flush};
use super::link::Next;
use super::report::Command;
use super::shell::Shell;
use super::snapshot::micros;
use super::task::{Step, Task};
use crate::checkpoint::PhaseTimes;
use crate::config::CheckpointMode;
use crate::element::Element;
use crate::error::Result;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::vec::IntoIter;
use time_engine::watermark::{Signal, WatermarkStatus, WatermarkValve};
use time_engine::{Timestamp, Watermark};

/// What is being worked off.
struct Current<T> {
    input: usize,
    elements: IntoIter<Element<T>>,
    taken: usize,
    marks: IntoIter<(usize, Mark)>,
    mark: Option<(usize, Mark)>,
    tail: Option<Tail>,
}

impl<T> Current<T> {
    fn new(input: usize, packet: Packet<T>) -> Self {
        let mut marks = packet.marks.into_iter();
        let mark = marks.next();
        let elements = packet.elements.into_iter();
        Self {
            input,
            elements,
            taken: 0,
            marks,
            mark,
            tail: packet.tail,
        }
    }
}

/// What the chain has not taken in yet.
#[derive(Debug, Clone, Copy)]
enum Owed {
    Watermark(Timestamp),
    Status(WatermarkStatus),
    Barrier(Barrier),
}

pub(crate) struct InputTask<T> {
    inputs: Vec<Arc<Channel<T>>>,
    ended: Vec<bool>,
    turn: usize,
    chain: Next<T>,
    shell: Shell,
    valve: WatermarkValve,
    aligner: Aligner,
    barrier: Option<(Barrier, Duration)>,
    current: Option<Current<T>>,
    owed: VecDeque<Owed>,
}

impl<T: Send + 'static> InputTask<T> {
    pub(crate) fn new(
        inputs: Vec<Arc<Channel<T>>>,
        chain: Next<T>,
        shell: Shell,
        mode: CheckpointMode,
    ) -> Self {
        let n = inputs.len();
        Self {
            inputs,
            ended: vec![false; n],
            turn: 0,
            chain,
            shell,
            valve: WatermarkValve::new(n),
            aligner: Aligner::new(mode, n),
            barrier: None,
            current: None,
            owed: VecDeque::new(),
        }
    }

    fn commands(&mut self) -> Result<()> {
        while let Some(command) = self.shell.commands.receive() {
            match command {
                Command::Complete(id) => {
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Complete(id))?;
                }
                Command::Abort(id) => {
                    self.aligner.on_abort(id);
                    self.owed
                        .retain(|owed| !matches!(owed, Owed::Barrier(b) if b.id == id));
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Abort(id))?;
                }
                Command::Trigger(_) | Command::Finish | Command::Drain | Command::Resume => {}
            }
        }
        self.shell.queries(&mut *self.chain)
    }

    /// Gives the chain what it is owed; says whether it has taken everything.
    fn settle(&mut self) -> Result<bool> {
        while let Some(owed) = self.owed.front().copied() {
            match owed {
                Owed::Watermark(at) => {
                    let event = &mut Event::Watermark(at);
                    if self.shell.deliver(&mut *self.chain, event)? == Flow::Blocked {
                        return Ok(false);
                    }
                    let figure = &self.shell.cx.metrics.watermark;
                    figure.store(at.as_millis(), Ordering::Relaxed);
                }
                Owed::Status(status) => {
                    let event = match status {
                        WatermarkStatus::Idle => &mut Event::Idle,
                        WatermarkStatus::Active => &mut Event::Active,
                    };
                    let _ = self.shell.deliver(&mut *self.chain, event)?;
                }
                Owed::Barrier(barrier) => {
                    // the word that the checkpoint before is complete was sent before this barrier, but
                    // may have come since this step began
                    self.commands()?;
                    let still =
                        |owed: &Owed| matches!(owed, Owed::Barrier(b) if b.id == barrier.id);
                    if !self.owed.front().is_some_and(still) {
                        continue;
                    }
                    self.pass_barrier(&barrier)?;
                }
            }
            self.owed.pop_front();
        }
        Ok(true)
    }

    fn pass_barrier(&mut self, barrier: &Barrier) -> Result<()> {
        let since = self.barrier.take_if(|(first, _)| first.id == barrier.id);
        let aligned = since.map_or(Duration::ZERO, |(_, at)| {
            self.shell.clock.elapsed().saturating_sub(at)
        });
        let delay_ms = self
            .shell
            .cx
            .now
            .millis_since(barrier.triggered)
            .max(0)
            .unsigned_abs();
        let alignment_us = micros(aligned);
        self.shell.cx.barrier_times = PhaseTimes {
            start_delay_us: delay_ms.saturating_mul(1_000).saturating_sub(alignment_us),
            alignment_us,
            ..PhaseTimes::default()
        };
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Barrier(barrier))?;
        Ok(())
    }

    /// Works on the current packet; says whether it is done.
    fn advance(&mut self) -> Result<bool> {
        let Some(current) = &mut self.current else {
            return Ok(true);
        };
        loop {
            let until = current.mark.map_or(usize::MAX, |(at, _)| at);
            if current.taken < until && current.elements.len() > 0 {
                let limit = until - current.taken;
                let cx = &mut self.shell.cx;
                let taken = self.chain.elements(&mut current.elements, limit, cx)?;
                current.taken += taken;
                self.shell.count_in(taken);
                self.shell.cx.take_failure()?;
                if self.shell.cx.halt {
                    return Ok(false);
                }
                continue;
            }
            let Some((_, mark)) = current.mark.take() else {
                break;
            };
            current.mark = current.marks.next();
            let input = current.input;
            let owed = &mut self.owed;
            let mut out = |output: Signal| {
                owed.push_back(match output {
                    Signal::Watermark(watermark) => Owed::Watermark(watermark.timestamp()),
                    Signal::Status(status) => Owed::Status(status),
                });
            };
            match mark {
                Mark::Watermark(at) => {
                    self.valve
                        .on_watermark(input, Watermark::new(at), &mut out)?
                }
                Mark::Idle => self
                    .valve
                    .on_status(input, WatermarkStatus::Idle, &mut out)?,
                Mark::Active => self
                    .valve
                    .on_status(input, WatermarkStatus::Active, &mut out)?,
            }
            if !self.owed.is_empty() {
                return Ok(false);
            }
        }
        let (input, tail) = (current.input, current.tail.take());
        self.current = None;
        match tail {
            Some(Tail::Barrier(barrier)) => {
                if self.aligner.current() != Some(barrier.id) {
                    self.barrier = Some((barrier, self.shell.clock.elapsed()));
                }
                if let Alignment::Complete(_) = self.aligner.on_barrier(input, barrier.id) {
                    self.owed.push_back(Owed::Barrier(barrier));
                }
            }
            Some(Tail::End) => {
                self.ended[input] = true;
                if let Alignment::Complete(id) = self.aligner.on_end(input)
                    && let Some((barrier, _)) = self.barrier.filter(|(barrier, _)| barrier.id == id)
                {
                    self.owed.push_back(Owed::Barrier(barrier));
                }
            }
            None => {}
        }
        Ok(self.owed.is_empty())
    }

    /// Takes the next packet, from each input in turn.
    fn next_packet(&mut self) -> bool {
        let n = self.inputs.len();
        for _ in 0..n {
            let input = self.turn;
            self.turn = if input + 1 == n { 0 } else { input + 1 };
            if self.ended[input] || self.aligner.is_blocked(input) {
                continue;
            }
            if let Some(packet) = self.inputs[input].pop() {
                self.current = Some(Current::new(input, packet));
                return true;
            }
        }
        false
    }
}

impl<T: Send + 'static> Task for InputTask<T> {
    fn step(&mut self) -> Result<Step> {
        self.shell.begin_step();
        self.commands()?;
        if self.shell.is_halted(&mut *self.chain)? {
            return self.shell.backpressured(&mut *self.chain);
        }
        if self.shell.processing_time(&mut *self.chain)? == Flow::Blocked {
            return Ok(Step::Progress);
        }
        if !self.settle()? {
            return Ok(Step::Progress);
        }
        if (self.current.is_some() || self.next_packet()) && !self.advance()? {
            return Ok(Step::Progress);
        }
        let worked = self.shell.work(&mut *self.chain)?;
        if self.inputs.iter().zip(&self.ended).all(|(_, ended)| *ended) && self.current.is_none() {
            // the word that the last checkpoint is complete was sent before the end
            self.commands()?;
            return self.shell.end(&mut *self.chain);
        }
        let idle = !worked && self.current.is_none() && !self.has_input();
        let flush = if idle { Flush::Idle } else { Flush::Due };
        let _ = self
            .shell
            .deliver(&mut *self.chain, &mut Event::Flush(flush))?;
        if idle {
            Ok(self.shell.wait_until(self.shell.cx.wake_at))
        } else {
            Ok(Step::Progress)
        }
    }
}

impl<T> InputTask<T> {
    fn has_input(&self) -> bool {
        self.inputs
            .iter()
            .enumerate()
            .any(|(i, input)| !self.ended[i] && !self.aligner.is_blocked(i) && input.len() > 0)
    }
}
