//! The part of a snapshot that is not in memory, read beside the owner.
//!
//! What the backend holds when the snapshot begins is frozen, and a thread of the snapshot reads it. The owner writes out, as
//! ever, the rows that were in its tables then, before they change, move or are evicted; a row that comes from the
//! backend afterwards is not among them. So a row belongs to the one or the other: the owner names those that it
//! wrote of a key group, deleted ones included, and the thread leaves them out.

use crate::{DeltaChunk, Error, FrozenRows, KeyGroup, Result, StateId};
use std::{
    collections::{HashMap, VecDeque},
    iter::Peekable,
    ops::ControlFlow,
    sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

/// Chunks that the thread is ahead of the owner, and tasks that the owner is ahead of the thread.
const QUEUE: usize = 4;
/// Rows that are read at one go, without the backend's owner getting a word in.
const SLICE: usize = 1024;

/// What is left of a row's value, if the state's snapshots are cleaned of what has expired.
pub(crate) type Filter = Box<dyn Fn(&[u8], &mut Vec<u8>) -> Result<Kept, String> + Send>;

/// What a [`Filter`] keeps.
pub(crate) enum Kept {
    All,
    /// What it appended.
    Part,
    Nothing,
}

/// Keys, without the group, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Keys {
    bytes: Vec<u8>,
    ends: Vec<u32>,
}

/// The part of a snapshot that is read beside the owner.
#[derive(Debug)]
pub(crate) struct FrozenPart {
    pub(crate) reader: FrozenReader,
    /// What the owner wrote of the groups that it is not through with; of a snapshot of all state.
    pub(crate) written: HashMap<(StateId, KeyGroup), Keys, foldhash::fast::RandomState>,
    /// Evicted rows of the group that the owner is at which the snapshot wants.
    pub(crate) changed: Keys,
}

impl FrozenPart {
    pub(crate) fn new(reader: FrozenReader) -> Self {
        Self {
            reader,
            written: HashMap::default(),
            changed: Keys::default(),
        }
    }
}

impl Keys {
    pub(crate) fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn push(&mut self, key: &[u8]) {
        self.bytes.extend_from_slice(key);
        self.ends.push(self.bytes.len() as u32);
    }

    fn sorted(&self) -> Vec<&[u8]> {
        let mut start = 0;
        let mut keys: Vec<_> = self
            .ends
            .iter()
            .map(|&end| {
                let key = &self.bytes[start..end as usize];
                start = end as usize;
                key
            })
            .collect();
        keys.sort_unstable();
        keys
    }
}

/// What to read of a state and key group.
pub(crate) struct Task {
    pub(crate) state: StateId,
    pub(crate) group: KeyGroup,
    pub(crate) filter: Option<Filter>,
    /// Rows that were evicted since they changed; those that are not there were deleted.
    pub(crate) changed: Keys,
    /// All rows are wanted but those that the owner wrote.
    pub(crate) all_but: Option<Keys>,
    /// Rows that are gone or expired are written as deleted.
    pub(crate) deletions: bool,
}

/// The thread that reads for one snapshot, and what is on its way to it.
#[derive(Debug)]
pub(crate) struct FrozenReader {
    tasks: Option<SyncSender<Task>>,
    waiting: VecDeque<Task>,
    chunks: Option<Receiver<Result<DeltaChunk>>>,
    thread: Option<JoinHandle<()>>,
    /// Nobody waits for the rest.
    stop: Arc<AtomicBool>,
    failed: Option<String>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Task")
            .field("state", &self.state)
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl FrozenReader {
    /// `None`: there is no thread to be had.
    pub(crate) fn start(rows: Box<dyn FrozenRows>, chunk_bytes: usize) -> Option<Self> {
        let (to_thread, tasks) = sync_channel(QUEUE);
        let (send, chunks) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new().name("weir-snapshot-reader".into());
        let stop = Arc::new(AtomicBool::new(false));
        let reading = Reading {
            rows,
            chunk_bytes,
            send,
            stop: Arc::clone(&stop),
        };
        let thread = thread.spawn(move || reading.run(&tasks)).ok()?;
        Some(Self {
            tasks: Some(to_thread),
            waiting: VecDeque::new(),
            chunks: Some(chunks),
            thread: Some(thread),
            stop,
            failed: None,
        })
    }

    pub(crate) fn add(&mut self, task: Task) {
        self.waiting.push_back(task);
    }

    /// Takes in what has been read. With `all_added` no more is to come, and the answer is whether all was read.
    pub(crate) fn take_turn(&mut self, all_added: bool, out: &mut Vec<DeltaChunk>) -> Result<bool> {
        if let Some(reason) = &self.failed {
            return Err(Error::Poisoned {
                reason: reason.clone(),
            });
        }
        while let (Some(tasks), Some(task)) = (&self.tasks, self.waiting.pop_front()) {
            // One that ended says why below.
            if let Err(TrySendError::Full(task)) = tasks.try_send(task) {
                self.waiting.push_front(task);
                break;
            }
        }
        if all_added && self.waiting.is_empty() {
            self.tasks = None;
        }
        while let Some(chunks) = &self.chunks {
            match chunks.try_recv() {
                Ok(Ok(chunk)) => out.push(chunk),
                Ok(Err(error)) => {
                    self.failed = Some(format!("a snapshot could not be read: {error}"));
                    return Err(error);
                }
                Err(TryRecvError::Empty) => return Ok(false),
                Err(TryRecvError::Disconnected) => self.chunks = None,
            }
        }
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(_)) => {
                let reason = "the reader of a snapshot panicked".to_owned();
                self.failed = Some(reason.clone());
                Err(Error::Poisoned { reason })
            }
            _ => Ok(true),
        }
    }
}

impl Drop for FrozenReader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        (self.tasks, self.chunks) = (None, None);
        if let Some(thread) = self.thread.take() {
            let _ended = thread.join();
        }
    }
}

struct Reading {
    rows: Box<dyn FrozenRows>,
    chunk_bytes: usize,
    send: SyncSender<Result<DeltaChunk>>,
    stop: Arc<AtomicBool>,
}

/// The owner does not wait any more.
struct Dropped;

impl Reading {
    fn run(self, tasks: &Receiver<Task>) {
        while let Ok(task) = tasks.recv() {
            let mut writing = Writing {
                chunk: DeltaChunk::new(task.state, task.group),
                filtered: Vec::new(),
                reading: &self,
                task: &task,
            };
            let outcome = match &task.all_but {
                Some(written) => writing.all(written),
                None => writing.changed(),
            };
            let sent = match outcome {
                Ok(Ok(())) => writing.send(),
                Ok(Err(Dropped)) => Err(Dropped),
                Err(error) => {
                    let _nobody_waits = self.send.send(Err(error));
                    Err(Dropped)
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

struct Writing<'a> {
    chunk: DeltaChunk,
    filtered: Vec<u8>,
    reading: &'a Reading,
    task: &'a Task,
}

impl Writing<'_> {
    /// The rows that changed, by name.
    fn changed(&mut self) -> Result<Result<(), Dropped>> {
        let mut row = Vec::new();
        for key in self.task.changed.sorted() {
            row.clear();
            row.extend_from_slice(&self.task.group.to_be_bytes());
            row.extend_from_slice(key);
            let mut outcome = Ok(Ok(()));
            let found = self
                .reading
                .rows
                .read(self.task.state, &row, &mut |value| {
                    outcome = self.push(key, value);
                })?;
            if !found {
                outcome = Ok(self.push_deleted(key));
            }
            if let Err(Dropped) = outcome? {
                return Ok(Err(Dropped));
            }
        }
        Ok(Ok(()))
    }

    /// All rows but those that the owner wrote, in order.
    fn all(&mut self, written: &Keys) -> Result<Result<(), Dropped>> {
        let prefix = self.task.group.to_be_bytes();
        let written = written.sorted();
        let mut written = written.into_iter().peekable();
        let deleted = self.task.changed.sorted();
        let mut changed = deleted.into_iter().peekable();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let (mut seen, mut last) = (0, None);
            let mut outcome = Ok(Ok(()));
            let state = self.task.state;
            let rows = &self.reading.rows;
            rows.scan(state, &prefix, after.as_deref(), &mut |row, value| {
                let key = &row[prefix.len()..];
                outcome = self.next_of_all(key, value, &mut written, &mut changed);
                seen += 1;
                if !matches!(outcome, Ok(Ok(()))) {
                    return ControlFlow::Break(());
                }
                if seen == SLICE {
                    last = Some(row.to_vec());
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
            if let Err(Dropped) = outcome? {
                return Ok(Err(Dropped));
            }
            if last.is_none() {
                break;
            }
            after = last;
        }
        Ok(changed.try_for_each(|key| self.push_deleted(key)))
    }

    fn next_of_all<'k>(
        &mut self,
        key: &[u8],
        value: &[u8],
        written: &mut Peekable<impl Iterator<Item = &'k [u8]>>,
        changed: &mut Peekable<impl Iterator<Item = &'k [u8]>>,
    ) -> Result<Result<(), Dropped>> {
        while let Some(gone) = changed.next_if(|gone| *gone < key) {
            if let Err(Dropped) = self.push_deleted(gone) {
                return Ok(Err(Dropped));
            }
        }
        changed.next_if(|changed| *changed == key);
        while written.next_if(|written| *written < key).is_some() {}
        if written.peek().is_some_and(|written| *written == key) {
            return Ok(self.send_full());
        }
        self.push(key, value)
    }

    fn push(&mut self, key: &[u8], value: &[u8]) -> Result<Result<(), Dropped>> {
        self.filtered.clear();
        let kept = match &self.task.filter {
            None => Kept::All,
            Some(filter) => filter(value, &mut self.filtered).map_err(|reason| {
                Error::corrupted(format!("value of {}", self.task.state), reason)
            })?,
        };
        match kept {
            Kept::All => self.chunk.push(key, Some(value)),
            Kept::Part => self.chunk.push(key, Some(&self.filtered)),
            Kept::Nothing => return Ok(self.push_deleted(key)),
        }
        Ok(self.send_full())
    }

    fn push_deleted(&mut self, key: &[u8]) -> Result<(), Dropped> {
        if self.task.deletions {
            self.chunk.push(key, None);
        }
        self.send_full()
    }

    fn send_full(&mut self) -> Result<(), Dropped> {
        if self.reading.stop.load(Ordering::Relaxed) {
            return Err(Dropped);
        }
        if self.chunk.bytes() < self.reading.chunk_bytes {
            return Ok(());
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), Dropped> {
        let empty = DeltaChunk::new(self.chunk.state, self.chunk.group);
        let chunk = std::mem::replace(&mut self.chunk, empty);
        if chunk.is_empty() {
            return Ok(());
        }
        self.reading.send.send(Ok(chunk)).map_err(|_| Dropped)
    }
}
