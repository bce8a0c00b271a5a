//! Sends the elements of a chain to the subtasks of the next one, in batches over bounded queues.

use super::channel::{Channel, Mark, Packet, Tail};
use super::event::{Event, Flow, Flush, TaskContext};
use super::link::Link;
use super::metrics::add;
use crate::config::{BufferTimeout, ExchangeOptions};
use crate::element::Element;
use crate::error::Result;
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
}

struct Outlet<T> {
    channel: Arc<Channel<T>>,
    open: Packet<T>,
    opened: Timestamp,
    /// Sealed but refused. What one call of an operator emits beyond a batch collects here; then the
    /// task halts until it is empty.
    refused: VecDeque<Packet<T>>,
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
    copy: Option<fn(&T) -> T>,
    options: ExchangeOptions,
}

impl<T, R: Route<T>> Exchange<T, R> {
    pub(crate) fn new(
        route: R,
        channels: &[Arc<Channel<T>>],
        copy: Option<fn(&T) -> T>,
        options: ExchangeOptions,
    ) -> Self {
        let outlets = channels
            .iter()
            .map(|channel| Outlet {
                channel: Arc::clone(channel),
                open: Packet::new(),
                opened: Timestamp::MIN,
                refused: VecDeque::new(),
            })
            .collect();
        Self {
            route,
            outlets,
            copy,
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
                    self.put(to, Element::at(copy(&element.value), element.timestamp), cx);
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
            Event::Barrier(barrier) => self.finish(&Tail::Barrier(**barrier), cx),
            Event::Flush(flush) => self.flush(*flush, cx),
            Event::End => self.finish(&Tail::End, cx),
            _ => {}
        }
        Ok(Flow::Done)
    }
}
