//! The bounded queue between one upstream and one downstream subtask.

use super::signal::Signal;
use crate::element::Element;
use crate::runtime::event::Barrier;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time_engine::Timestamp;

/// What travels between the elements of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Watermark(Timestamp),
    /// The upstream subtask has nothing to say for now: it holds no watermark back.
    Idle,
    Active,
}

/// What ends a packet, when something does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Tail {
    Barrier(Barrier),
    /// Nothing comes after this.
    End,
}

/// A batch of elements with the marks between them.
#[derive(Debug)]
pub(crate) struct Packet<T> {
    pub(crate) elements: Vec<Element<T>>,
    /// `(n, mark)`: the mark comes after the first `n` elements.
    pub(crate) marks: Vec<(usize, Mark)>,
    pub(crate) tail: Option<Tail>,
}

impl<T> Packet<T> {
    pub(crate) fn new() -> Self {
        Self {
            elements: Vec::new(),
            marks: Vec::new(),
            tail: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.elements.is_empty() && self.marks.is_empty() && self.tail.is_none()
    }
}

/// Neither end ever waits inside: a refused push is tried again when the consumer has made room.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    queue: Mutex<VecDeque<Packet<T>>>,
    len: AtomicUsize,
    capacity: usize,
    refused: AtomicBool,
    producer: Arc<Signal>,
    consumer: Arc<Signal>,
}

impl<T> Channel<T> {
    pub(crate) fn new(capacity: usize, producer: Arc<Signal>, consumer: Arc<Signal>) -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            len: AtomicUsize::new(0),
            capacity,
            refused: AtomicBool::new(false),
            producer,
            consumer,
        }
    }

    /// Gives the packet back when the queue is full.
    pub(crate) fn push(&self, packet: Packet<T>) -> Result<(), Packet<T>> {
        let mut queue = self.lock();
        if queue.len() >= self.capacity {
            self.refused.store(true, Ordering::Release);
            return Err(packet);
        }
        queue.push_back(packet);
        self.len.store(queue.len(), Ordering::Release);
        drop(queue);
        self.consumer.raise();
        Ok(())
    }

    pub(crate) fn pop(&self) -> Option<Packet<T>> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let packet = queue.pop_front();
        self.len.store(queue.len(), Ordering::Release);
        drop(queue);
        if packet.is_some() && self.refused.swap(false, Ordering::AcqRel) {
            self.producer.raise();
        }
        packet
    }

    /// Packets that wait; used for backpressure figures.
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// The queue itself, for barriers that overtake and for capturing what is under way.
    pub(crate) fn lock(&self) -> MutexGuard<'_, VecDeque<Packet<T>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
