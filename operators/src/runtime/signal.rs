//! Wakes one thread, at most one wake-up for any number of causes.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Thread;
use std::time::Duration;

/// A flag that one thread sleeps on. Raising it twice is the same as raising it once.
///
/// The sleeper takes the flag *before* it looks for work, so what arrives after the look raises the
/// flag again and the next wait returns at once: no wake-up is lost.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    sleeper: OnceLock<Thread>,
}

impl Signal {
    /// Makes the calling thread the sleeper. A second call has no effect.
    pub(crate) fn attach(&self) {
        let _ = self.sleeper.set(std::thread::current());
    }

    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::AcqRel)
            && let Some(thread) = self.sleeper.get()
        {
            thread.unpark();
        }
    }

    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Lowers the flag; says whether it was raised.
    pub(crate) fn take(&self) -> bool {
        self.raised.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until the flag is raised or the time is over. May return early.
    pub(crate) fn wait(&self, limit: Option<Duration>) {
        if self.raised.load(Ordering::Acquire) {
            return;
        }
        match limit {
            Some(limit) => std::thread::park_timeout(limit),
            None => std::thread::park(),
        }
    }
}
