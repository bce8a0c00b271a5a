//! What the writer tells the readers.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// A segment as readers need to know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Its first position.
    pub(crate) first: u64,
    /// The position after its last; open in the one being written.
    pub(crate) end: Option<u64>,
    /// Durable bytes.
    pub(crate) bytes: u64,
}

/// Figures of the log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LogStats {
    /// The first position still held.
    pub(crate) first: u64,
    /// The position the next entry gets.
    pub(crate) end: u64,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
    /// Number of segments.
    pub(crate) segments: usize,
    /// Number of producers remembered.
    pub(crate) producers: usize,
    /// Events set aside since the log began.
    pub(crate) rejected: u64,
    /// Events that were sent again since the log began, as far as segments recorded it.
    pub(crate) duplicates: u64,
}

#[derive(Debug)]
struct Inner {
    segments: VecDeque<Segment>,
    end: u64,
    producers: usize,
    rejected: u64,
    duplicates: u64,
}

/// Shared between the writer and all readers; locked for a few instructions at a time.
#[derive(Debug)]
pub(crate) struct Shared {
    inner: Mutex<Inner>,
    notify: Mutex<Notify>,
    stopped: watch::Sender<Option<String>>,
}

impl Shared {
    pub(crate) fn new(
        segments: VecDeque<Segment>,
        end: u64,
        producers: usize,
        rejected: u64,
        duplicates: u64,
    ) -> Self {
        Self {
            inner: Mutex::new(Inner {
                segments,
                end,
                producers,
                rejected,
                duplicates,
            }),
            notify: Mutex::default(),
            stopped: watch::Sender::new(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Plain figures, replaced whole: a panic elsewhere cannot leave them half done.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn committed(
        &self,
        bytes: u64,
        end: u64,
        producers: usize,
        rejected: u64,
        duplicates: u64,
    ) {
        {
            let mut inner = self.lock();
            if let Some(newest) = inner.segments.back_mut() {
                newest.bytes = bytes;
            }
            inner.end = end;
            inner.producers = producers;
            inner.rejected = rejected;
            inner.duplicates = duplicates;
        }
        if let Notify(Some(notify)) = &*self.notify.lock().unwrap_or_else(PoisonError::into_inner) {
            notify();
        }
    }

    pub(crate) fn rolled(&self, first: u64, bytes: u64) {
        let mut inner = self.lock();
        if let Some(newest) = inner.segments.back_mut() {
            newest.end = Some(first);
        }
        inner.segments.push_back(Segment {
            first,
            end: None,
            bytes,
        });
    }

    pub(crate) fn stop(&self, why: &str) {
        self.stopped.send_replace(Some(why.to_owned()));
    }

    /// Takes the oldest segment out when it lies wholly before a position; its first position.
    pub(crate) fn take_before(&self, position: u64) -> Option<u64> {
        let mut inner = self.lock();
        let oldest = inner.segments.front()?;
        if oldest.end? > position {
            return None;
        }
        inner.segments.pop_front().map(|segment| segment.first)
    }

    /// The segment that holds a position (or will hold it), and where the log ends.
    pub(crate) fn segment_of(&self, position: u64) -> (Option<Segment>, u64) {
        let inner = self.lock();
        let found = inner
            .segments
            .iter()
            .rev()
            .find(|segment| segment.first <= position)
            .copied();
        (found, inner.end)
    }

    pub(crate) fn stats(&self) -> LogStats {
        let inner = self.lock();
        LogStats {
            first: inner.segments.front().map_or(inner.end, |s| s.first),
            end: inner.end,
            bytes: inner.segments.iter().map(|segment| segment.bytes).sum(),
            segments: inner.segments.len(),
            producers: inner.producers,
            rejected: inner.rejected,
            duplicates: inner.duplicates,
        }
    }

    /// Why the log stopped, once it has.
    pub(crate) fn watch_stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.subscribe()
    }

    /// Calls `notify` whenever the log has grown, in place of whom it called before.
    pub(crate) fn notify_growth(&self, notify: Box<dyn Fn() + Send + Sync>) {
        *self.notify.lock().unwrap_or_else(PoisonError::into_inner) = Notify(Some(notify));
    }
}

/// Called when the log has grown.
#[derive(Default)]
struct Notify(Option<Box<dyn Fn() + Send + Sync>>);

impl fmt::Debug for Notify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Notify")
    }
}
