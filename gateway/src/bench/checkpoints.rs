//! Real checkpoints while measuring: chunks go to a writer thread, which makes Parquet files and
//! publishes manifests.

use super::report::Checkpoint;
use checkpoint_store::{
    CheckpointId, CheckpointStore, LocalBlobs, Manifest, ManifestDraft, OperatorUid,
    OperatorUpdate, StoreOptions, WriteKind,
};
use state_backend::{DeltaChunk, KeyGroupRange, MaxParallelism, StateCatalog, StateStore};
use std::{
    path::Path,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

type Result<T> = std::result::Result<T, checkpoint_store::Error>;

/// Chunks on their way to the writer; a chunk is up to about a megabyte.
const QUEUE: usize = 8;

enum Message {
    Begin(u64, StateCatalog),
    Chunk(DeltaChunk),
    End,
}

/// What the writer says of a checkpoint.
pub(crate) struct Published {
    pub(crate) id: u64,
    rows: u64,
    bytes: u64,
}

/// The checkpoints of one store.
pub(crate) struct Checkpoints {
    to_writer: Option<SyncSender<Message>>,
    from_writer: Receiver<Published>,
    writer: Option<JoinHandle<Result<Option<Manifest>>>>,
    store: CheckpointStore,
    operator: OperatorUid,
    /// Not taken by the writer yet.
    waiting: std::collections::VecDeque<Message>,
    running: Option<Running>,
    next_id: u64,
}

struct Running {
    id: u64,
    began: Duration,
    stall: Stall,
}

/// How long a store was kept from working.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stall {
    pub(crate) clock: Duration,
    /// Without what other threads and the machine's other guests took of it.
    pub(crate) thread: Option<Duration>,
}

impl Stall {
    /// The longer of the two, by each clock.
    pub(crate) fn max(self, other: Self) -> Self {
        Self {
            clock: self.clock.max(other.clock),
            thread: self.thread.max(other.thread),
        }
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

impl Checkpoints {
    /// `buffer_bytes`: of the rows of a file.
    pub(crate) fn open(dir: &Path, buffer_bytes: usize) -> Result<Self> {
        let blobs = Arc::new(LocalBlobs::open(dir)?);
        let options = StoreOptions::default().with_buffer_bytes(buffer_bytes);
        let store = CheckpointStore::open(blobs, options)?;
        let operator = OperatorUid::new("bench")?;
        let (to_writer, messages) = sync_channel(QUEUE);
        let (published, from_writer) = sync_channel(QUEUE);
        let thread = {
            let (store, operator) = (store.clone(), operator.clone());
            std::thread::spawn(move || write(&store, &operator, &messages, &published))
        };
        Ok(Self {
            to_writer: Some(to_writer),
            from_writer,
            writer: Some(thread),
            store,
            operator,
            waiting: std::collections::VecDeque::new(),
            running: None,
            next_id: 1,
        })
    }

    pub(crate) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Id for the next snapshot; the first checkpoint holds everything.
    pub(crate) fn begin(&mut self, catalog: StateCatalog, now: Duration) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Message::Begin(id, catalog));
        self.running = Some(Running {
            id,
            began: now,
            stall: Stall::default(),
        });
        id
    }

    pub(crate) fn add(&mut self, chunks: &mut Vec<DeltaChunk>) {
        self.waiting.extend(chunks.drain(..).map(Message::Chunk));
    }

    pub(crate) fn end(&mut self) {
        self.waiting.push_back(Message::End);
    }

    /// Notes how long the store was kept from working.
    pub(crate) fn stalled(&mut self, stall: Stall) {
        if let Some(running) = &mut self.running {
            running.stall = running.stall.max(stall);
        }
    }

    /// Hands over what the writer takes without waiting; returns whether it took everything.
    pub(crate) fn hand_over(&mut self) -> bool {
        let Some(to_writer) = &self.to_writer else {
            return true;
        };
        while let Some(message) = self.waiting.pop_front() {
            match to_writer.try_send(message) {
                Ok(()) => {}
                // A writer that failed is found out by `finish`.
                Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                    self.waiting.push_front(message);
                    return false;
                }
            }
        }
        true
    }

    /// Whether the checkpoint under way has been published: what it came to, for [`ended`](Self::ended), and its
    /// snapshot's id.
    pub(crate) fn published(&mut self) -> Option<Published> {
        self.from_writer.try_recv().ok()
    }

    /// The checkpoint under way is over.
    pub(crate) fn ended(&mut self, published: &Published, now: Duration) -> Option<Checkpoint> {
        let running = self.running.take()?;
        debug_assert_eq!(running.id, published.id);
        Some(Checkpoint {
            at_s: running.began.as_secs_f64(),
            seconds: (now - running.began).as_secs_f64(),
            stall_ms: millis(running.stall.clock),
            thread_stall_ms: running.stall.thread.map(millis),
            bytes: published.bytes,
            rows: published.rows,
        })
    }

    /// Whether the writer gave up; `finish` says why.
    pub(crate) fn has_failed(&self) -> bool {
        self.writer.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Ends the writer; returns the newest manifest.
    pub(crate) fn finish(&mut self) -> Result<Option<Manifest>> {
        self.to_writer = None;
        match self.writer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(None),
        }
    }

    /// Restores everything into a fresh store.
    pub(crate) fn restore(&self, manifest: &Manifest, into: &mut StateStore) -> Result<u64> {
        let restored = self
            .store
            .restore(manifest, &self.operator, into, &mut |_| {})?;
        Ok(restored.rows)
    }
}

fn write(
    store: &CheckpointStore,
    operator: &OperatorUid,
    messages: &Receiver<Message>,
    published: &SyncSender<Published>,
) -> Result<Option<Manifest>> {
    let max = MaxParallelism::DEFAULT;
    let mut previous: Option<Manifest> = None;
    let mut current = None;
    while let Ok(message) = messages.recv() {
        match message {
            Message::Begin(id, catalog) => {
                let kind = match previous {
                    None => WriteKind::Full,
                    Some(_) => WriteKind::Delta,
                };
                let number = CheckpointId::new(id);
                let writer =
                    store.shard_writer(number, operator, 0, KeyGroupRange::all(max), kind)?;
                current = Some((id, writer.with_catalog(&catalog), catalog));
            }
            Message::Chunk(chunk) => {
                if let Some((_, writer, _)) = &mut current {
                    writer.write(&chunk)?;
                }
            }
            Message::End => {
                let Some((id, writer, catalog)) = current.take() else {
                    continue;
                };
                let files = writer.finish()?;
                let (rows, bytes) = (files.rows(), files.bytes());
                let update = OperatorUpdate::new(operator.clone(), 1, max.get())
                    .with_catalog(catalog)
                    .with_shard(files);
                let number = CheckpointId::new(id);
                let draft = ManifestDraft::new(number, 0, previous.as_ref()).with_operator(update);
                let outcome = store.commit(draft.build())?;
                previous = Some(Arc::unwrap_or_clone(outcome.manifest));
                if published.send(Published { id, rows, bytes }).is_err() {
                    break;
                }
            }
        }
    }
    Ok(previous)
}
