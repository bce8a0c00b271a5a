//! One start of the job after the other: what it restores from, its tasks, how it ends or fails.

use super::{Coordinator, Phase, WRITERS, Wanted, millis, reject};
use crate::checkpoint::FailureReason;
use crate::config::RestoreFrom;
use crate::error::{Error, Result};
use crate::graph::lock;
use crate::restart::RestartDecision;
use crate::runtime::commit;
use crate::runtime::deployment::{BuildContext, Deployment};
use crate::runtime::executor::{Executor, Launch};
use crate::runtime::inbox::Inbox;
use crate::runtime::report::Report;
use crate::runtime::signal::Signal;
use crate::runtime::snapshot::Reporter;
use crate::runtime::task::Task;
use crate::runtime::writer::{SnapshotWriter, WRITER_QUEUE};
use crate::status::JobState;
use checkpoint_store::Manifest;
use std::sync::Arc;

impl<E: Executor> Coordinator<E> {
    pub(super) fn start(&mut self) -> Result<()> {
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
        lock(&self.shared.status).restored.clear();
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
                let restored = std::mem::take(&mut cx.restored);
                cx.reporter.send(Report::Started { parts, restored });
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
    pub(super) fn restore_point(&mut self) -> Result<Option<Arc<Manifest>>> {
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

    pub(super) fn tear_down(&mut self) {
        self.tell();
        if let Some(deployment) = self.deployment.take() {
            deployment.close_routes();
        }
        self.executor.stop();
        self.inbox.clear();
    }

    pub(super) fn finish(&mut self, state: JobState) {
        self.tear_down();
        self.reject_all(FailureReason::CheckpointCoordinatorShutdown);
        self.phase = Phase::Done;
        self.set_state(state);
        self.publish();
    }

    pub(super) fn reject_all(&mut self, reason: FailureReason) {
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
    pub(super) fn fail(&mut self, error: Error) {
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
    pub(super) fn condemn(&self, error: &Error) {
        if let (Some(checkpoint), Some(manifest), Error::Checkpoint(cause)) =
            (&self.config.checkpoint, &self.restoring, error)
            && matches!(self.phase, Phase::Starting)
            && cause.is_corruption()
            && let Err(error) = checkpoint.store.latest_before(manifest, cause)
        {
            tracing::warn!(checkpoint = %manifest.id, %error, "it could not be marked as damaged");
        }
    }
}
