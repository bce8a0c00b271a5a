//! Runs a chain that is fed by other tasks: takes turns over its inputs, merges their watermarks, aligns
//! their barriers.

mod overtake;

use super::align::{Aligner, Alignment, InputKind};
use super::channel::{Channel, Mark, Packet, Tail};
use super::event::{Barrier, Event, Flow, Flush, Passing};
use super::in_flight::{Recorder, Recovered};
use super::link::Next;
use super::report::Command;
use super::shell::Shell;
use super::slice::Stride;
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

/// One queue that feeds the task.
pub(crate) struct Input<T> {
    pub(crate) channel: Arc<Channel<T>>,
    /// Which of the task's connections it belongs to.
    pub(crate) edge: usize,
    pub(crate) kind: InputKind,
    pub(crate) ended: bool,
}

/// What is being worked off.
struct Current<T> {
    /// What a restore has brought comes from none in particular: it has no marks and no tail.
    input: usize,
    edge: usize,
    elements: IntoIter<Element<T>>,
    taken: usize,
    marks: IntoIter<(usize, Mark)>,
    mark: Option<(usize, Mark)>,
    tail: Option<Tail>,
}

impl<T> Current<T> {
    fn new(input: usize, edge: usize, packet: Packet<T>) -> Self {
        let mut marks = packet.marks.into_iter();
        let mark = marks.next();
        let elements = packet.elements.into_iter();
        Self {
            input,
            edge,
            elements,
            taken: 0,
            marks,
            mark,
            tail: packet.tail,
        }
    }

    /// The barrier behind it, if it is this checkpoint's.
    fn barrier(&self, id: u64) -> Option<Barrier> {
        match self.tail {
            Some(Tail::Barrier(barrier)) if barrier.id == id => Some(barrier),
            _ => None,
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

impl Owed {
    fn is_barrier(&self, id: u64) -> bool {
        matches!(self, Self::Barrier(barrier) if barrier.id == id)
    }
}

pub(crate) struct InputTask<T> {
    inputs: Vec<Input<T>>,
    turn: usize,
    chain: Next<T>,
    shell: Shell,
    valve: WatermarkValve,
    aligner: Aligner,
    barrier: Option<(Barrier, Duration)>,
    /// What a checkpoint held as under way to this subtask: it comes first.
    recovered: VecDeque<Current<T>>,
    current: Option<Current<T>>,
    /// Elements between two looks for questions.
    stride: Stride,
    owed: VecDeque<Owed>,
    /// `None`: barriers never overtake.
    recorder: Option<Recorder<T>>,
}

impl<T: Send + 'static> InputTask<T> {
    pub(crate) fn new(
        inputs: Vec<Input<T>>,
        chain: Next<T>,
        shell: Shell,
        mode: CheckpointMode,
        recovered: Vec<Recovered<T>>,
        recorder: Option<Recorder<T>>,
    ) -> Self {
        let n = inputs.len();
        let recovered = recovered.into_iter().map(|Recovered { edge, elements }| {
            let mut packet = Packet::new();
            packet.elements = elements;
            Current::new(0, edge, packet)
        });
        Self {
            turn: 0,
            chain,
            shell,
            valve: WatermarkValve::new(n),
            aligner: Aligner::new(mode, inputs.iter().map(|input| input.kind)),
            inputs,
            barrier: None,
            recovered: recovered.collect(),
            current: None,
            stride: Stride::default(),
            owed: VecDeque::new(),
            recorder,
        }
    }

    fn commands(&mut self) -> Result<()> {
        while let Some(command) = self.shell.commands.receive() {
            match command {
                Command::Overtake(id) => self.on_timeout(id)?,
                Command::Complete(id) => {
                    let _ = self
                        .shell
                        .deliver(&mut *self.chain, &mut Event::Complete(id))?;
                }
                Command::Abort(id) => {
                    self.aligner.on_abort(id);
                    self.owed.retain(|owed| !owed.is_barrier(id));
                    self.forget();
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
                    let mut owed = self.owed.iter();
                    if !owed.next().is_some_and(|owed| owed.is_barrier(barrier.id)) {
                        continue;
                    }
                    self.pass_barrier(&barrier)?;
                    if let Some(recorder) = &self.recorder {
                        recorder.nothing(barrier.id, &self.shell.cx);
                    }
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
                let limit = (until - current.taken).min(self.stride.elements());
                if self.recorder.is_some() && is_called(&self.inputs, &self.shell) {
                    return Ok(false);
                }
                let start = self.shell.asked.then(|| self.shell.clock.elapsed());
                let cx = &mut self.shell.cx;
                let taken = self.chain.elements(&mut current.elements, limit, cx)?;
                current.taken += taken;
                if let Some(start) = start {
                    let took = self.shell.clock.elapsed().saturating_sub(start);
                    self.stride.took(took);
                }
                self.shell.count_in(taken);
                self.shell.cx.take_failure()?;
                if self.shell.cx.halt {
                    return Ok(false);
                }
                // a question waits for a few elements, not for the rest of the packet
                self.shell.queries(&mut *self.chain)?;
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
                if barrier.passing == Passing::Overtaking {
                    // the word that the checkpoint before is complete was sent before this barrier
                    self.commands()?;
                }
                self.aligner.on_barrier(input, barrier.id, barrier.passing);
                self.follow(barrier);
                self.align()?;
            }
            Some(Tail::End) => {
                self.inputs[input].ended = true;
                self.aligner.on_end(input);
                self.align()?;
            }
            None => {}
        }
        Ok(self.owed.is_empty())
    }

    /// Takes the next packet, from each input in turn.
    fn next_packet(&mut self) -> Result<bool> {
        if let Some(recovered) = self.recovered.pop_front() {
            self.current = Some(recovered);
            return Ok(true);
        }
        let n = self.inputs.len();
        for _ in 0..n {
            let at = self.turn;
            self.turn = if at + 1 == n { 0 } else { at + 1 };
            let input = &self.inputs[at];
            if input.ended || self.aligner.is_blocked(at) {
                continue;
            }
            if let Some(mut packet) = input.channel.pop() {
                let edge = input.edge;
                let delivered = self.record(at, &mut packet);
                self.current = Some(Current::new(at, edge, packet));
                if delivered {
                    self.align()?;
                }
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl<T: Send + 'static> Task for InputTask<T> {
    fn step(&mut self) -> Result<Step> {
        self.shell.begin_step();
        self.commands()?;
        self.urgent()?;
        if self.shell.is_halted(&mut *self.chain)? {
            return self.shell.backpressured(&mut *self.chain);
        }
        if self.shell.processing_time(&mut *self.chain)? == Flow::Blocked {
            return Ok(Step::Progress);
        }
        if !self.settle()? {
            return Ok(Step::Progress);
        }
        if (self.current.is_some() || self.next_packet()?) && !self.advance()? {
            return Ok(Step::Progress);
        }
        let worked = self.shell.work(&mut *self.chain)?;
        if self.inputs.iter().all(|input| input.ended) && self.current.is_none() {
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
        !self.recovered.is_empty()
            || self.inputs.iter().enumerate().any(|(i, input)| {
                !input.ended && !self.aligner.is_blocked(i) && input.channel.len() > 0
            })
    }
}

/// Whether a barrier or a command wants to be heard at once.
fn is_called<T>(inputs: &[Input<T>], shell: &Shell) -> bool {
    !shell.commands.is_empty() || inputs.iter().any(|input| input.channel.is_urgent())
}
