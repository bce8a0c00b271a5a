//! Work on the file that runs beside the owner: one job at a time.

use std::sync::Arc;
use std::thread::JoinHandle;

use super::memtable::Memtable;
use super::tree::Tree;
use crate::disk::{DiskOptions, Work};
use crate::{Error, Result};

/// A job under way, or done and not yet looked at.
#[derive(Debug)]
pub(super) enum Job {
    Running(JoinHandle<Done>),
    Done(Done),
}

/// What a job came to.
#[derive(Debug)]
pub(super) enum Done {
    /// The oldest so many write buffers are in the file, or are not.
    Spilled { tables: usize, result: Result<()> },
    /// A denser file takes the place of the old one.
    Rebuilt(Result<Tree>),
}

impl Job {
    pub(super) fn spill(work: Work, tree: Arc<Tree>, tables: Vec<Arc<Memtable>>) -> Result<Self> {
        Self::start(work, move || Done::Spilled {
            tables: tables.len(),
            result: tree.spill(&tables),
        })
    }

    pub(super) fn rebuild(work: Work, tree: Arc<Tree>, options: DiskOptions) -> Result<Self> {
        Self::start(work, move || Done::Rebuilt(tree.rebuild(&options)))
    }

    fn start(work: Work, run: impl FnOnce() -> Done + Send + 'static) -> Result<Self> {
        if work == Work::Inline {
            return Ok(Self::Done(run()));
        }
        let thread = std::thread::Builder::new().name("weir-redb-writer".into());
        match thread.spawn(run) {
            Ok(thread) => Ok(Self::Running(thread)),
            Err(error) => Err(Error::Backend {
                backend: "redb",
                action: "start a writer thread",
                source: Box::new(error),
            }),
        }
    }

    pub(super) fn is_done(&self) -> bool {
        match self {
            Self::Running(thread) => thread.is_finished(),
            Self::Done(_) => true,
        }
    }

    /// Waits for the end of it.
    pub(super) fn wait(self) -> Result<Done> {
        match self {
            Self::Done(done) => Ok(done),
            Self::Running(thread) => thread.join().map_err(|_| Error::Poisoned {
                reason: "the redb writer panicked".into(),
            }),
        }
    }
}

/// Lets go of a file that another one has taken the place of. The system then gives back its blocks and cached pages:
/// tens of milliseconds for some hundred megabytes, so the owner does not do it if it can be helped.
pub(super) fn retire(work: Work, old: impl Send + 'static) {
    if work == Work::Inline {
        return drop(old);
    }
    let thread = std::thread::Builder::new().name("weir-redb-retire".into());
    // Nobody waits for it. Where there is no thread to be had, what was to run on it, and with it the file, is dropped here.
    let _ = thread.spawn(move || drop(old));
}
