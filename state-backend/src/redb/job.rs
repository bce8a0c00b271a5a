//! Work on the file that runs beside the owner: one job at a time.

use std::sync::{Arc, Mutex, PoisonError};
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
    Spilled {
        tables: usize,
        result: Result<()>,
        /// What that wrote.
        bytes: u64,
    },
    /// A denser file takes the place of the old one.
    Rebuilt(Result<Tree>),
}

/// Write buffers that are in the file. Emptying one frees thousands of nodes, some milliseconds that are not to be the
/// owner's: the next job does it first of all.
#[derive(Debug, Default)]
pub(super) struct Written(Vec<Arc<Memtable>>);

impl Written {
    pub(super) fn add(&mut self, tables: impl Iterator<Item = Arc<Memtable>>) {
        self.0.extend(tables);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Empties them, and leaves one to be used again.
    fn empty(self, spare: &Spare) {
        for table in self.0 {
            if let (false, Some(mut table)) = (spare.is_there(), Arc::into_inner(table)) {
                table.clear();
                spare.put(table);
            }
        }
    }
}

/// An empty write buffer to be used again, on its way from the writer's thread to the owner.
#[derive(Clone, Debug, Default)]
pub(super) struct Spare(Arc<Mutex<Option<Memtable>>>);

impl Spare {
    pub(super) fn take(&self) -> Option<Memtable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn is_there(&self) -> bool {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        spare.is_some()
    }

    fn put(&self, table: Memtable) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }
}

impl Job {
    pub(super) fn spill(
        work: Work,
        tree: Arc<Tree>,
        tables: Vec<Arc<Memtable>>,
        (written, spare): (Written, Spare),
    ) -> Result<Self> {
        Self::start(work, move || {
            written.empty(&spare);
            let before = tree.storage.written();
            Done::Spilled {
                tables: tables.len(),
                result: tree.spill(&tables),
                bytes: tree.storage.written() - before,
            }
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
