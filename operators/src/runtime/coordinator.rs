//! Runs a job: starts its tasks, triggers and commits its checkpoints, restarts it.

mod attempt;
mod complete;
mod trigger;

use super::commit;
use super::deployment::Deployment;
use super::event::{SnapshotPurpose, StopMode};
use super::executor::Executor;
use super::inbox::Inbox;
use super::observe::{self, Observer};
use super::report::{Command, Envelope, REPORTS, Report};
use super::signal::Signal;
use super::writer::Savepoints;
use crate::checkpoint::{
    CheckpointHistory, FailureCounter, FailureReason, Pending, RequestKind, RequestLimits,
    RequestQueue, ShardKey,
};
use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, lock};
use crate::job::{CompletedCheckpoint, Request, Shared};
use crate::restart::RestartCounter;
use crate::status::JobState;
use checkpoint_store::{Compactor, Manifest};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

type Reply = oneshot::Sender<Result<CompletedCheckpoint>>;

/// Threads that write snapshots: sorting and encoding rows takes longer than handing them out, and subtasks share them.
const WRITERS: usize = 2;
/// Requests that may wait to be triggered.
const MAX_QUEUED: usize = 1_000;

/// A checkpoint somebody or the interval asks for.
struct Wanted {
    purpose: SnapshotPurpose,
    directory: Option<String>,
    /// The sources stop behind the barrier.
    halt: bool,
    /// The last one: when it is complete the job ends.
    last: bool,
    replies: Vec<Reply>,
}

impl Wanted {
    fn new(purpose: SnapshotPurpose, replies: Vec<Reply>) -> Self {
        Self {
            purpose,
            directory: None,
            halt: false,
            last: false,
            replies,
        }
    }
}

struct UnderWay {
    pending: Pending,
    wanted: Wanted,
    expires: Duration,
    started: Duration,
    /// When its barriers, aligned so far, are to overtake.
    overtakes: Option<Duration>,
}

enum Phase {
    Starting,
    Running,
    /// A stop is under way; what the job will then be.
    Stopping(JobState),
    /// Tasks are running out.
    Ending(JobState),
    Backoff(Duration),
    Done,
}

/// What a coordinator does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Again,
    Wait(Option<Duration>),
    Done,
}

pub(crate) struct Coordinator<E> {
    graph: Arc<Graph>,
    config: JobConfig,
    shared: Arc<Shared>,
    pub(crate) executor: E,
    inbox: Arc<Inbox<Envelope>>,
    phase: Phase,
    attempt: u64,
    attempt_started: Duration,
    deployment: Option<Arc<Deployment>>,
    waiting: usize,
    unfinished: usize,
    parts: BTreeSet<ShardKey>,
    reading: BTreeSet<usize>,
    requests: RequestQueue<Wanted>,
    failures: FailureCounter,
    restarts: RestartCounter,
    under_way: BTreeMap<u64, UnderWay>,
    /// What the next checkpoint builds on.
    previous: Option<Arc<Manifest>>,
    /// The next one must be complete in itself.
    full: bool,
    next_id: u64,
    last_completion: Duration,
    next_trigger: Option<Duration>,
    history: CheckpointHistory,
    first_start: bool,
    drain: Option<Wanted>,
    savepoints: Savepoints,
    /// Shortens the chains of deltas, beside the job.
    compactor: Option<Compactor>,
    /// What the attempt under way restores from.
    restoring: Option<Arc<Manifest>>,
    observer: Observer,
    pub(crate) outcome: Option<Error>,
}

impl<E: Executor> Coordinator<E> {
    pub(crate) fn new(
        graph: Graph,
        config: JobConfig,
        shared: Arc<Shared>,
        signal: Arc<Signal>,
        executor: E,
    ) -> Self {
        let limits = RequestLimits {
            max_concurrent: config.checkpoint.as_ref().map_or(1, |c| c.max_concurrent),
            min_pause: config
                .checkpoint
                .as_ref()
                .map_or(Duration::ZERO, |c| c.min_pause),
            max_queued: MAX_QUEUED,
        };
        let tolerable = config
            .checkpoint
            .as_ref()
            .and_then(|c| c.tolerable_failures);
        Self {
            graph: Arc::new(graph),
            inbox: Arc::new(Inbox::new(REPORTS, signal)),
            executor,
            phase: Phase::Backoff(Duration::ZERO),
            attempt: 0,
            attempt_started: Duration::ZERO,
            deployment: None,
            waiting: 0,
            unfinished: 0,
            parts: BTreeSet::new(),
            reading: BTreeSet::new(),
            requests: RequestQueue::new(limits),
            failures: FailureCounter::new(tolerable),
            restarts: RestartCounter::new(config.restart.clone()),
            under_way: BTreeMap::new(),
            previous: None,
            full: false,
            next_id: 1,
            // so that the first periodic checkpoint does not wait for the pause
            last_completion: Duration::ZERO,
            next_trigger: None,
            history: CheckpointHistory::default(),
            first_start: true,
            drain: None,
            savepoints: Savepoints::default(),
            compactor: config.checkpoint.as_ref().map(|checkpoint| {
                let policy = checkpoint.store.compaction_policy();
                Compactor::new(checkpoint.store.clone(), policy)
            }),
            restoring: None,
            observer: Observer::new(&config.name),
            outcome: None,
            shared,
            config,
        }
    }

    /// Does what is to be done now.
    pub(crate) fn step(&mut self) -> Next {
        if let Some(envelope) = self.inbox.receive() {
            if envelope.attempt == self.attempt {
                self.on_report(envelope.task, envelope.report);
            }
            return self.next();
        }
        if let Some(request) = self.shared.requests.receive() {
            self.on_request(request);
            return self.next();
        }
        let now = self.config.clock.elapsed();
        match self.phase {
            Phase::Done => return Next::Done,
            Phase::Backoff(until) if now >= until => {
                if let Err(error) = self.start() {
                    self.fail(error);
                }
                return self.next();
            }
            Phase::Backoff(until) => return Next::Wait(Some(until.saturating_sub(now))),
            _ => {}
        }
        let expired = self
            .under_way
            .iter()
            .find(|(_, u)| now >= u.expires)
            .map(|(id, _)| *id);
        if let Some(id) = expired {
            let missing = self.under_way[&id].pending.missing();
            let missing: Vec<String> = missing
                .map(|part| format!("{}[{}]", part.uid, part.subtask))
                .collect();
            let message = format!("no acknowledgement from {}", missing.join(", "));
            self.abort(id, FailureReason::CheckpointExpired, message);
            return self.next();
        }
        if self.overtake(now) {
            return self.next();
        }
        if let Some(at) = self.next_trigger
            && now >= at
        {
            self.next_trigger = self.interval().map(|interval| now + interval);
            if matches!(self.phase, Phase::Running) {
                let wanted = Wanted::new(SnapshotPurpose::Checkpoint, Vec::new());
                self.request(RequestKind::Periodic, wanted);
            }
            return self.next();
        }
        let alarms = self
            .under_way
            .values()
            .flat_map(|u| [u.overtakes, Some(u.expires)])
            .flatten()
            .chain(self.next_trigger);
        Next::Wait(alarms.min().map(|at| at.saturating_sub(now)))
    }

    fn next(&self) -> Next {
        if matches!(self.phase, Phase::Done) {
            Next::Done
        } else {
            Next::Again
        }
    }

    fn interval(&self) -> Option<Duration> {
        self.config
            .checkpoint
            .as_ref()
            .and_then(|checkpoint| checkpoint.interval)
    }

    fn set_state(&self, state: JobState) {
        let mut status = lock(&self.shared.status);
        status.state = state;
        status.attempts = self.attempt;
    }

    fn all(&self, command: &Command) {
        self.send(command, false);
    }

    fn sources(&self, command: &Command) {
        self.send(command, true);
    }

    fn send(&self, command: &Command, sources_only: bool) {
        let Some(deployment) = &self.deployment else {
            return;
        };
        for handle in &deployment.subtasks {
            if (!sources_only || self.graph.tasks[handle.task].is_source)
                && handle.commands.send(command.clone()).is_err()
            {
                // bounded by the protocol; what is lost makes its checkpoint expire
                tracing::error!(?command, "a task's inbox is full");
            }
        }
    }

    /// Tells whoever listens how the tasks do, when it is time to; says how long until then.
    pub(crate) fn observe(&mut self) -> Duration {
        if self.observer.is_due(self.config.clock.elapsed()) {
            self.tell();
        }
        observe::EVERY
    }

    fn tell(&mut self) {
        let Some(deployment) = &self.deployment else {
            return;
        };
        let tasks = &self.graph.tasks;
        let subtasks = deployment.subtasks.iter();
        let named = subtasks.map(|handle| (tasks[handle.task].name.as_str(), handle));
        let clock = &self.config.clock;
        self.observer
            .tell(self.attempt, clock.elapsed(), clock.now(), named);
    }

    fn on_report(&mut self, task: usize, report: Report) {
        match report {
            Report::Started { parts, restored } => {
                self.parts.extend(parts);
                for restore in &restored {
                    self.observer.restored(restore);
                }
                lock(&self.shared.status).restored.extend(restored);
                self.waiting = self.waiting.saturating_sub(1);
                if self.waiting == 0 && matches!(self.phase, Phase::Starting) {
                    self.phase = Phase::Running;
                    self.set_state(JobState::Running);
                    let now = self.config.clock.elapsed();
                    self.next_trigger = self.interval().map(|interval| now + interval);
                    self.check_exhausted();
                }
            }
            Report::Ack {
                checkpoint,
                part,
                ack,
            } => self.on_ack(checkpoint, part, *ack),
            Report::Declined {
                checkpoint,
                part,
                reason,
                error,
            } => {
                let message = format!("{}[{}]: {}", part.uid, part.subtask, error.chain());
                self.abort(checkpoint, reason, message);
            }
            Report::Exhausted => {
                self.reading.remove(&task);
                self.check_exhausted();
            }
            Report::Failed { error } => self.fail(error),
            Report::Finished => {
                self.unfinished = self.unfinished.saturating_sub(1);
                if self.unfinished == 0
                    && let Phase::Ending(state) = self.phase
                {
                    self.finish(state);
                }
            }
        }
    }

    /// When every source is at its end the job takes a last checkpoint and ends.
    fn check_exhausted(&mut self) {
        let state = match self.phase {
            Phase::Running => JobState::Finished,
            Phase::Stopping(state) => state,
            _ => return,
        };
        if !self.reading.is_empty() || self.waiting > 0 {
            return;
        }
        let drained = self.drain.take();
        if self.config.checkpoint.is_none() {
            if let Some(wanted) = drained {
                for reply in wanted.replies {
                    let _ = reply.send(Err(Error::NoCheckpoints));
                }
            }
            self.end(state);
            return;
        }
        let mut wanted =
            drained.unwrap_or_else(|| Wanted::new(SnapshotPurpose::Checkpoint, Vec::new()));
        wanted.last = true;
        self.phase = Phase::Stopping(state);
        self.request(RequestKind::ForcedSavepoint, wanted);
    }

    /// Nothing follows: the tasks run out.
    fn end(&mut self, state: JobState) {
        self.phase = Phase::Ending(state);
        self.next_trigger = None;
        self.sources(&Command::Finish);
    }

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Checkpoint { reply } => {
                let wanted = Wanted::new(SnapshotPurpose::Checkpoint, vec![reply]);
                self.ask(RequestKind::Manual, wanted);
            }
            Request::Savepoint { directory, reply } => {
                let mut wanted = Wanted::new(SnapshotPurpose::Savepoint, vec![reply]);
                wanted.directory = Some(directory);
                self.ask(RequestKind::Savepoint, wanted);
            }
            Request::Stop {
                mode,
                savepoint,
                reply,
            } => self.stop(mode, savepoint, reply),
            Request::Cancel => {
                if matches!(self.phase, Phase::Done) {
                    return;
                }
                let delete = self.config.checkpoint.as_ref().is_some_and(|checkpoint| {
                    checkpoint.externalized == crate::config::Externalized::DeleteOnCancellation
                });
                self.finish(JobState::Canceled);
                if delete && let Some(checkpoint) = &self.config.checkpoint {
                    commit::delete_all(&checkpoint.store);
                }
            }
        }
    }

    fn ask(&mut self, kind: RequestKind, wanted: Wanted) {
        if self.config.checkpoint.is_none() {
            for reply in wanted.replies {
                let _ = reply.send(Err(Error::NoCheckpoints));
            }
        } else if matches!(self.phase, Phase::Running) {
            self.request(kind, wanted);
        } else {
            reject(wanted, FailureReason::NotAllRequiredTasksRunning);
        }
    }

    fn stop(&mut self, mode: StopMode, savepoint: Option<String>, reply: Reply) {
        if !matches!(self.phase, Phase::Running) {
            let _ = reply.send(Err(Error::NotRunning));
            return;
        }
        let purpose = match savepoint {
            Some(_) => SnapshotPurpose::Savepoint,
            None => SnapshotPurpose::Checkpoint,
        };
        let mut wanted = Wanted::new(purpose, vec![reply]);
        wanted.directory = savepoint;
        wanted.last = true;
        match mode {
            StopMode::Drain => {
                self.phase = Phase::Stopping(JobState::Finished);
                self.drain = Some(wanted);
                self.sources(&Command::Drain);
                self.check_exhausted();
            }
            StopMode::Suspend if self.config.checkpoint.is_none() => {
                for reply in wanted.replies {
                    let _ = reply.send(Err(Error::NoCheckpoints));
                }
                self.end(JobState::Suspended);
            }
            StopMode::Suspend => {
                wanted.halt = true;
                self.phase = Phase::Stopping(JobState::Suspended);
                self.request(RequestKind::ForcedSavepoint, wanted);
            }
        }
    }
}

fn reject(wanted: Wanted, reason: FailureReason) {
    for reply in wanted.replies {
        // who asked may be gone
        let _ = reply.send(Err(Error::CheckpointFailed { reason }));
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
