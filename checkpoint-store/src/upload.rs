//! Encoded files on their way to the storage, while the next ones are encoded.

use crate::blob::BlobStore;
use crate::error::{Error, Result, Retry};
use crate::ids::BlobPath;
use crate::manifest::FileRef;
use crate::parquet::EncodedFile;
use crate::shard::store_file;
use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

/// Puts files where their references say, several at a time, on threads of its own.
///
/// After an error some files may be there. Dropped, it forgets what waits, and waits for what is under
/// way, so that nothing is written afterwards.
pub(crate) struct Uploads {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    threads: usize,
    count: usize,
}

struct Shared {
    blobs: Arc<dyn BlobStore>,
    base: BlobPath,
    /// Bytes of files that may wait or be under way, unless it is one alone.
    limit: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(usize, EncodedFile)>,
    /// Bytes of the files that wait and that are under way.
    bytes: usize,
    stored: Vec<(usize, FileRef)>,
    failure: Option<Failure>,
    /// Nothing more comes.
    closed: bool,
}

enum Failure {
    Error(Error),
    Panic(Box<dyn Any + Send>),
    /// It has been reported.
    Known,
}

impl Uploads {
    /// Of up to `threads` files at a time, and `limit` bytes in memory.
    pub(crate) fn new(
        blobs: Arc<dyn BlobStore>,
        base: BlobPath,
        threads: usize,
        limit: usize,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                blobs,
                base,
                limit,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
            workers: Vec::new(),
            threads,
            count: 0,
        }
    }

    /// Number of files given so far.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Takes a file, and waits while too many bytes are on their way.
    ///
    /// # Errors
    /// Of this file or any before it.
    pub(crate) fn begin(&mut self, file: EncodedFile) -> Result<()> {
        self.spawn(1);
        let mut state = self.shared.lock();
        while state.failure.is_none()
            && state.bytes > 0
            && state.bytes + file.bytes.len() > self.shared.limit
            && !self.workers.is_empty()
        {
            state = self.shared.wait(state);
        }
        state.check()?;
        state.bytes += file.bytes.len();
        state.waiting.push_back((self.count, file));
        drop(state);
        self.shared.changed.notify_all();
        self.count += 1;
        if self.workers.is_empty() {
            // Without another thread this one does it.
            self.shared.work(Until::NothingWaits);
            self.shared.lock().check()?;
        }
        Ok(())
    }

    /// Takes the last files and waits for all: their references, in the order in which they were given.
    ///
    /// # Errors
    /// Of any of the files.
    pub(crate) fn finish(mut self, last: Vec<EncodedFile>) -> Result<Vec<FileRef>> {
        let mut state = self.shared.lock();
        for file in last {
            state.bytes += file.bytes.len();
            state.waiting.push_back((self.count, file));
            self.count += 1;
        }
        state.closed = true;
        let waiting = state.waiting.len();
        drop(state);
        self.shared.changed.notify_all();
        // This thread is one of them, unless there is to be only one and it is at work.
        self.spawn(waiting.min(self.threads).saturating_sub(1));
        if self.threads > 1 || self.workers.is_empty() {
            self.shared.work(Until::NothingWaits);
        }
        self.join();
        let mut state = self.shared.lock();
        state.check()?;
        let mut stored = std::mem::take(&mut state.stored);
        stored.sort_unstable_by_key(|(number, _)| *number);
        Ok(stored.into_iter().map(|(_, file)| file).collect())
    }

    /// Makes sure of so many threads, if there can be as many.
    fn spawn(&mut self, threads: usize) {
        while self.workers.len() < threads {
            let shared = Arc::clone(&self.shared);
            let work = move || shared.work(Until::Closed);
            match Builder::new()
                .name("checkpoint-upload".to_owned())
                .spawn(work)
            {
                Ok(worker) => self.workers.push(worker),
                Err(_) => return,
            }
        }
    }

    fn join(&mut self) {
        for worker in self.workers.drain(..) {
            // Panics are caught where they happen.
            let _ = worker.join();
        }
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.closed = true;
        state.waiting.clear();
        drop(state);
        self.shared.changed.notify_all();
        self.join();
    }
}

impl fmt::Debug for Uploads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Uploads")
            .field("count", &self.count)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    NothingWaits,
    Closed,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // No panic happens while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.changed
            .wait(state)
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores files until the end, or until one fails.
    fn work(&self, until: Until) {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return;
            }
            let Some((number, file)) = state.waiting.pop_front() else {
                if state.closed || until == Until::NothingWaits {
                    return;
                }
                state = self.wait(state);
                continue;
            };
            drop(state);
            let bytes = file.bytes.len();
            let store = || store_file(&*self.blobs, &self.base, file);
            let stored = catch_unwind(AssertUnwindSafe(store));
            state = self.lock();
            state.bytes -= bytes;
            match stored {
                Ok(Ok(file)) => state.stored.push((number, file)),
                Ok(Err(error)) => state.fail(Failure::Error(error)),
                Err(panic) => state.fail(Failure::Panic(panic)),
            }
            self.changed.notify_all();
        }
    }
}

impl State {
    fn fail(&mut self, failure: Failure) {
        self.waiting.clear();
        self.failure.get_or_insert(failure);
    }

    /// Reports a failure, a panic as a panic.
    fn check(&mut self) -> Result<()> {
        match self.failure.replace(Failure::Known) {
            None => {
                self.failure = None;
                Ok(())
            }
            Some(Failure::Error(error)) => Err(error),
            Some(Failure::Panic(panic)) => resume_unwind(panic),
            Some(Failure::Known) => Err(Error::Blob {
                operation: "write",
                path: String::new(),
                retry: Retry::IsUseless,
                source: "an earlier file of this writer could not be written".into(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::blob::MemoryBlobs;
    use crate::fault::{Fault, FaultyBlobs};
    use crate::ids::{CheckpointId, OperatorUid};
    use crate::parquet::{FileWriter, RowGroupLimits};

    fn file(number: usize) -> EncodedFile {
        let mut writer = FileWriter::new(
            BlobPath::new(format!("file-{number}")).unwrap(),
            &OperatorUid::new("operator").unwrap(),
            "state",
            CheckpointId::new(1),
            RowGroupLimits::of_buffer(16 << 20),
            None,
        )
        .unwrap();
        writer.push(0, b"key", Some(b"value")).unwrap();
        writer.finish().unwrap().unwrap()
    }

    #[test]
    fn files_come_back_in_order_for_any_number_of_threads_and_bytes() {
        for threads in 1..5 {
            for limit in [0, 1000, 100_000] {
                let blobs = Arc::new(MemoryBlobs::new());
                let mut uploads = {
                    let blobs: Arc<dyn BlobStore> = Arc::<MemoryBlobs>::clone(&blobs);
                    Uploads::new(blobs, BlobPath::root(), threads, limit)
                };
                for number in 0..10 {
                    uploads.begin(file(number)).unwrap();
                }
                let stored = uploads.finish((10..14).map(file).collect()).unwrap();
                let names: Vec<_> = stored.iter().map(|file| file.path.to_string()).collect();
                let expected: Vec<_> = (0..14).map(|number| format!("file-{number}")).collect();
                assert_eq!(names, expected);
                assert_eq!(blobs.list(&BlobPath::root()).unwrap().len(), 14);
            }
        }
    }

    #[test]
    fn an_error_is_reported_by_whatever_comes_next_and_later_files_too() {
        for failing in 0..6 {
            let plan = move |_, _, path: &BlobPath| match path.as_str() {
                name if name == format!("file-{failing}") => Fault::Before,
                _ => Fault::None,
            };
            let blobs = Arc::new(FaultyBlobs::new(Arc::new(MemoryBlobs::new()), plan));
            let mut uploads = Uploads::new(blobs, BlobPath::root(), 3, 1000);
            let begun = (0..3).try_for_each(|number| uploads.begin(file(number)));
            if begun.is_err() {
                assert!(failing < 3);
                assert!(uploads.begin(file(3)).is_err());
            }
            assert!(uploads.finish((3..6).map(file).collect()).is_err());
        }
    }
}
