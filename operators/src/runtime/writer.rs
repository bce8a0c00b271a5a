//! Writes snapshots to checkpoint storage, away from the threads that own the state.

use super::inbox::Inbox;
use super::report::Report;
use super::snapshot::{Reporter, micros};
use super::task::{Step, Task};
use crate::checkpoint::{Ack, FailureReason, ShardKey};
use crate::error::Result;
use crate::graph::lock;
use checkpoint_store::{
    CheckpointId, CheckpointStore, OperatorUid, SavepointWriter, ShardWriter, WriteKind,
};
use state_backend::{DeltaChunk, KeyGroupRange, SnapshotKind, StateCatalog};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use time_engine::Clock;

/// Chunks that wait for a writer; when it is full the snapshots pause.
pub(crate) const WRITER_QUEUE: usize = 256;

#[derive(Debug)]
pub(crate) enum WriterMessage {
    Begin {
        checkpoint: u64,
        part: ShardKey,
        range: KeyGroupRange,
        kind: SnapshotKind,
        catalog: StateCatalog,
        reporter: Reporter,
    },
    Chunk {
        checkpoint: u64,
        part: ShardKey,
        chunk: DeltaChunk,
    },
    Finish {
        checkpoint: u64,
        part: ShardKey,
        ack: Box<Ack>,
    },
    Abandon {
        checkpoint: u64,
        part: ShardKey,
    },
}

impl WriterMessage {
    pub(crate) fn checkpoint(&self) -> u64 {
        match self {
            Self::Begin { checkpoint, .. }
            | Self::Chunk { checkpoint, .. }
            | Self::Finish { checkpoint, .. }
            | Self::Abandon { checkpoint, .. } => *checkpoint,
        }
    }
}

#[derive(Debug)]
struct Open {
    /// `None` after it has failed: what still comes is dropped.
    writer: Option<ShardWriter>,
    reporter: Reporter,
    started: Duration,
}

/// One thread's writer: the parts of several checkpoints at a time.
#[derive(Debug)]
pub(crate) struct SnapshotWriter {
    pub(crate) store: CheckpointStore,
    pub(crate) inbox: Arc<Inbox<WriterMessage>>,
    pub(crate) clock: Arc<dyn Clock>,
    /// The savepoints under way; what is not among them is a checkpoint.
    savepoints: Savepoints,
    open: HashMap<(u64, ShardKey), Open>,
}

/// Savepoints under way, by their number.
pub(crate) type Savepoints = Arc<Mutex<HashMap<u64, SavepointWriter>>>;

impl SnapshotWriter {
    pub(crate) fn new(
        store: CheckpointStore,
        inbox: Arc<Inbox<WriterMessage>>,
        clock: Arc<dyn Clock>,
        savepoints: Savepoints,
    ) -> Self {
        Self {
            store,
            inbox,
            clock,
            savepoints,
            open: HashMap::new(),
        }
    }

    fn on_message(&mut self, message: WriterMessage) {
        match message {
            WriterMessage::Begin {
                checkpoint,
                part,
                range,
                kind,
                catalog,
                reporter,
            } => {
                let kind = match kind {
                    SnapshotKind::Delta => WriteKind::Delta,
                    SnapshotKind::Full => WriteKind::Full,
                };
                let started = self.clock.elapsed();
                let writer = self.begin(checkpoint, &part, range, kind, &catalog);
                let mut open = Open {
                    writer: None,
                    reporter,
                    started,
                };
                match writer {
                    Ok(writer) => open.writer = Some(writer),
                    Err(error) => decline(&open, checkpoint, &part, error),
                }
                self.open.insert((checkpoint, part), open);
            }
            WriterMessage::Chunk {
                checkpoint,
                part,
                chunk,
            } => {
                let key = (checkpoint, part);
                let Some(open) = self.open.get_mut(&key) else {
                    return;
                };
                if let Some(writer) = &mut open.writer
                    && let Err(error) = writer.write(&chunk)
                {
                    open.writer = None;
                    decline(open, checkpoint, &key.1, error.into());
                }
            }
            WriterMessage::Finish {
                checkpoint,
                part,
                mut ack,
            } => {
                let key = (checkpoint, part);
                let Some(open) = self.open.remove(&key) else {
                    return;
                };
                let Open {
                    writer: Some(writer),
                    reporter,
                    started,
                } = open
                else {
                    return;
                };
                match writer.finish() {
                    Ok(files) => {
                        ack.bytes = files.bytes();
                        ack.files = Some(files);
                        ack.times.async_us = micros(self.clock.elapsed().saturating_sub(started));
                        reporter.ack(checkpoint, key.1, *ack);
                    }
                    Err(error) => {
                        let open = Open {
                            writer: None,
                            reporter,
                            started,
                        };
                        decline(&open, checkpoint, &key.1, error.into());
                    }
                }
            }
            WriterMessage::Abandon { checkpoint, part } => {
                self.open.remove(&(checkpoint, part));
            }
        }
    }

    fn begin(
        &self,
        checkpoint: u64,
        part: &ShardKey,
        range: KeyGroupRange,
        kind: WriteKind,
        catalog: &StateCatalog,
    ) -> Result<ShardWriter> {
        let uid = OperatorUid::new(&*part.uid)?;
        let subtask = u16::try_from(part.subtask).unwrap_or(u16::MAX);
        let id = CheckpointId::new(checkpoint);
        let savepoint = lock(&self.savepoints).get(&checkpoint).cloned();
        let writer = match savepoint {
            Some(savepoint) => savepoint.shard_writer(id, &uid, subtask, range),
            None => self.store.shard_writer(id, &uid, subtask, range, kind)?,
        };
        Ok(writer.with_catalog(catalog))
    }
}

fn decline(open: &Open, checkpoint: u64, part: &ShardKey, error: crate::error::Error) {
    open.reporter.send(Report::Declined {
        checkpoint,
        part: part.clone(),
        reason: FailureReason::CheckpointAsyncException,
        error,
    });
}

impl Task for SnapshotWriter {
    fn step(&mut self) -> Result<Step> {
        match self.inbox.receive() {
            Some(message) => {
                self.on_message(message);
                Ok(Step::Progress)
            }
            None => Ok(Step::Wait {
                until: None,
                backpressured: false,
            }),
        }
    }
}
