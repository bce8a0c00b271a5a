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
        Self::start(work, move || Done::Rebuilt(rebuild(&tree, &options)))
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

/// The new file is whole and durable before it takes the old one's name.
fn rebuild(tree: &Tree, options: &DiskOptions) -> Result<Tree> {
    let path = tree.storage.path();
    let fresh = path.with_extension("rebuilt");
    let copy = match tree.copy_to(&fresh, options) {
        Ok(copy) => copy,
        Err(error) => {
            // Half a copy is of no use, and the disk may be full.
            let _ = options.fs().remove(&fresh);
            return Err(error);
        }
    };
    copy.storage.sync()?;
    let renamed = options.fs().rename(&fresh, path);
    renamed.map_err(|e| Error::io("replace", path, e))?;
    sync_dir_of(path, options)?;
    Ok(copy)
}

pub(super) fn sync_dir_of(path: &std::path::Path, options: &DiskOptions) -> Result<()> {
    let Some(dir) = path.parent() else {
        return Ok(());
    };
    options
        .fs()
        .sync_dir(dir)
        .map_err(|e| Error::io("sync", dir, e))
}
