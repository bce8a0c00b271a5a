//! The stream job: the ingest log as its source, the operators, checkpoints, questions to it.

mod input;
mod profile;
mod reached;
mod recommend;
mod shards;
mod source;
mod trim;

use crate::{
    catalogue::ItemCatalogue,
    config::{Backend, Config},
    data_dir::DataDir,
    error::{Error, Result},
    hub::Hub,
    log::IngestLog,
    proto::v1::{self, Update},
};
use checkpoint_store::{
    Access, CheckpointStore, ExpectedOperator, OperatorUid, StoreOptions, open_place,
};
use input::Input;
use operators::{
    CheckpointConfig, JobConfig, JobState, QueryHandle, RestartStrategy, RunningJob, StopMode,
    StreamEnvironment, checkpoint::CheckpointState,
};
use profile::{ProfileOperator, ProfileQuery};
use reached::Reached;
use recommend::RecommendOperator;
use recsys::{
    Answer, Experiment, Explanation, ItemId, Question, Request, Rules, UserId, VariantReport,
};
use shards::Shards;
use source::{LogSource, SOURCE};
use state_backend::{BackendConfig, MaxParallelism};
use std::{sync::Arc, time::Duration};
use time_engine::{Timestamp, watermark::BoundedOutOfOrderness};
use trim::Trimmer;

/// How much out of order events may come.
const OUT_OF_ORDER: Duration = Duration::from_secs(10);
/// Key groups of every operator.
const MAX_PARALLELISM: MaxParallelism = MaxParallelism::DEFAULT;

/// The running job.
#[derive(Debug)]
pub(crate) struct Job {
    running: Arc<RunningJob>,
    profiles: QueryHandle<String, ProfileQuery, (u64, Option<v1::UserProfile>)>,
    lists: QueryHandle<(), Question, (u64, Answer)>,
    catalogue: ItemCatalogue,
    /// The position behind the last entry in the lists.
    reached: Arc<Reached>,
    trimmer: Arc<Trimmer>,
    shards: Arc<Shards>,
}

/// What the job's operators register, and how many subtasks they have: what a checkpoint must fit.
///
/// # Errors
/// None in practice: the states register in an empty store.
pub(crate) fn expected_operators(config: &Config) -> Result<Vec<ExpectedOperator>> {
    let operators = [
        ("profile", config.state.parallelism, profile::catalog()),
        ("recommend", 1, recommend::catalog()),
    ];
    let expected = operators.into_iter().map(|(uid, parallelism, catalog)| {
        Ok(ExpectedOperator {
            uid: OperatorUid::new(uid)?,
            parallelism,
            max_parallelism: MAX_PARALLELISM.get(),
            catalog: Some(catalog.map_err(checkpoint_store::Error::from)?),
        })
    });
    Ok(expected.collect::<checkpoint_store::Result<_>>()?)
}

/// Figures of the job.
#[derive(Debug, Clone, Default)]
pub(crate) struct JobFigures {
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) last_id: u64,
    pub(crate) last_bytes: u64,
    pub(crate) last_duration_ms: u64,
    pub(crate) last_completed_ms: i64,
    pub(crate) last_position: u64,
    pub(crate) restarts: u32,
    pub(crate) watermark_ms: Option<i64>,
}

impl Job {
    /// Restores the newest complete checkpoint and starts. Blocks.
    ///
    /// # Errors
    /// [`Error::Checkpoint`], [`Error::Job`].
    pub(crate) fn start(
        config: &Config,
        dir: &DataDir,
        log: &IngestLog,
        catalogue: &ItemCatalogue,
        hub: &Arc<Hub>,
    ) -> Result<Self> {
        let place = config.checkpoint.dir.clone();
        let place = place.unwrap_or_else(|| dir.checkpoints());
        let blobs = open_place(&place, Access::Write)?;
        // Beside the budget for state: three times the buffer while a file is made, eight times while files are merged, and
        // four times the file that a compaction writes.
        let buffer = (config.state.memory_budget.0 / 64).clamp(1 << 20, 16 << 20) as usize;
        let options = StoreOptions::default()
            .with_buffer_bytes(buffer)
            .with_file_bytes(2 * buffer)
            .with_merge_bytes(8 * buffer);
        let store = CheckpointStore::open(blobs, options)?;
        let trimmer = Arc::new(Trimmer::new(log.clone(), config.checkpoint.retained));
        let reached = Arc::new(Reached::default());
        let shards = Arc::new(Shards::new(config.state.parallelism, MAX_PARALLELISM));

        let environment = StreamEnvironment::new();
        let entries = environment
            .source(
                SOURCE,
                LogSource::new(log.clone(), Arc::clone(&reached), Arc::clone(&shards)),
            )
            .assign_timestamps(Input::timestamp, || {
                BoundedOutOfOrderness::new(OUT_OF_ORDER)
            })
            .parallelism(1);
        let (_, profiles) = entries
            .clone()
            .filter(|input| input.event().is_some())
            .key_by(|input: &Input| input.user().to_owned())
            .process_queryable("profile", {
                let shards = Arc::clone(&shards);
                move || ProfileOperator::new(Arc::clone(&shards))
            });
        let (updates, lists) = {
            let (catalogue, hub) = (catalogue.clone(), Arc::clone(hub));
            let reached = Arc::clone(&reached);
            let ranking = config.recommend.model.ranking();
            entries
                .key_by(|_: &Input| ())
                .process_queryable("recommend", move || {
                    RecommendOperator::new(
                        ranking,
                        catalogue.clone(),
                        Arc::clone(&hub),
                        Arc::clone(&reached),
                    )
                })
        };
        let hub = Arc::clone(hub);
        updates
            .parallelism(1)
            .for_each("subscribers", move |update| {
                hub.publish(&update.value);
                Ok(())
            });

        let checkpoints = CheckpointConfig::new(store)
            .with_interval(config.checkpoint.interval)
            .with_timeout(config.checkpoint.timeout)
            .with_retained(config.checkpoint.retained)
            // A full disk passes: the job goes on and the log keeps what no checkpoint has.
            .with_tolerable_failures(None);
        let job = JobConfig::default()
            .with_name("weir")
            .with_parallelism(usize::from(config.state.parallelism))
            .with_max_parallelism(MAX_PARALLELISM)
            .with_backend(match config.backend {
                Backend::Memory => BackendConfig::Memory,
                Backend::Fs => BackendConfig::fs(dir.state().join("fs")),
                Backend::Redb => BackendConfig::redb(dir.state().join("redb")),
            })
            // One half is for the lists, which one shard holds, one for the profiles.
            .with_job_memory_budget_bytes(config.state.memory_budget.0)
            .with_checkpoints(checkpoints)
            .with_restart(RestartStrategy::exponential())
            .with_listener(Arc::clone(&trimmer) as Arc<dyn operators::CheckpointListener>);
        let running = Arc::new(environment.execute(job)?);
        Ok(Self {
            running,
            profiles,
            lists,
            catalogue: catalogue.clone(),
            reached,
            trimmer,
            shards,
        })
    }

    /// Blocks until the job has ended for good.
    ///
    /// # Errors
    /// What made it fail.
    pub(crate) fn waiter(&self) -> impl FnOnce() -> Result<()> + Send + 'static {
        let running = Arc::clone(&self.running);
        move || running.wait().map(|_| ()).map_err(Error::from)
    }

    /// Cancels the job when called, and lets nobody wait for its threads any more: one of them may be
    /// held up by a checkpoint storage that does not answer.
    pub(crate) fn detacher(&self) -> impl FnOnce() + Send + 'static {
        let running = Arc::clone(&self.running);
        move || running.detach()
    }

    /// Waits until state is restored and every operator runs.
    ///
    /// # Errors
    /// [`Error::Start`] when an attempt failed, [`Error::Job`] when it ended.
    pub(crate) async fn runs(&self) -> Result<()> {
        loop {
            let status = self.running.status();
            let state = status.state;
            if state == JobState::Running {
                return Ok(());
            }
            // A log that lost what the checkpoint needs, say, is not there at the next attempt either.
            if let Some(failure) = status.failure {
                return Err(Error::Start(failure));
            }
            if state.is_terminal() {
                let ended = tokio::task::spawn_blocking(self.waiter()).await;
                return Err(match ended {
                    Ok(Err(error)) => error,
                    _ => Error::Job(operators::Error::NotRunning),
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The position behind the last entry that is in the lists.
    pub(crate) fn position(&self) -> u64 {
        self.reached.position()
    }

    /// Waits until everything before `position` is in the lists: for ever, if the job does not come back.
    pub(crate) async fn reaches(&self, position: u64) {
        self.reached.wait(position).await;
    }

    /// Waits for everything before `position` to be in all profiles, as [`Job::reaches`].
    pub(crate) async fn profiles_reach(&self, position: u64) {
        self.shards.all_reach(position).await;
    }

    /// A page of the users the recommender knows, from a place in its directory on; where the next one
    /// begins, if there is one.
    ///
    /// # Errors
    /// As for [`Job::list`].
    pub(crate) async fn users(&self, from: u32) -> Result<(Vec<String>, Option<u32>)> {
        /// Some tenths of a millisecond of the recommender's time.
        const PAGE: u32 = 1_000;
        let places = PAGE;
        match self.ask(Question::Users { from, places }).await? {
            (_, Answer::Users(users, next)) => Ok((users, next)),
            _ => Err(Error::Job(operators::Error::NotRunning)),
        }
    }

    /// What is known of a user, everything before `position` included: waits for that, as [`Job::reaches`].
    ///
    /// # Errors
    /// [`Error::Job`], as while it restarts.
    pub(crate) async fn profile(
        &self,
        user: &str,
        history: usize,
        position: u64,
    ) -> Result<Option<v1::UserProfile>> {
        let user = user.to_owned();
        loop {
            let goal = self.shards.reaches(position, &user).await;
            let query = ProfileQuery { history };
            let (taken, profile) = self.profiles.query(&user, query).await?;
            // Else the job has begun anew in between, and waits for its events again.
            if self.shards.has(goal, taken) {
                return Ok(profile);
            }
        }
    }

    /// Asks the recommender; what it answers, and the position that it stands at.
    async fn ask(&self, question: Question) -> Result<(u64, Answer)> {
        Ok(self.lists.query(&(), question).await?)
    }

    /// The same when everything before `position` is in the lists: waits for that, as [`Job::reaches`].
    async fn ask_after(&self, position: u64, question: Question) -> Result<(u64, Answer)> {
        loop {
            self.reaches(position).await;
            let (stands, answer) = self.ask(question.clone()).await?;
            // Else the job has begun anew in between, from before that.
            if stands >= position {
                return Ok((stands, answer));
            }
        }
    }

    /// The list of a user, everything before `position` included: waits for that, as [`Job::reaches`].
    ///
    /// # Errors
    /// [`Error::Job`], as while it restarts; [`Error::Recsys`] for a bad id.
    pub(crate) async fn list(&self, user: &str, k: usize, position: u64) -> Result<Update> {
        let request = Request::new(UserId::new(user)?, k);
        let question = Question::Recommend(request);
        match self.ask_after(position, question).await? {
            (position, Answer::Recommend(list)) => {
                let user = user.to_owned();
                Ok(recommend::update(user, position, &list, &self.catalogue))
            }
            _ => Err(Error::Job(operators::Error::NotRunning)),
        }
    }

    /// Why an item is, or is not, in a user's list.
    ///
    /// # Errors
    /// As for [`Job::list`].
    pub(crate) async fn explain(
        &self,
        user: &str,
        item: &str,
        k: usize,
        position: u64,
    ) -> Result<Explanation> {
        let request = Request::new(UserId::new(user)?, k);
        let question = Question::Explain(request, ItemId::new(item)?);
        match self.ask_after(position, question).await? {
            (_, Answer::Explain(explanation)) => Ok(*explanation),
            _ => Err(Error::Job(operators::Error::NotRunning)),
        }
    }

    /// The rules in force.
    ///
    /// # Errors
    /// As for [`Job::list`].
    pub(crate) async fn rules(&self) -> Result<Rules> {
        match self.ask(Question::Rules).await? {
            (_, Answer::Rules(rules)) => Ok(*rules),
            _ => Err(Error::Job(operators::Error::NotRunning)),
        }
    }

    /// The experiments that run, and what they have counted so far.
    ///
    /// # Errors
    /// As for [`Job::list`].
    pub(crate) async fn experiments(&self) -> Result<(Vec<Experiment>, Vec<VariantReport>)> {
        match self.ask(Question::Experiments).await? {
            (_, Answer::Experiments(experiments, report)) => Ok((experiments, report)),
            _ => Err(Error::Job(operators::Error::NotRunning)),
        }
    }

    /// Takes a checkpoint; its id, and the position from which the log would be read again.
    ///
    /// # Errors
    /// [`Error::Job`] when it does not complete.
    pub(crate) async fn checkpoint(&self) -> Result<(u64, u64)> {
        let completed = self.running.trigger_checkpoint().await?;
        Ok((completed.id, self.trimmer.last_position()))
    }

    /// Processes everything before `end`, takes the final checkpoint and stops. What is not processed
    /// within `patience` stays in the log for the next start.
    ///
    /// # Errors
    /// [`Error::Job`] when the checkpoint does not complete; the log still has everything.
    pub(crate) async fn finish(&self, end: u64, patience: Duration) -> Result<()> {
        let processed = tokio::time::timeout(patience, async {
            while self.position() < end && !self.running.status().state.is_terminal() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        if processed.await.is_err() {
            tracing::warn!(
                position = self.position(),
                end,
                "not all of the log is processed; the next start goes on from there"
            );
        }
        let stopped = self.running.stop(StopMode::Suspend).await;
        if stopped.is_err() {
            self.running.cancel();
        }
        // The state is safe, but its directory is free only when the threads have ended.
        let ended = tokio::task::spawn_blocking(self.waiter()).await;
        stopped?;
        ended.unwrap_or(Err(Error::Job(operators::Error::NotRunning)))
    }

    /// Figures for the status.
    pub(crate) fn figures(&self) -> JobFigures {
        let status = self.running.status();
        let checkpoints = &status.checkpoints;
        let last = checkpoints
            .recent
            .iter()
            .rev()
            .find(|record| matches!(record.state, CheckpointState::Completed { .. }));
        let duration = last.map_or(0, |record| record.duration_ms);
        JobFigures {
            completed: checkpoints.completed,
            failed: checkpoints.failed,
            last_id: last
                .map(|record| record.id)
                .or(checkpoints.restored)
                .unwrap_or(0),
            last_bytes: last.map_or(0, |record| record.bytes_written),
            last_duration_ms: duration,
            last_completed_ms: last.map_or(0, |record| {
                record.triggered_ms.saturating_add_unsigned(duration)
            }),
            last_position: self.trimmer.last_position(),
            restarts: u32::try_from(status.attempts.saturating_sub(1)).unwrap_or(u32::MAX),
            watermark_ms: status
                .subtasks
                .iter()
                .filter_map(|subtask| subtask.watermark)
                .map(Timestamp::as_millis)
                .max(),
        }
    }
}

impl Drop for Job {
    /// Whoever still waits for the end gets it: a gateway that is dropped leaves no threads behind.
    fn drop(&mut self) {
        self.running.cancel();
    }
}
