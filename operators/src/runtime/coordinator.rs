//! Runs a job: starts its tasks, triggers and commits its checkpoints, restarts it.

use super::commit;
use super::deployment::{BuildContext, Deployment};
use super::event::{Barrier, SnapshotPurpose, StopMode};
use super::executor::{Executor, Launch};
use super::inbox::Inbox;
use super::observe::{self, Observer};
use super::report::{Command, Envelope, REPORTS, Report};
use super::signal::Signal;
use super::snapshot::Reporter;
use super::task::Task;
use super::writer::{Savepoints, SnapshotWriter, WRITER_QUEUE};
use crate::checkpoint::{
    Ack, CheckpointHistory, CheckpointRecord, CheckpointState, FailureCounter, FailureReason,
    FailureVerdict, Observed, Pending, Progress, RequestKind, RequestLimits, RequestQueue,
    ShardKey,
};
use crate::config::{JobConfig, RestoreFrom};
use crate::error::{Error, Result};
use crate::graph::{Graph, lock};
use crate::job::{CompletedCheckpoint, Request, Shared};
use crate::restart::{RestartCounter, RestartDecision};
use crate::status::JobState;
use checkpoint_store::{CompactionPolicy, Compactor, Manifest};
use state_backend::SnapshotKind;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

type Reply = oneshot::Sender<Result<CompletedCheckpoint>>;

/// Threads that write snapshots.
const WRITERS: usize = 1;
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

struct UnderWay {
    pending: Pending,
    wanted: Wanted,
    expires: Duration,
    started: Duration,
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
                Compactor::new(checkpoint.store.clone(), CompactionPolicy::default())
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
        if let Some(at) = self.next_trigger
            && now >= at
        {
            self.next_trigger = self.interval().map(|interval| now + interval);
            if matches!(self.phase, Phase::Running) {
                let wanted = Wanted {
                    purpose: SnapshotPurpose::Checkpoint,
                    directory: None,
                    halt: false,
                    last: false,
                    replies: Vec::new(),
                };
                self.request(RequestKind::Periodic, wanted);
            }
            return self.next();
        }
        let alarms = self
            .under_way
            .values()
            .map(|u| u.expires)
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

    // ---- starting and ending ----

    fn start(&mut self) -> Result<()> {
        self.attempt += 1;
        self.attempt_started = self.config.clock.elapsed();
        self.phase = Phase::Starting;
        self.set_state(JobState::Initializing);
        let restore = self.restore_point()?;
        let writers: Vec<_> = self
            .config
            .checkpoint
            .iter()
            .flat_map(|_| (0..WRITERS).map(|_| Arc::new(Signal::default())))
            .map(|signal| {
                (
                    Arc::new(Inbox::new(WRITER_QUEUE, Arc::clone(&signal))),
                    signal,
                )
            })
            .collect();
        let deployment = Arc::new(Deployment::new(
            Arc::clone(&self.graph),
            self.config.clone(),
            self.attempt,
            restore,
            Arc::clone(&self.inbox),
            writers.iter().map(|(inbox, _)| Arc::clone(inbox)).collect(),
        ));
        self.waiting = deployment.subtasks.len();
        self.unfinished = deployment.subtasks.len();
        self.parts.clear();
        self.reading = (0..deployment.subtasks.len())
            .filter(|i| self.graph.tasks[deployment.subtasks[*i].task].is_source)
            .collect();
        self.deployment = Some(Arc::clone(&deployment));
        *lock(&self.shared.subtasks) = deployment.subtasks.clone();
        for (index, handle) in deployment.subtasks.iter().enumerate() {
            let deployment = Arc::clone(&deployment);
            let reporter = Reporter {
                inbox: Arc::clone(&self.inbox),
                attempt: self.attempt,
                task: index,
            };
            let build = move || {
                let mut cx = BuildContext::new(&deployment, index);
                let make = Arc::clone(&deployment.graph.tasks[cx.task].build);
                let task = make(&mut cx)?;
                let parts = std::mem::take(&mut cx.parts);
                cx.reporter.send(Report::Started { parts });
                Ok(task)
            };
            self.executor.start(Launch {
                name: self.graph.tasks[handle.task].name.clone(),
                subtask: handle.subtask,
                signal: Arc::clone(&handle.signal),
                metrics: Arc::clone(&handle.metrics),
                reporter,
                build: Box::new(build),
            })?;
        }
        if let Some(checkpoint) = &self.config.checkpoint {
            for (n, (inbox, signal)) in writers.into_iter().enumerate() {
                let clock = Arc::clone(&self.config.clock);
                let savepoints = Arc::clone(&self.savepoints);
                let writer =
                    SnapshotWriter::new(checkpoint.store.clone(), inbox, clock, savepoints);
                let reporter = Reporter {
                    inbox: Arc::clone(&self.inbox),
                    attempt: self.attempt,
                    task: usize::MAX,
                };
                self.executor.start(Launch {
                    name: "snapshot-writer".to_owned(),
                    subtask: n,
                    signal,
                    metrics: Arc::default(),
                    reporter,
                    build: Box::new(move || Ok(Box::new(writer) as Box<dyn Task>)),
                })?;
            }
        }
        Ok(())
    }

    /// The checkpoint that this attempt begins from.
    fn restore_point(&mut self) -> Result<Option<Arc<Manifest>>> {
        let Some(checkpoint) = &self.config.checkpoint else {
            return Ok(None);
        };
        let latest = checkpoint.store.latest()?;
        for passed in &latest.passed_over {
            tracing::warn!(checkpoint = ?passed.checkpoint, damage = ?passed.damage, "a damaged checkpoint is passed over");
        }
        self.next_id = self.next_id.max(latest.next_id.get());
        let first = std::mem::replace(&mut self.first_start, false);
        let own = latest.manifest.map(Arc::new);
        let (restore, previous) = match (&checkpoint.restore, first) {
            (RestoreFrom::Latest, _) => (own.clone(), own),
            // what this run has written itself is newer than what it began from
            (_, false) if self.previous.is_some() => (own.clone(), own),
            (RestoreFrom::Nothing, _) => (None, None),
            (RestoreFrom::Location(location), _) => (
                Some(Arc::new(commit::load(&checkpoint.store, location)?)),
                None,
            ),
        };
        self.restoring = restore.clone();
        self.full = previous.is_none() && restore.is_some();
        self.previous = previous;
        if let Some(manifest) = &restore {
            commit::check_compatible(manifest, &self.graph, &self.config)?;
            self.history.restored = Some(manifest.id.get());
            tracing::info!(job = %self.config.name, checkpoint = %manifest.id, "restoring");
        }
        Ok(restore)
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

    fn tear_down(&mut self) {
        self.tell();
        if let Some(deployment) = self.deployment.take() {
            deployment.close_routes();
        }
        self.executor.stop();
        self.inbox.clear();
    }

    fn finish(&mut self, state: JobState) {
        self.tear_down();
        self.reject_all(FailureReason::CheckpointCoordinatorShutdown);
        self.phase = Phase::Done;
        self.set_state(state);
        self.publish();
    }

    fn reject_all(&mut self, reason: FailureReason) {
        let under_way = std::mem::take(&mut self.under_way);
        let queued: Vec<Wanted> = self.requests.drain().collect();
        let now = self.config.clock.elapsed();
        for (id, under_way) in under_way {
            let took = millis(now.saturating_sub(under_way.started));
            self.history.fail(
                id,
                took,
                reason,
                "the job is being stopped or restarted".to_owned(),
            );
            reject(under_way.wanted, reason);
        }
        for wanted in queued.into_iter().chain(self.drain.take()) {
            reject(wanted, reason);
        }
        self.publish();
    }

    /// The attempt has failed.
    fn fail(&mut self, error: Error) {
        if matches!(self.phase, Phase::Done | Phase::Backoff(_)) {
            return;
        }
        self.condemn(&error);
        let text = error.chain();
        tracing::error!(job = %self.config.name, attempt = self.attempt, error = %text, "the job failed");
        lock(&self.shared.status).failure = Some(text);
        self.tear_down();
        self.reject_all(FailureReason::JobFailoverRegion);
        self.next_trigger = None;
        let now = self.config.clock.elapsed();
        let ran = now.saturating_sub(self.attempt_started);
        match self.restarts.on_failure(ran) {
            RestartDecision::After(delay) => {
                self.observer.restarting();
                self.phase = Phase::Backoff(now + delay);
                self.set_state(JobState::Restarting);
            }
            RestartDecision::GiveUp => {
                self.outcome = Some(error);
                self.finish(JobState::Failed);
            }
        }
    }

    /// A checkpoint whose restore finds it damaged is not tried again: the next attempt takes the
    /// one before it.
    fn condemn(&self, error: &Error) {
        if let (Some(checkpoint), Some(manifest), Error::Checkpoint(cause)) =
            (&self.config.checkpoint, &self.restoring, error)
            && matches!(self.phase, Phase::Starting)
            && cause.is_corruption()
            && let Err(error) = checkpoint.store.latest_before(manifest, cause)
        {
            tracing::warn!(checkpoint = %manifest.id, %error, "it could not be marked as damaged");
        }
    }

    // ---- reports ----

    fn on_report(&mut self, task: usize, report: Report) {
        match report {
            Report::Started { parts } => {
                self.parts.extend(parts);
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
        let mut wanted = drained.unwrap_or(Wanted {
            purpose: SnapshotPurpose::Checkpoint,
            directory: None,
            halt: false,
            last: true,
            replies: Vec::new(),
        });
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

    // ---- requests ----

    fn on_request(&mut self, request: Request) {
        match request {
            Request::Checkpoint { reply } => {
                let wanted = Wanted {
                    purpose: SnapshotPurpose::Checkpoint,
                    directory: None,
                    halt: false,
                    last: false,
                    replies: vec![reply],
                };
                self.ask(RequestKind::Manual, wanted);
            }
            Request::Savepoint { directory, reply } => {
                let wanted = Wanted {
                    purpose: SnapshotPurpose::Savepoint,
                    directory: Some(directory),
                    halt: false,
                    last: false,
                    replies: vec![reply],
                };
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
        let mut wanted = Wanted {
            purpose,
            directory: savepoint,
            halt: false,
            last: true,
            replies: vec![reply],
        };
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

    // ---- checkpoints ----

    fn observed(&self) -> Observed {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Observed {
            now_ms: ms(self.config.clock.elapsed()),
            last_completion_ms: ms(self.last_completion),
            pending: self.under_way.len(),
            cleaning: 0,
            triggering: false,
        }
    }

    fn request(&mut self, kind: RequestKind, wanted: Wanted) {
        let seen = self.observed();
        let decision = self.requests.request(kind, wanted, seen);
        self.decided(decision);
    }

    fn poll_requests(&mut self) {
        let seen = self.observed();
        let decision = self.requests.poll(seen);
        self.decided(decision);
    }

    fn decided(&mut self, decision: crate::checkpoint::Decision<Wanted>) {
        for (wanted, reason) in decision.rejected {
            reject(wanted, reason);
        }
        if let Some(delay) = decision.reschedule {
            self.next_trigger = Some(self.config.clock.elapsed() + delay);
        }
        if let Some(wanted) = decision.chosen {
            self.trigger(wanted);
        }
    }

    fn trigger(&mut self, wanted: Wanted) {
        let Some(checkpoint) = &self.config.checkpoint else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let triggered = self.config.clock.now();
        let started = self.config.clock.elapsed();
        let full = self.full
            || wanted.purpose == SnapshotPurpose::Savepoint
            || checkpoint
                .full_every
                .is_some_and(|n| id.is_multiple_of(u64::from(n)));
        let barrier = Barrier {
            id,
            purpose: wanted.purpose,
            kind: if full {
                SnapshotKind::Full
            } else {
                SnapshotKind::Delta
            },
            triggered,
            halt: wanted.halt,
        };
        let pending = Pending::new(id, wanted.purpose, triggered, self.parts.iter().cloned());
        self.history.begin(CheckpointRecord {
            id,
            purpose: wanted.purpose,
            triggered_ms: triggered.as_millis(),
            duration_ms: 0,
            commit_us: 0,
            bytes_written: 0,
            bytes_total: 0,
            parts: pending.parts(),
            shards: Vec::new(),
            state: CheckpointState::InProgress,
        });
        let expires = started + checkpoint.timeout;
        if let Some(directory) = &wanted.directory {
            match commit::create_savepoint(&checkpoint.store, directory) {
                Ok(savepoint) => drop(lock(&self.savepoints).insert(id, savepoint)),
                Err(error) => {
                    self.under_way.insert(
                        id,
                        UnderWay {
                            pending,
                            wanted,
                            expires,
                            started,
                        },
                    );
                    self.abort(id, FailureReason::IoException, error.chain());
                    return;
                }
            }
        }
        self.under_way.insert(
            id,
            UnderWay {
                pending,
                wanted,
                expires,
                started,
            },
        );
        self.sources(&Command::Trigger(barrier));
        self.publish();
    }

    fn on_ack(&mut self, id: u64, part: ShardKey, ack: Ack) {
        let Some(under_way) = self.under_way.get_mut(&id) else {
            return;
        };
        if under_way.pending.on_ack(part, ack) == Progress::Complete {
            self.complete(id);
        }
    }

    fn complete(&mut self, id: u64) {
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        let UnderWay {
            pending,
            wanted,
            started,
            expires,
        } = under_way;
        let Some(checkpoint) = self.config.checkpoint.clone() else {
            return;
        };
        let before = self.config.clock.elapsed();
        let took = millis(before.saturating_sub(started));
        let savepoint = lock(&self.savepoints).remove(&id);
        let committed = commit::commit(
            &checkpoint.store,
            &pending,
            self.previous.as_deref(),
            savepoint.as_ref().zip(wanted.directory.as_deref()),
            self.compactor.as_mut().and_then(Compactor::result),
            &self.config,
            took,
        );
        let commit::Committed {
            manifest,
            location,
            shards,
        } = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.under_way.insert(
                    id,
                    UnderWay {
                        pending,
                        wanted,
                        expires,
                        started,
                    },
                );
                self.abort(id, FailureReason::FinalizeCheckpointFailure, error.chain());
                return;
            }
        };
        let now = self.config.clock.elapsed();
        self.last_completion = now;
        self.history.complete(id, |record| {
            record.duration_ms = millis(now.saturating_sub(started));
            record.commit_us = super::snapshot::micros(now.saturating_sub(before));
            record.bytes_written = manifest.stats.bytes_written;
            record.bytes_total = manifest.stats.bytes_total;
            record.shards = shards;
            record.state = CheckpointState::Completed {
                location: location.clone(),
            };
        });
        if let Some(record) = self.history.get(id) {
            tracing::debug!(job = %self.config.name, "{record}");
            self.observer.completed(record);
        }
        if pending.purpose == SnapshotPurpose::Checkpoint {
            self.failures.on_complete(id);
            self.full = false;
            if let Some(compactor) = &mut self.compactor {
                compactor.committed(&manifest);
            }
            self.previous = Some(Arc::clone(&manifest));
        }
        let older: Vec<u64> = self.under_way.range(..id).map(|(id, _)| *id).collect();
        for older in older {
            if self.under_way[&older].pending.purpose == SnapshotPurpose::Checkpoint {
                let message = format!("checkpoint {id} completed first");
                self.abort(older, FailureReason::CheckpointSubsumed, message);
            }
        }
        self.all(&Command::Complete(id));
        if pending.purpose == SnapshotPurpose::Checkpoint {
            let positions = commit::positions(&pending);
            for listener in &self.config.listeners {
                listener.on_complete(id, &positions);
            }
            commit::collect_garbage(&checkpoint);
        }
        self.publish();
        for reply in wanted.replies {
            // who asked may be gone
            let _ = reply.send(Ok(CompletedCheckpoint {
                id,
                location: location.clone(),
            }));
        }
        if wanted.last
            && let Phase::Stopping(state) = self.phase
        {
            self.end(state);
        } else {
            self.poll_requests();
        }
    }

    fn abort(&mut self, id: u64, reason: FailureReason, message: String) {
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        tracing::warn!(job = %self.config.name, checkpoint = id, %reason, message, "a checkpoint failed");
        let took = millis(
            self.config
                .clock
                .elapsed()
                .saturating_sub(under_way.started),
        );
        self.history.fail(id, took, reason, message);
        self.observer.failed(reason);
        self.all(&Command::Abort(id));
        let discarded = match lock(&self.savepoints).remove(&id) {
            Some(savepoint) => savepoint.discard(),
            None => self
                .config
                .checkpoint
                .as_ref()
                .map_or(Ok(()), |checkpoint| {
                    checkpoint
                        .store
                        .abandon(checkpoint_store::CheckpointId::new(id))
                }),
        };
        if let Err(error) = discarded {
            tracing::warn!(checkpoint = id, %error, "its files stay until the garbage is collected");
        }
        let savepoint = under_way.pending.purpose == SnapshotPurpose::Savepoint;
        let UnderWay { wanted, .. } = under_way;
        let (halt, last) = (wanted.halt, wanted.last);
        reject(wanted, reason);
        self.publish();
        if self.failures.on_failure(id, reason, savepoint) == FailureVerdict::FailJob {
            self.fail(Error::TooManyFailedCheckpoints {
                checkpoint: id,
                reason,
            });
            return;
        }
        if last && let Phase::Stopping(_) = self.phase {
            self.phase = Phase::Running;
            if halt {
                self.sources(&Command::Resume);
            } else {
                // all sources are at their end: nothing is left but to try again
                self.check_exhausted();
            }
        }
        self.poll_requests();
    }

    fn publish(&self) {
        lock(&self.shared.status).checkpoints = self.history.clone();
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
