//! Sends the elements of a chain to the subtasks of the next one, in batches over bounded queues.

use super::channel::{Channel, Mark, Packet, Tail};
use super::event::{Barrier, Event, Flow, Flush, Passing, TaskContext};
use super::link::Link;
use super::metrics::add;
use crate::config::{BufferTimeout, ExchangeOptions};
use crate::element::Element;
use crate::error::Result;
use crate::graph::Overtaking;
use std::collections::VecDeque;
use std::sync::Arc;
use time_engine::Timestamp;

/// Where an element goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// To this subtask.
    One(usize),
    /// A copy to each.
    All,
}

/// Chooses the subtask of an element; one value per upstream subtask.
pub(crate) trait Route<T>: Send {
    fn route(&mut self, value: &T) -> Result<Target>;

    /// The subtask for an element that a checkpoint holds as under way to subtask `old`, when their number
    /// has changed. By default it is routed anew.
    fn reroute(&mut self, value: &T, old: usize) -> Result<Target> {
        let _ = old;
        self.route(value)
    }
}

struct Outlet<T> {
    channel: Arc<Channel<T>>,
    open: Packet<T>,
    opened: Timestamp,
    /// Sealed but refused. What one call of an operator emits beyond a batch collects here; then the
    /// task halts until it is empty.
    refused: VecDeque<Packet<T>>,
    /// A barrier has taken along more than the queue has room for.
    overfull: bool,
}

impl<T> Outlet<T> {
    fn send(&mut self, cx: &mut TaskContext) {
        let packet = std::mem::replace(&mut self.open, Packet::new());
        add(&cx.metrics.records_out, packet.elements.len() as u64);
        if self.refused.is_empty() {
            match self.channel.push(packet) {
                Ok(()) => return,
                Err(packet) => self.refused.push_back(packet),
            }
        } else {
            self.refused.push_back(packet);
        }
        cx.halt = true;
    }

    fn retry(&mut self, cx: &mut TaskContext) {
        while let Some(packet) = self.refused.pop_front() {
            if let Err(packet) = self.channel.push(packet) {
                self.refused.push_front(packet);
                cx.halt = true;
                return;
            }
        }
        if self.overfull {
            self.overfull = !self.channel.has_room();
            cx.halt |= self.overfull;
        }
    }

    /// Sends everything, a barrier last, which then overtakes all of it.
    fn force(&mut self, barrier: u64, cx: &mut TaskContext) {
        let packet = std::mem::replace(&mut self.open, Packet::new());
        add(&cx.metrics.records_out, packet.elements.len() as u64);
        let packets = self.refused.drain(..).chain([packet]);
        self.channel.force(packets, barrier);
        self.overfull = true;
        // until the next step has found out whether there is room
        cx.halt = true;
    }

    /// A barrier sent before is to overtake what it still waits behind.
    fn overtake(&mut self, barrier: u64) {
        let is_it = |packet: &Packet<T>| packet.barrier(barrier).is_some();
        let packets = self.refused.iter().position(is_it).map_or(0, |at| at + 1);
        self.overfull |= packets > 0;
        self.channel.force(self.refused.drain(..packets), barrier);
    }

    /// Sends what is open if there is room; else it goes on growing.
    fn offer(&mut self, cx: &TaskContext) {
        if self.open.is_empty() || !self.refused.is_empty() {
            return;
        }
        let packet = std::mem::replace(&mut self.open, Packet::new());
        let elements = packet.elements.len() as u64;
        match self.channel.push(packet) {
            Ok(()) => add(&cx.metrics.records_out, elements),
            Err(packet) => self.open = packet,
        }
    }
}

/// The last link of a chain whose results go on to other subtasks.
pub(crate) struct Exchange<T, R> {
    route: R,
    outlets: Vec<Outlet<T>>,
    copy: Option<Copy<T>>,
    overtaking: Overtaking,
    /// The newest barrier handed on.
    barrier: u64,
    options: ExchangeOptions,
}

/// How each subtask gets an element of its own; `None`: it goes to one only.
pub(crate) type Copy<T> = fn(&T) -> Option<T>;

impl<T, R: Route<T>> Exchange<T, R> {
    pub(crate) fn new(
        route: R,
        channels: &[Arc<Channel<T>>],
        copy: Option<Copy<T>>,
        overtaking: Overtaking,
        options: ExchangeOptions,
    ) -> Self {
        let outlets = channels
            .iter()
            .map(|channel| Outlet {
                channel: Arc::clone(channel),
                open: Packet::new(),
                opened: Timestamp::MIN,
                refused: VecDeque::new(),
                overfull: false,
            })
            .collect();
        Self {
            route,
            outlets,
            copy,
            overtaking,
            barrier: 0,
            options,
        }
    }

    fn put(&mut self, to: usize, element: Element<T>, cx: &mut TaskContext) {
        let Some(outlet) = self.outlets.get_mut(to) else {
            debug_assert!(false, "a route leads to subtask {to}, which does not exist");
            return;
        };
        let open = &mut outlet.open.elements;
        if open.is_empty() {
            outlet.opened = cx.now;
            open.reserve_exact(self.options.batch_size);
        }
        open.push(element);
        if open.len() >= self.options.batch_size {
            outlet.send(cx);
        }
    }

    fn mark(&mut self, mark: Mark, cx: &TaskContext) {
        for outlet in &mut self.outlets {
            if outlet.open.is_empty() {
                outlet.opened = cx.now;
            }
            let at = outlet.open.elements.len();
            match (outlet.open.marks.last_mut(), mark) {
                // only the newest of several watermarks in a row matters
                (Some((n, Mark::Watermark(last))), Mark::Watermark(new)) if *n == at => *last = new,
                _ => outlet.open.marks.push((at, mark)),
            }
        }
    }

    fn barrier(&mut self, barrier: &Barrier, cx: &mut TaskContext) {
        self.barrier = barrier.id;
        if barrier.passing == Passing::InOrder || self.overtaking == Overtaking::Never {
            self.finish(&Tail::Barrier(*barrier), cx);
            return;
        }
        for outlet in &mut self.outlets {
            outlet.open.tail = Some(Tail::Barrier(*barrier));
            outlet.force(barrier.id, cx);
        }
    }

    fn overtake(&mut self, barrier: u64) {
        if self.barrier == barrier && self.overtaking != Overtaking::Never {
            self.outlets
                .iter_mut()
                .for_each(|outlet| outlet.overtake(barrier));
        }
    }

    fn finish(&mut self, tail: &Tail, cx: &mut TaskContext) {
        for outlet in &mut self.outlets {
            outlet.open.tail = Some(tail.clone());
            outlet.send(cx);
        }
    }

    fn flush(&mut self, flush: Flush, cx: &mut TaskContext) {
        for outlet in &mut self.outlets {
            match (flush, self.options.buffer_timeout) {
                (Flush::Refused, _) => outlet.retry(cx),
                (_, BufferTimeout::AtOnce) | (Flush::Idle, BufferTimeout::After(_)) => {
                    outlet.offer(cx);
                }
                (Flush::Due, BufferTimeout::After(limit)) => {
                    let age_ms = cx.now.as_millis().saturating_sub(outlet.opened.as_millis());
                    if u128::try_from(age_ms).is_ok_and(|age| age >= limit.as_millis()) {
                        outlet.offer(cx);
                    }
                }
                (_, BufferTimeout::WhenFull) => {}
            }
        }
    }
}

impl<T: Send, R: Route<T>> Link<T> for Exchange<T, R> {
    #[inline]
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        match self.route.route(&element.value)? {
            Target::One(to) => self.put(to, element, cx),
            Target::All => {
                let Some(copy) = self.copy else { return Ok(()) };
                let last = self.outlets.len().saturating_sub(1);
                for to in 0..last {
                    let Some(copied) = copy(&element.value) else {
                        continue;
                    };
                    self.put(to, Element::at(copied, element.timestamp), cx);
                }
                self.put(last, element, cx);
            }
        }
        Ok(())
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        match event {
            Event::Watermark(at) => self.mark(Mark::Watermark(*at), cx),
            Event::Idle => self.mark(Mark::Idle, cx),
            Event::Active => self.mark(Mark::Active, cx),
            Event::Barrier(barrier) => self.barrier(barrier, cx),
            Event::Overtake(id) => self.overtake(*id),
            Event::Flush(flush) => self.flush(*flush, cx),
            Event::End => self.finish(&Tail::End, cx),
            _ => {}
        }
        Ok(Flow::Done)
    }
}
