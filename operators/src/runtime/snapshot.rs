//! The snapshot of one part: taken in slices between batches, written by another thread.

use super::event::{Barrier, SnapshotPurpose, TaskContext};
use super::inbox::Inbox;
use super::report::{Envelope, Report};
use super::restore;
use super::slice::Slice;
use super::writer::WriterMessage;
use crate::checkpoint::{Ack, PhaseTimes, ShardKey};
use crate::error::Result;
use crate::operator_state::OperatorState;
use checkpoint_store::Manifest;
use state_backend::{PumpStatus, SnapshotKind, StateStore};
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use time_engine::Clock;

/// How a part reaches the coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Reporter {
    pub(crate) inbox: Arc<Inbox<Envelope>>,
    pub(crate) attempt: u64,
    pub(crate) task: usize,
}

impl Reporter {
    pub(crate) fn send(&self, report: Report) {
        let envelope = Envelope {
            attempt: self.attempt,
            task: self.task,
            report,
        };
        if let Err(lost) = self.inbox.send(envelope) {
            // a lost acknowledgement makes its checkpoint expire; see REPORTS for why it cannot be
            tracing::error!(?lost, "the coordinator's inbox is full");
        }
    }

    pub(crate) fn ack(&self, checkpoint: u64, part: ShardKey, ack: Ack) {
        self.send(Report::Ack {
            checkpoint,
            part,
            ack: Box::new(ack),
        });
    }
}

/// The most that the slices of a snapshot take in one go: elements wait for them.
const SHARE: Duration = Duration::from_micros(750);

/// A snapshot the store has not handed out completely.
#[derive(Debug)]
struct Capture {
    id: u64,
    ack: Ack,
}

/// One keyed part of the job as its checkpoints see it.
#[derive(Debug)]
pub(crate) struct SnapshotPart {
    pub(crate) part: ShardKey,
    pub(crate) reporter: Reporter,
    pub(crate) clock: Arc<dyn Clock>,
    /// `None`: the job takes no checkpoints.
    pub(crate) writer: Option<Arc<Inbox<WriterMessage>>>,
    pub(crate) slice: Slice,
    /// Oldest first: the order in which the store captures them.
    captures: VecDeque<Capture>,
    /// Something is restored or acknowledged. Before that a delta holds all state, and no deletions: it
    /// must take the place of whatever else was written.
    based: bool,
    /// Begun and neither acknowledged nor given up.
    pending: BTreeMap<u64, SnapshotPurpose>,
    backlog: VecDeque<WriterMessage>,
    /// The time that slices may take until they have made up for the elements.
    owed: Duration,
    /// That time is not over.
    due: bool,
    /// What the slices that follow each other have taken so far.
    run: Duration,
    /// When the last slice ended, or the snapshot began.
    worked: Duration,
    /// The snapshot that the job ends with, if it succeeds: from its barrier on the state is left alone, so that
    /// the files hold what it holds.
    last: Option<u64>,
    /// `None`: local files do not outlive the job.
    ending: Option<Ending>,
}

/// The manifest that the job ended with, once it has.
pub(crate) type Ending = Arc<OnceLock<Arc<Manifest>>>;

impl SnapshotPart {
    pub(crate) fn new(
        part: ShardKey,
        reporter: Reporter,
        clock: Arc<dyn Clock>,
        writer: Option<Arc<Inbox<WriterMessage>>>,
        slice: Slice,
        based: bool,
    ) -> Self {
        Self {
            part,
            reporter,
            clock,
            writer,
            slice,
            captures: VecDeque::new(),
            based,
            pending: BTreeMap::new(),
            backlog: VecDeque::new(),
            owed: Duration::ZERO,
            due: false,
            run: Duration::ZERO,
            worked: Duration::ZERO,
            last: None,
            ending: None,
        }
    }

    /// Leaves its files for the next start when the job has ended.
    pub(crate) fn with_ending(mut self, ending: Option<Ending>) -> Self {
        self.ending = ending;
        self
    }

    pub(crate) fn begin(
        &mut self,
        store: &mut StateStore,
        barrier: &Barrier,
        state: Option<OperatorState>,
        cx: &TaskContext,
    ) -> Result<()> {
        let start = self.clock.elapsed();
        store.begin_snapshot(barrier.id, barrier.kind)?;
        self.worked = self.clock.elapsed();
        let sync = self.worked.saturating_sub(start);
        let ack = Ack {
            catalog: Some(store.catalog()),
            operator_state: state,
            times: PhaseTimes {
                sync_us: micros(sync),
                ..cx.barrier_times
            },
            ..Ack::default()
        };
        self.captures.push_back(Capture {
            id: barrier.id,
            ack,
        });
        self.pending.insert(barrier.id, barrier.purpose);
        if barrier.last {
            self.last = Some(barrier.id);
        }
        self.backlog.push_back(WriterMessage::Begin {
            checkpoint: barrier.id,
            part: self.part.clone(),
            range: store.range(),
            kind: if self.based {
                barrier.kind
            } else {
                SnapshotKind::Full
            },
            catalog: store.catalog(),
            reporter: self.reporter.clone(),
        });
        Ok(())
    }

    /// A slice of what the store has to tidy up or, while there is a snapshot, of it. Asks for another one until they
    /// have made up for what the elements since took: where those take long, slices of their own
    /// length would take minutes for a large state.
    pub(crate) fn work(
        &mut self,
        store: &mut StateStore,
        round: usize,
        cx: &mut TaskContext,
    ) -> Result<()> {
        let due = std::mem::take(&mut self.due);
        if round == 0 {
            self.run = Duration::ZERO;
        } else if !due {
            return Ok(());
        }
        let state_bytes = &cx.metrics.state_bytes;
        state_bytes.store(store.memory_bytes(), Ordering::Relaxed);
        if !self.send_backlog(cx) {
            return Ok(());
        }
        if self.last.is_some() && self.captures.is_empty() {
            return Ok(());
        }
        let start = self.clock.elapsed();
        let others = start.saturating_sub(self.worked);
        self.pump(store, cx)?;
        self.worked = self.clock.elapsed();
        let took = self.worked.saturating_sub(start);
        self.slice.took(took);
        self.run += took;
        super::metrics::max(&cx.metrics.max_slice_ns, self.run);
        let owed = if round == 0 { others } else { self.owed };
        self.owed = owed.min(SHARE).saturating_sub(took);
        self.due = self.send_backlog(cx) && !self.captures.is_empty() && self.owed >= took;
        cx.slice_due |= self.due;
        Ok(())
    }

    fn pump(&mut self, store: &mut StateStore, cx: &mut TaskContext) -> Result<()> {
        let mut chunks = Vec::new();
        let status = store.pump(self.slice.budget(), &mut chunks)?;
        if let Some(capture) = self.captures.front() {
            let checkpoint = capture.id;
            for chunk in chunks {
                let part = self.part.clone();
                self.backlog.push_back(WriterMessage::Chunk {
                    checkpoint,
                    part,
                    chunk,
                });
            }
        }
        match status {
            PumpStatus::Working => cx.work_left = true,
            PumpStatus::Waiting => cx.wake_by(cx.now.saturating_add(Duration::from_millis(1))),
            PumpStatus::SnapshotDone(id) => {
                cx.work_left = true;
                let is_first = self
                    .captures
                    .front()
                    .is_some_and(|capture| capture.id == id);
                if is_first && let Some(capture) = self.captures.pop_front() {
                    self.backlog.push_back(WriterMessage::Finish {
                        checkpoint: id,
                        part: self.part.clone(),
                        ack: Box::new(capture.ack),
                    });
                }
            }
            PumpStatus::Idle => {}
        }
        Ok(())
    }

    /// Whether everything was sent. What the writer has no room for waits, and the snapshot with it.
    fn send_backlog(&mut self, cx: &mut TaskContext) -> bool {
        while let Some(message) = self.backlog.pop_front() {
            let Some(writer) = &self.writer else { continue };
            if let Err(message) = writer.send(message) {
                self.backlog.push_front(message);
                cx.wake_by(cx.now.saturating_add(Duration::from_millis(1)));
                return false;
            }
        }
        true
    }

    pub(crate) fn complete(&mut self, store: &mut StateStore, id: u64) -> Result<()> {
        match self.pending.remove(&id) {
            Some(SnapshotPurpose::Checkpoint) => {
                store.acknowledge(id)?;
                self.based = true;
            }
            // it is in no chain: the next delta must hold its changes all the same
            Some(SnapshotPurpose::Savepoint) => store.abandon(id)?,
            None => {}
        }
        Ok(())
    }

    /// The last call: leaves the files for the next start if the job has ended with a checkpoint.
    pub(crate) fn close(&mut self, store: &mut StateStore) {
        if let Some(manifest) = self.ending.as_ref().and_then(|ending| ending.get()) {
            let info = (&*self.part.uid, self.part.subtask);
            restore::seal(store, manifest, info, &*self.clock);
        }
    }

    pub(crate) fn abort(&mut self, store: &mut StateStore, id: u64) -> Result<()> {
        self.last.take_if(|last| *last == id);
        if self.pending.remove(&id).is_none() {
            return Ok(());
        }
        self.captures.retain(|capture| capture.id != id);
        self.backlog.retain(|message| message.checkpoint() != id);
        let part = self.part.clone();
        self.backlog.push_back(WriterMessage::Abandon {
            checkpoint: id,
            part,
        });
        store.abandon(id)?;
        Ok(())
    }
}

pub(crate) fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
