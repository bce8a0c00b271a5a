//! The bounded queue between one upstream and one downstream subtask.

use super::signal::Signal;
use crate::element::Element;
use crate::runtime::event::Barrier;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
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

    /// The barrier it ends in, if it is this checkpoint's.
    pub(crate) fn barrier(&self, id: u64) -> Option<Barrier> {
        match self.tail {
            Some(Tail::Barrier(barrier)) if barrier.id == id => Some(barrier),
            _ => None,
        }
    }
}

/// Neither end ever waits inside: a refused push is tried again when the consumer has made room.
#[derive(Debug)]
pub(crate) struct Channel<T> {
    queue: Mutex<VecDeque<Packet<T>>>,
    len: AtomicUsize,
    capacity: usize,
    refused: AtomicBool,
    /// The checkpoint whose barrier is to overtake what waits; 0: none.
    urgent: AtomicU64,
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
            urgent: AtomicU64::new(0),
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

    /// Takes packets however full it is, the last of which ends in a barrier, and has the consumer look for
    /// that barrier. The producer must not go on before [`has_room`](Self::has_room).
    pub(crate) fn force(&self, packets: impl IntoIterator<Item = Packet<T>>, barrier: u64) {
        let mut queue = self.lock();
        queue.extend(packets);
        self.len.store(queue.len(), Ordering::Release);
        drop(queue);
        self.urgent.store(barrier, Ordering::Release);
        self.consumer.raise();
    }

    /// Whether a push would be taken; if not, the producer is told when it would.
    pub(crate) fn has_room(&self) -> bool {
        let queue = self.lock();
        let room = queue.len() < self.capacity;
        if !room {
            self.refused.store(true, Ordering::Release);
        }
        room
    }

    /// Whether some barrier is to overtake what waits.
    pub(crate) fn is_urgent(&self) -> bool {
        self.urgent.load(Ordering::Acquire) != 0
    }

    /// The checkpoint whose barrier is to overtake what waits; told once.
    pub(crate) fn take_urgent(&self) -> Option<u64> {
        if !self.is_urgent() {
            return None;
        }
        let id = self.urgent.swap(0, Ordering::AcqRel);
        (id != 0).then_some(id)
    }

    /// The barrier of a checkpoint, if it waits here.
    pub(crate) fn find(&self, id: u64) -> Option<Barrier> {
        let queue = self.lock();
        queue.iter().find_map(|packet| packet.barrier(id))
    }

    /// Takes the barrier of a checkpoint out of the queue, and shows all elements before it to `overtaken`,
    /// which stay. `false` when there is no such barrier.
    pub(crate) fn overtake(&self, id: u64, mut overtaken: impl FnMut(&[Element<T>])) -> bool {
        let mut queue = self.lock();
        let Some(at) = queue.iter().position(|packet| packet.barrier(id).is_some()) else {
            return false;
        };
        for packet in queue.range(..=at) {
            overtaken(&packet.elements);
        }
        queue[at].tail = None;
        if queue[at].is_empty() {
            queue.remove(at);
            self.len.store(queue.len(), Ordering::Release);
        }
        true
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

    fn lock(&self) -> MutexGuard<'_, VecDeque<Packet<T>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
