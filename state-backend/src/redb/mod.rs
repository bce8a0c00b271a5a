//! The B-tree backend: state larger than memory, in one redb file for each range of key groups.
//!
//! Changes collect in sorted write buffers. A full buffer goes to the file in one transaction, on
//! a thread of its own, while the next one fills; reads look into the buffers first. When all
//! buffers are full the writer waits, so memory stays within
//! `write_buffer_bytes * write_buffer_count + cache_bytes`. Buffers leave memory only after a commit
//! that holds them: a full disk costs nothing but the wait for space.
//!
//! Runs of new rows between two neighbours (a restore, a bulk load, a new key group) go in through redb's
//! cursor, at several times the speed and densely packed. A file that has grown too loose is
//! rewritten in the background and replaced.
//!
//! Reads and writes of random keys far beyond the cache cost a page each way, some 30 to 60 bytes
//! written for one changed: the table above keeps what is hot out of here, and where all keys fit in
//! memory the log backend is several times as fast.

mod frozen;
#[cfg(test)]
mod fuzz;
mod job;
mod memtable;
mod scan;
mod storage;
#[cfg(test)]
mod tests;
mod tree;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use frozen::{Frozen, Gate};
use job::{Done, Job, Spare, Written};
use memtable::{Memtable, row_name};
use tree::{Pages, Tree, View, beside, sync_dir_of};

use crate::disk::{DiskOptions, SyncPolicy, Work};
use crate::io::LockGuard;
use crate::{
    BackendStats, Change, Durability, Error, FrozenRows, KeyGroupRange, KeyedStateBackend,
    Maintenance, Result, StateId, Visit,
};

/// Files smaller than this are not worth rewriting; the tests want to see it done.
const MIN_REBUILD_BYTES: u64 = if cfg!(test) { 100 << 10 } else { 4 << 20 };

/// So many requests for maintenance without a change in between are a pause in which free pages may be given back.
const STILL: u32 = if cfg!(test) { 1 } else { 64 };

/// A [`KeyedStateBackend`] over one redb file.
///
/// ```
/// use state_backend::{Change, KeyGroupRange, KeyedStateBackend, MaxParallelism, StateId};
/// use state_backend::{disk::DiskOptions, redb::RedbBackend};
///
/// # fn main() -> state_backend::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let dir = dir.path();
/// let range = KeyGroupRange::all(MaxParallelism::DEFAULT);
/// let mut backend = RedbBackend::open(dir, range, &DiskOptions::default())?;
/// let state = StateId::new(1);
/// backend.apply(&[Change { state, key: b"\0\0key", value: Some(b"value") }])?;
/// let mut found = Vec::new();
/// assert!(backend.read(state, b"\0\0key", &mut |value| found.extend_from_slice(value))?);
/// assert_eq!(found, b"value");
/// # Ok(())
/// # }
/// ```
///
/// What is in the write buffers when it is dropped is lost: flush first.
#[derive(Debug)]
pub struct RedbBackend {
    path: PathBuf,
    options: DiskOptions,
    /// `None` only while a failed file is being opened again.
    open: Option<Open>,
    active: Memtable,
    /// An empty buffer to be used again.
    spare: Spare,
    /// Buffers that are in the file, to be emptied.
    written: Written,
    /// Full buffers, oldest first.
    full: VecDeque<Arc<Memtable>>,
    job: Option<Job>,
    /// Bytes of the file for one of a row after the last rebuild.
    looseness: f64,
    /// What the last spill wrote. The next will write about as much, into pages that are free: a file under
    /// writes is no denser, however often it is rebuilt.
    spilled_bytes: u64,
    /// Bytes accepted when maintenance was last asked for, and how often it was since they changed.
    still: (u64, u32),
    row: RefCell<Vec<u8>>,
    accepted_bytes: u64,
    /// Written to files that are closed by now.
    written_before: u64,
    poisoned: Option<String>,
    lock: Lock,
}

/// Keeps others from the file.
type Lock = Arc<dyn LockGuard>;

#[derive(Debug)]
struct Open {
    // Declared before the tree: dropped before it.
    view: View,
    tree: Arc<Tree>,
    /// For those who read frozen rows.
    gate: Gate,
}

impl Open {
    fn new(tree: Arc<Tree>) -> Result<Self> {
        Ok(Self {
            view: tree.view()?,
            tree,
            gate: Gate::default(),
        })
    }
}

impl RedbBackend {
    /// Opens the file of `range` in `dir`, or makes it. An existing file is verified page by
    /// page: about a second for 1 GB.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupted`] when the file is damaged, [`Error::Io`] when the file system refuses
    /// or another backend has the file open.
    pub fn open(
        dir: impl AsRef<Path>,
        range: KeyGroupRange,
        options: &DiskOptions,
    ) -> Result<Self> {
        let names = Names::of(dir.as_ref(), range);
        let lock = crate::disk::take_dir(dir.as_ref(), &names.lock, options)?;
        Self::open_locked(names.file, options, Pages::Verify, lock)
    }

    /// As [`open`](Self::open), of a file whose every byte is verified already.
    pub(crate) fn open_verified(
        dir: &Path,
        range: KeyGroupRange,
        options: &DiskOptions,
        lock: Box<dyn LockGuard>,
    ) -> Result<Self> {
        Self::open_locked(Names::of(dir, range).file, options, Pages::Trust, lock)
    }

    fn open_locked(
        path: PathBuf,
        options: &DiskOptions,
        pages: Pages,
        lock: Box<dyn LockGuard>,
    ) -> Result<Self> {
        // What a crash left half made.
        remove_file(&beside(&path), options)?;
        let tree = Arc::new(Tree::open(&path, options, pages)?);
        Ok(Self {
            open: Some(Open::new(tree)?),
            path,
            options: options.clone(),
            active: Memtable::with_capacity(options.write_buffer_bytes()),
            spare: Spare::default(),
            written: Written::default(),
            full: VecDeque::new(),
            job: None,
            looseness: 1.3,
            spilled_bytes: 0,
            still: (0, 0),
            row: RefCell::default(),
            accepted_bytes: 0,
            written_before: 0,
            poisoned: None,
            lock: lock.into(),
        })
    }

    /// Deletes the file of `range` in `dir` without reading it: one that is damaged, or belongs to
    /// another checkpoint than the one being restored.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the file system refuses or a backend has the file open.
    pub fn remove(
        dir: impl AsRef<Path>,
        range: KeyGroupRange,
        options: &DiskOptions,
    ) -> Result<()> {
        let dir = dir.as_ref();
        let names = Names::of(dir, range);
        let _lock = crate::disk::take_dir(dir, &names.lock, options)?;
        crate::local::break_seal(&**options.fs(), dir, &names.seal)?;
        remove_file(&names.file, options)?;
        if options.sync() == SyncPolicy::Never {
            return Ok(());
        }
        sync_dir_of(&names.file, options)
    }

    fn tree(&self) -> Result<&Open> {
        match &self.open {
            Some(open) => Ok(open),
            None => Err(self.stopped()),
        }
    }

    fn stopped(&self) -> Error {
        Error::Poisoned {
            reason: match &self.poisoned {
                Some(reason) => reason.clone(),
                None => format!("{} could not be opened again", self.path.display()),
            },
        }
    }

    fn check(&self) -> Result<()> {
        match &self.poisoned {
            Some(_) => Err(self.stopped()),
            None => Ok(()),
        }
    }

    /// Write buffers, newest first.
    fn buffers(&self) -> impl Iterator<Item = &Memtable> {
        std::iter::once(&self.active).chain(self.full.iter().rev().map(|table| &**table))
    }

    fn with_row<R>(&self, state: StateId, key: &[u8], work: impl FnOnce(&[u8]) -> R) -> R {
        let mut row = self.row.take();
        row_name(state, key, &mut row);
        let result = work(&row);
        self.row.replace(row);
        result
    }

    /// Makes room in the active buffer for a batch.
    fn make_room(&mut self, changes: &[Change<'_>]) -> Result<()> {
        let needed = Memtable::cost(changes);
        if self.active.is_empty()
            || self.active.bytes() + needed <= self.options.write_buffer_bytes()
        {
            return Ok(());
        }
        self.look_after_job()?;
        // The active buffer is one of the count.
        while self.full.len() + 1 >= self.options.write_buffer_count() && !self.full.is_empty() {
            self.start_job()?;
            self.finish_job()?;
        }
        self.fill();
        if self.options.write_buffer_count() == 1 || self.options.work() == Work::Inline {
            // What fails here stays in memory; the batch goes into a fresh buffer all the same,
            // and the next call reports it when there is no more room.
            return match self.start_job().and_then(|()| self.finish_job()) {
                Err(error) if error.is_out_of_space() && self.full.len() == 1 => Ok(()),
                other => other,
            };
        }
        self.start_job()
    }

    /// Begins a new active buffer; the old one is full.
    fn fill(&mut self) {
        let bytes = self.options.write_buffer_bytes();
        let fresh = self.spare.take();
        let fresh = fresh.unwrap_or_else(|| Memtable::with_capacity(bytes));
        let filled = std::mem::replace(&mut self.active, fresh);
        self.full.push_back(Arc::new(filled));
    }

    /// Starts a job if there is one to do and none under way.
    fn start_job(&mut self) -> Result<()> {
        if self.job.is_some() {
            return Ok(());
        }
        self.reopen()?;
        let tree = Arc::clone(&self.tree()?.tree);
        let work = self.options.work();
        if self.rebuild_due() {
            self.job = Some(Job::rebuild(work, tree, self.options.clone())?);
        } else if !self.full.is_empty() {
            let emptying = (std::mem::take(&mut self.written), self.spare.clone());
            let tables = self.full.iter().cloned().collect();
            self.job = Some(Job::spill(work, tree, tables, emptying)?);
        }
        Ok(())
    }

    /// Waits for the job under way, if any, and takes in what it did.
    fn finish_job(&mut self) -> Result<()> {
        match self.job.take() {
            None => Ok(()),
            Some(job) => {
                let done = job.wait();
                let result = done.and_then(|done| self.take_in(done));
                self.settle(result)
            }
        }
    }

    /// Takes in the job under way if it is done.
    fn look_after_job(&mut self) -> Result<()> {
        if self.job.as_ref().is_some_and(Job::is_done) {
            self.finish_job()
        } else {
            Ok(())
        }
    }

    fn take_in(&mut self, done: Done) -> Result<()> {
        match done {
            Done::Spilled {
                tables,
                result,
                bytes,
            } => {
                result?;
                self.spilled_bytes = bytes;
                self.written.add(self.full.drain(..tables));
                self.refresh()
            }
            Done::Rebuilt(tree) => {
                let tree = Arc::new(tree?);
                self.written_before += self.tree()?.tree.storage.written();
                let open = Open::new(tree)?;
                let live = open.view.live_bytes.max(1);
                self.looseness = open.tree.storage.len() as f64 / live as f64;
                if let Some(old) = self.open.replace(open) {
                    crate::disk::retire(self.options.work(), old);
                }
                Ok(())
            }
        }
    }

    fn refresh(&mut self) -> Result<()> {
        if let Some(open) = &mut self.open {
            open.view = open.tree.view()?;
        }
        Ok(())
    }

    /// redb goes no further after a failure. A full disk is got over by opening the file again, at
    /// the last commit; everything after that is still in the buffers. After any other failure
    /// nothing is known about what is on the medium.
    fn settle(&mut self, result: Result<()>) -> Result<()> {
        if let Err(error) = &result {
            if error.is_out_of_space() {
                if let Some(open) = self.open.take() {
                    self.written_before += open.tree.storage.written();
                    open.gate.shut();
                }
                self.reopen()?;
            } else {
                self.poisoned = Some(describe(error));
            }
        }
        result
    }

    fn reopen(&mut self) -> Result<()> {
        if self.open.is_none() {
            self.open = Some(Open::new(Arc::new(Tree::open(
                &self.path,
                &self.options,
                Pages::Verify,
            )?))?);
        }
        Ok(())
    }

    fn rebuild_due(&self) -> bool {
        let needed = if self.is_still() {
            0
        } else {
            self.spilled_bytes
        };
        self.is_loose(needed)
    }

    /// Whether too much of the file is dead that is not `needed`.
    fn is_loose(&self, needed: u64) -> bool {
        let dead = self.dead_bytes().saturating_sub(needed);
        dead as f64 > self.threshold() * self.disk_bytes() as f64
            && self.disk_bytes() > MIN_REBUILD_BYTES
    }

    fn is_still(&self) -> bool {
        self.still.1 >= STILL
    }

    fn threshold(&self) -> f64 {
        self.options.compaction_threshold()
    }

    fn disk_bytes(&self) -> u64 {
        self.open.as_ref().map_or(0, |open| open.tree.storage.len())
    }

    fn dead_bytes(&self) -> u64 {
        let live = self.open.as_ref().map_or(0, |open| open.view.live_bytes);
        self.disk_bytes()
            .saturating_sub((live as f64 * self.looseness) as u64)
    }

    /// What the write buffers take once they have been filled: they are kept.
    fn kept_bytes(&self) -> usize {
        let spares = usize::from(self.spare.is_there()) + self.written.len();
        let buffers = self.full.len() + 1 + spares;
        if self.full.is_empty() && spares == 0 {
            return 0;
        }
        buffers * self.options.write_buffer_bytes()
    }

    /// The cache, twice: pages are allocated by the owner and by the writer's thread, and an allocator that keeps
    /// memory by the thread has in the end a cache for each.
    fn page_bytes(&self) -> usize {
        2 * self.options.cache_bytes()
    }

    /// Brings every buffered change into the file.
    fn spill_all(&mut self) -> Result<()> {
        if !self.active.is_empty() {
            self.fill();
        }
        self.finish_job()?;
        while !self.full.is_empty() {
            self.start_job()?;
            self.finish_job()?;
        }
        Ok(())
    }
}

impl KeyedStateBackend for RedbBackend {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.with_row(state, key, |row| {
            if let Some(change) = self.buffers().find_map(|table| table.get(row)) {
                return Ok(match change {
                    Some(value) => {
                        found(value);
                        true
                    }
                    None => false,
                });
            }
            let open = self.tree()?;
            match open.view.rows.get(row) {
                Ok(Some(value)) => {
                    found(value.value());
                    Ok(true)
                }
                Ok(None) => Ok(false),
                Err(error) => Err(open.tree.failed("read", error.into())),
            }
        })
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let open = self.tree()?;
        let tables: Vec<_> = self.buffers().filter(|table| !table.is_empty()).collect();
        scan::scan_after(&tables, &open.view.rows, (state, prefix), after, visit)
            .map_err(|error| open.tree.failed("scan", error))
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.check()?;
        let values = changes.iter().filter_map(|change| change.value);
        if values
            .into_iter()
            .any(|value| value.len() > Memtable::MAX_VALUE)
        {
            return Err(Error::InvalidOptions("a value of more than 4 GiB".into()));
        }
        self.make_room(changes)?;
        let mut row = self.row.take();
        for change in changes {
            row_name(change.state, change.key, &mut row);
            self.active.insert(&row, change.value);
            self.accepted_bytes += (change.key.len() + change.value.map_or(0, <[u8]>::len)) as u64;
        }
        self.row.replace(row);
        Ok(())
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    /// Replaces the file by an empty one.
    fn clear(&mut self) -> Result<()> {
        self.check()?;
        // The job may be writing the very file; what it did no longer matters.
        if let Some(job) = self.job.take() {
            drop(job.wait());
        }
        self.active.clear();
        self.full.clear();
        if let Some(open) = self.open.take() {
            self.written_before += open.tree.storage.written();
        }
        remove_file(&self.path, &self.options)?;
        self.reopen()
    }

    /// Both degrees bring all buffers into the file, and wait for that.
    fn flush(&mut self, durability: Durability) -> Result<()> {
        self.check()?;
        self.spill_all()?;
        // Every commit is synced already unless the policy says never.
        if durability == Durability::Synced && self.options.sync() == SyncPolicy::Never {
            let synced = self.tree()?.tree.storage.sync();
            // The file may have got its name since the last synced flush.
            let synced = synced.and_then(|()| sync_dir_of(&self.path, &self.options));
            return self.settle(synced);
        }
        Ok(())
    }

    fn maintain(&mut self, _budget_bytes: u64) -> Result<Maintenance> {
        self.check()?;
        self.still = match self.still {
            (accepted, times) if accepted == self.accepted_bytes => {
                (accepted, times.saturating_add(1))
            }
            _ => (self.accepted_bytes, 0),
        };
        let looked_after = self.look_after_job().and_then(|()| {
            if self.rebuild_due() {
                self.start_job()
            } else {
                Ok(())
            }
        });
        match looked_after {
            Err(error) if error.is_out_of_space() => return Ok(Maintenance::Idle),
            other => other?,
        }
        let waits = !self.is_still() && self.is_loose(0);
        Ok(if self.job.is_some() || waits {
            Maintenance::Pending
        } else {
            Maintenance::Idle
        })
    }

    /// A view of the tree, and the write buffers: a new one is begun. `None` if there are too many already.
    fn freeze(&mut self) -> Result<Option<Box<dyn FrozenRows>>> {
        self.check()?;
        let room = self.full.len() < self.options.write_buffer_count();
        if !room && !self.active.is_empty() {
            return Ok(None);
        }
        if !self.active.is_empty() {
            self.fill();
            // What cannot be written stays in memory, and the next call that needs room reports it.
            match self.start_job() {
                Err(error) if error.is_out_of_space() => {}
                other => other?,
            }
        }
        let open = self.tree()?;
        if open.view.count == 0 && self.full.is_empty() {
            return Ok(None);
        }
        Ok(Some(Box::new(Frozen {
            buffers: self.full.iter().rev().cloned().collect(),
            view: open.tree.view()?,
            tree: Arc::clone(&open.tree),
            gate: open.gate.clone(),
            _lock: Arc::clone(&self.lock),
        })))
    }

    fn stats(&self) -> BackendStats {
        let (stored, written) = self.open.as_ref().map_or((0, 0), |open| {
            (open.view.count, open.tree.storage.written())
        });
        let balance: i64 = self.buffers().map(Memtable::balance).sum();
        let buffered: usize = self.buffers().map(Memtable::bytes).sum();
        BackendStats {
            rows: stored.saturating_add_signed(balance),
            memory_bytes: (buffered.max(self.kept_bytes()) + self.page_bytes()) as u64,
            disk_bytes: self.disk_bytes(),
            dead_bytes: self.dead_bytes(),
            accepted_bytes: self.accepted_bytes,
            written_bytes: self.written_before + written,
        }
    }
}

impl Drop for RedbBackend {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            drop(job.wait());
        }
    }
}

/// The files of one range of key groups.
pub(crate) struct Names {
    pub(crate) file: PathBuf,
    /// Says which checkpoint the file holds.
    pub(crate) seal: PathBuf,
    pub(crate) lock: String,
}

impl Names {
    pub(crate) fn of(dir: &Path, range: KeyGroupRange) -> Self {
        let name = format!("groups-{:05}-{:05}", range.start().get(), range.end().get());
        Self {
            file: dir.join(format!("{name}.redb")),
            seal: dir.join(format!("{name}.seal")),
            lock: format!("{name}.lock"),
        }
    }
}

fn remove_file(path: &Path, options: &DiskOptions) -> Result<()> {
    match options.fs().remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
