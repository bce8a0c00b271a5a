//! A bounded queue with one reader, for commands and reports.

use super::signal::Signal;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bounded; the sender never waits: it keeps what was refused and tries again in a later step.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    queue: Mutex<VecDeque<T>>,
    closed: AtomicBool,
    len: AtomicUsize,
    capacity: usize,
    reader: Arc<Signal>,
}

impl<T> Inbox<T> {
    pub(crate) fn new(capacity: usize, reader: Arc<Signal>) -> Self {
        Self {
            queue: Mutex::new(VecDeque::new()),
            closed: AtomicBool::new(false),
            len: AtomicUsize::new(0),
            capacity,
            reader,
        }
    }

    /// Gives the message back when the inbox is full or closed.
    pub(crate) fn send(&self, message: T) -> Result<(), T> {
        let mut queue = self.lock();
        if queue.len() >= self.capacity || self.closed.load(Ordering::Relaxed) {
            return Err(message);
        }
        queue.push_back(message);
        self.len.store(queue.len(), Ordering::Release);
        drop(queue);
        self.reader.raise();
        Ok(())
    }

    pub(crate) fn receive(&self) -> Option<T> {
        if self.len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut queue = self.lock();
        let message = queue.pop_front();
        self.len.store(queue.len(), Ordering::Release);
        message
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len.load(Ordering::Acquire) == 0
    }

    /// Drops what waits, and takes nothing more.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        self.closed.store(true, Ordering::Relaxed);
        let dropped = std::mem::take(&mut *queue);
        self.len.store(0, Ordering::Release);
        drop(queue);
        drop(dropped);
    }

    pub(crate) fn clear(&self) {
        let mut queue = self.lock();
        queue.clear();
        self.len.store(0, Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<T>> {
        // a panic while the lock is held cannot leave a queue half changed
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
