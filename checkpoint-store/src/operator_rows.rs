//! The rows of an operator in a checkpoint, as a state store takes them in.

use crate::blob::BlobStore;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, OperatorSnapshot};
use crate::merge::{Located, MergeLimits, MergedRows, Run};
use crate::restore::{RestoreProgress, Restored, files_of, states_of};
use state_backend::{KeyGroupRange, RestoreSource, RestoredRows, TakeRows};
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The keyed state of one operator in a checkpoint, of which a state store reads what it needs when it
/// needs it; see [`CheckpointStore::restore_lazily`](crate::CheckpointStore::restore_lazily).
#[derive(Debug)]
pub struct OperatorRows {
    blobs: Arc<dyn BlobStore>,
    /// Files of each state in the order in which they apply.
    states: BTreeMap<String, Vec<Located>>,
    limits: MergeLimits,
    bytes_total: u64,
    rows: AtomicU64,
    bytes_read: AtomicU64,
    failure: Mutex<Option<Error>>,
}

impl OperatorRows {
    pub(crate) fn new(
        blobs: &Arc<dyn BlobStore>,
        manifest: &Manifest,
        operator: &OperatorSnapshot,
        groups: KeyGroupRange,
        limits: MergeLimits,
    ) -> Self {
        let files = |state| {
            let files = files_of(operator, state).filter(|file| file.groups.intersects(groups));
            let located = files.map(|file| manifest.located(file));
            (state.to_owned(), located.collect::<Vec<_>>())
        };
        let states: BTreeMap<_, _> = states_of(operator).into_iter().map(files).collect();
        let bytes = states.values().flatten().map(|(_, file)| file.bytes);
        Self {
            bytes_total: bytes.sum(),
            states,
            limits,
            blobs: Arc::clone(blobs),
            rows: AtomicU64::new(0),
            bytes_read: AtomicU64::new(0),
            failure: Mutex::new(None),
        }
    }

    /// What was read so far, unless something could not be: then that error, once.
    ///
    /// # Errors
    /// The first of the reads of a state store, as [`CheckpointStore::restore`](crate::CheckpointStore::restore)
    /// would have given it.
    pub fn outcome(&self) -> Result<Restored> {
        match self.failure().take() {
            Some(error) => Err(error),
            None => Ok(Restored {
                rows: self.rows.load(Ordering::Relaxed),
                bytes_read: self.bytes_read.load(Ordering::Relaxed),
            }),
        }
    }

    /// The outcome, when the state store says this.
    pub(crate) fn outcome_of(&self, said: state_backend::Result<()>) -> Result<Restored> {
        let restored = self.outcome()?;
        said?;
        Ok(restored)
    }

    fn failure(&self) -> MutexGuard<'_, Option<Error>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read_runs(
        &self,
        state: &str,
        groups: KeyGroupRange,
        mut take: impl FnMut(&Run<'_>) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let Some(files) = self.states.get(state) else {
            return Ok(());
        };
        let files = files.iter().cloned();
        let mut rows = MergedRows::new(&self.blobs, files, groups, self.limits);
        let mut counted = 0;
        loop {
            let run = rows.next_run()?;
            let ended = match &run {
                Some(run) => {
                    self.rows.fetch_add(run.len() as u64, Ordering::Relaxed);
                    take(run)?.is_break()
                }
                None => true,
            };
            let bytes = rows.bytes_read();
            self.bytes_read
                .fetch_add(bytes - counted, Ordering::Relaxed);
            counted = bytes;
            if ended {
                return Ok(());
            }
        }
    }

    /// The same rows, with reports of how far the restore has come.
    pub(crate) fn reporting<'a>(
        &'a self,
        progress: &'a mut (dyn FnMut(RestoreProgress<'_>) + Send),
    ) -> Reporting<'a> {
        Reporting {
            rows: self,
            progress: Mutex::new(progress),
        }
    }
}

impl RestoreSource for OperatorRows {
    fn rows(&self, state: &str, groups: KeyGroupRange) -> u64 {
        let files = self.states.get(state).into_iter().flatten();
        let concerned = files.filter(|(_, file)| file.groups.intersects(groups));
        concerned.map(|(_, file)| file.rows).sum()
    }

    fn read(
        &self,
        state: &str,
        groups: KeyGroupRange,
        take: TakeRows<'_>,
    ) -> state_backend::Result<()> {
        let mut invalid = None;
        let read = self.read_runs(state, groups, |run| {
            match RestoredRows::new(run.group, run.keys(), run.values()) {
                Ok(rows) => Ok(take(rows.with_group_rows(run.group_rows))),
                Err(error) => {
                    invalid = Some(error);
                    Ok(ControlFlow::Break(()))
                }
            }
        });
        if let Some(error) = invalid {
            return Err(error);
        }
        let Err(error) = read else { return Ok(()) };
        let told = told(&error);
        self.failure().get_or_insert(error);
        Err(told)
    }
}

/// What a state store is told of an error here; the error itself is kept.
fn told(error: &Error) -> state_backend::Error {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    if error.is_corruption() {
        return state_backend::Error::corrupted("checkpoint", text);
    }
    state_backend::Error::Backend {
        backend: "checkpoint storage",
        action: "read",
        source: text.into(),
    }
}

/// Calls `progress` about every 65,536 rows, and at the end of each part that is read.
pub(crate) struct Reporting<'a> {
    rows: &'a OperatorRows,
    progress: Mutex<&'a mut (dyn FnMut(RestoreProgress<'_>) + Send)>,
}

impl Reporting<'_> {
    fn report(&self, state: &str) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress(RestoreProgress {
            state,
            rows: self.rows.rows.load(Ordering::Relaxed),
            bytes_read: self.rows.bytes_read.load(Ordering::Relaxed),
            bytes_total: self.rows.bytes_total,
        });
    }
}

impl RestoreSource for Reporting<'_> {
    fn rows(&self, state: &str, groups: KeyGroupRange) -> u64 {
        self.rows.rows(state, groups)
    }

    fn read(
        &self,
        state: &str,
        groups: KeyGroupRange,
        take: TakeRows<'_>,
    ) -> state_backend::Result<()> {
        let mut unreported = 0;
        self.rows.read(state, groups, &mut |rows| {
            unreported += rows.len();
            let flow = take(rows);
            if unreported >= 1 << 16 {
                unreported = 0;
                self.report(state);
            }
            flow
        })?;
        self.report(state);
        Ok(())
    }
}

impl fmt::Debug for Reporting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.rows.fmt(f)
    }
}
