//! Starting a job, and holding it while it runs.

use crate::checkpoint::CheckpointHistory;
use crate::config::JobConfig;
use crate::error::{Error, Result};
use crate::graph::{Graph, lock};
use crate::runtime::coordinator::{Coordinator, Next};
use crate::runtime::deployment::SubtaskHandle;
use crate::runtime::event::StopMode;
use crate::runtime::executor::Threads;
use crate::runtime::inbox::Inbox;
use crate::runtime::signal::Signal;
use crate::source::Source;
use crate::status::{JobState, JobStatus, SubtaskStatus};
use crate::stream::{SharedGraph, Stream, source_task};
use serde::Serialize;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use time_engine::Timestamp;
use tokio::sync::oneshot;

/// Where a job is written down: streams begin here.
#[derive(Clone, Default)]
pub struct StreamEnvironment {
    graph: SharedGraph,
}

impl fmt::Debug for StreamEnvironment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tasks = lock(&self.graph).tasks.len();
        f.debug_struct("StreamEnvironment")
            .field("tasks", &tasks)
            .finish()
    }
}

impl StreamEnvironment {
    /// An empty job.
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a stream with a source. `uid` names its positions in checkpoints.
    pub fn source<S: Source>(&self, uid: &str, source: S) -> Stream<S::Item> {
        Stream::of(
            Arc::clone(&self.graph),
            source_task(&self.graph, uid, source),
        )
    }

    /// Starts the job on threads of its own and returns at once. How its start went is seen by
    /// [`RunningJob::status`], or by waiting.
    ///
    /// # Errors
    /// [`Error::InvalidJob`] for a job that cannot run; no thread for its coordinator.
    pub fn execute(&self, config: JobConfig) -> Result<RunningJob> {
        RunningJob::start(self.graph(&config)?, config)
    }

    /// The job, checked.
    pub(crate) fn graph(&self, config: &JobConfig) -> Result<Graph> {
        let graph = lock(&self.graph).clone();
        graph.check(config)?;
        Ok(graph)
    }
}

/// A checkpoint or savepoint that is durable.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CompletedCheckpoint {
    /// Its number.
    pub id: u64,
    /// For [`crate::RestoreFrom::Location`].
    pub location: String,
}

/// What a job is asked for from outside.
pub(crate) enum Request {
    Checkpoint {
        reply: oneshot::Sender<Result<CompletedCheckpoint>>,
    },
    Savepoint {
        directory: String,
        reply: oneshot::Sender<Result<CompletedCheckpoint>>,
    },
    Stop {
        mode: StopMode,
        savepoint: Option<String>,
        reply: oneshot::Sender<Result<CompletedCheckpoint>>,
    },
    Cancel,
}

/// What the coordinator and the holder of a job share.
pub(crate) struct Shared {
    pub(crate) requests: Inbox<Request>,
    pub(crate) status: Mutex<JobStatus>,
    pub(crate) subtasks: Mutex<Vec<SubtaskHandle>>,
    outcome: Mutex<Option<std::result::Result<JobState, Arc<Error>>>>,
    ended: Condvar,
}

/// Requests that wait for the coordinator.
const REQUESTS: usize = 1_024;

impl Shared {
    pub(crate) fn new(name: &str, signal: Arc<Signal>) -> Self {
        Self {
            requests: Inbox::new(REQUESTS, signal),
            status: Mutex::new(JobStatus {
                name: name.to_owned(),
                state: JobState::Initializing,
                attempts: 0,
                failure: None,
                subtasks: Vec::new(),
                restored: Vec::new(),
                checkpoints: CheckpointHistory::default(),
            }),
            subtasks: Mutex::default(),
            outcome: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    pub(crate) fn status(&self, tasks: &[String]) -> JobStatus {
        let mut status = lock(&self.status).clone();
        status.subtasks = lock(&self.subtasks)
            .iter()
            .map(|handle| figures(handle, tasks))
            .collect();
        status
    }

    fn end(&self, outcome: std::result::Result<JobState, Arc<Error>>) {
        *lock(&self.outcome) = Some(outcome);
        self.ended.notify_all();
    }
}

fn figures(handle: &SubtaskHandle, tasks: &[String]) -> SubtaskStatus {
    let metrics = &handle.metrics;
    let read = |figure: &std::sync::atomic::AtomicU64| figure.load(Ordering::Relaxed);
    let watermark = metrics.watermark.load(Ordering::Relaxed);
    SubtaskStatus {
        task: tasks.get(handle.task).cloned().unwrap_or_default(),
        subtask: handle.subtask,
        records_in: read(&metrics.records_in),
        records_out: read(&metrics.records_out),
        watermark: (watermark != i64::MIN).then(|| Timestamp::from_millis(watermark)),
        idle_ms: read(&metrics.idle_ns) / 1_000_000,
        backpressured_ms: read(&metrics.backpressured_ns) / 1_000_000,
        state_bytes: read(&metrics.state_bytes),
        timers: read(&metrics.timers),
        late: read(&metrics.late),
        max_slice_us: read(&metrics.max_slice_ns) / 1_000,
        positions: lock(&handle.positions).clone(),
    }
}

/// The answer to a request, when it comes: wait for it, or await it.
#[derive(Debug)]
pub struct Ticket<T>(oneshot::Receiver<Result<T>>);

impl<T> Ticket<T> {
    /// Blocks until the answer is there. Must not be called from an async runtime.
    ///
    /// # Errors
    /// The request's own, or [`Error::NotRunning`] when the job ended before it.
    pub fn wait(self) -> Result<T> {
        self.0.blocking_recv().unwrap_or(Err(Error::NotRunning))
    }
}

impl<T> Future for Ticket<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0)
            .poll(cx)
            .map(|answer| answer.unwrap_or(Err(Error::NotRunning)))
    }
}

/// A job that was started. Dropping it cancels the job and waits for its threads.
pub struct RunningJob {
    shared: Arc<Shared>,
    tasks: Vec<String>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for RunningJob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = lock(&self.shared.status);
        f.debug_struct("RunningJob")
            .field("name", &status.name)
            .field("state", &status.state)
            .finish_non_exhaustive()
    }
}

impl RunningJob {
    pub(crate) fn start(graph: Graph, config: JobConfig) -> Result<Self> {
        let signal = Arc::new(Signal::default());
        let shared = Arc::new(Shared::new(&config.name, Arc::clone(&signal)));
        let tasks = graph.tasks.iter().map(|task| task.name.clone()).collect();
        let executor = Threads::new(config.name.clone(), Arc::clone(&config.clock), config.spin);
        let name = format!("{}/coordinator", config.name);
        let to = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || {
                signal.attach();
                let inbox_signal = Arc::clone(&signal);
                let mut coordinator =
                    Coordinator::new(graph, config, Arc::clone(&to), inbox_signal, executor);
                loop {
                    let pause = coordinator.observe();
                    match coordinator.step() {
                        Next::Again => {}
                        Next::Wait(limit) => {
                            signal.wait(Some(limit.map_or(pause, |limit| limit.min(pause))));
                            signal.take();
                        }
                        Next::Done => break,
                    }
                }
                let error = coordinator.outcome.take();
                // its threads have ended before anybody hears of the end
                drop(coordinator);
                to.requests.close();
                let state = lock(&to.status).state;
                to.end(error.map_or(Ok(state), |error| Err(Arc::new(error))));
            })
            .map_err(|source| Error::Io {
                operation: "start a thread",
                source,
            })?;
        Ok(Self {
            shared,
            tasks,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// How it is doing: a snapshot of its figures, cheap enough to ask for every second.
    pub fn status(&self) -> JobStatus {
        self.shared.status(&self.tasks)
    }

    /// Takes a checkpoint now.
    pub fn trigger_checkpoint(&self) -> Ticket<CompletedCheckpoint> {
        self.request(|reply| Request::Checkpoint { reply })
    }

    /// Writes a savepoint into a directory of the checkpoint storage.
    pub fn trigger_savepoint(&self, directory: impl Into<String>) -> Ticket<CompletedCheckpoint> {
        let directory = directory.into();
        self.request(|reply| Request::Savepoint { directory, reply })
    }

    /// Stops in an orderly way, with a last checkpoint. When the answer is there the state is safe; then
    /// [`wait`](Self::wait) for the end. A stop that fails leaves the job running.
    pub fn stop(&self, mode: StopMode) -> Ticket<CompletedCheckpoint> {
        self.request(|reply| Request::Stop {
            mode,
            savepoint: None,
            reply,
        })
    }

    /// [`stop`](Self::stop) with a savepoint instead of a checkpoint.
    pub fn stop_with_savepoint(
        &self,
        mode: StopMode,
        directory: impl Into<String>,
    ) -> Ticket<CompletedCheckpoint> {
        let savepoint = Some(directory.into());
        self.request(|reply| Request::Stop {
            mode,
            savepoint,
            reply,
        })
    }

    /// Stops at once, without a last checkpoint.
    pub fn cancel(&self) {
        // refused: it has ended already
        let _ = self.shared.requests.send(Request::Cancel);
    }

    /// [`cancel`](Self::cancel)s, and makes that dropping this does not wait for the threads: for an end
    /// within a deadline beside a checkpoint storage that does not answer. They end by themselves when it
    /// does; until then working files stay locked.
    pub fn detach(&self) {
        self.cancel();
        drop(lock(&self.thread).take());
    }

    /// Blocks until the job has ended and all its threads with it.
    ///
    /// # Errors
    /// What made it fail for good.
    pub fn wait(&self) -> Result<JobState> {
        let mut outcome = lock(&self.shared.outcome);
        loop {
            match &*outcome {
                Some(Ok(state)) => return Ok(*state),
                Some(Err(error)) => return Err(Error::Shared(Arc::clone(error))),
                None => {
                    let ended = &self.shared.ended;
                    outcome = ended.wait(outcome).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    fn request(
        &self,
        make: impl FnOnce(oneshot::Sender<Result<CompletedCheckpoint>>) -> Request,
    ) -> Ticket<CompletedCheckpoint> {
        let (reply, answer) = oneshot::channel();
        // refused: the sender is dropped, and the ticket says that the job does not run
        let _ = self.shared.requests.send(make(reply));
        Ticket(answer)
    }
}

impl Drop for RunningJob {
    fn drop(&mut self) {
        self.cancel();
        let thread = lock(&self.thread).take();
        if let Some(thread) = thread {
            // a panic of the coordinator is a bug of ours that its threads have survived
            let _ = thread.join();
        }
    }
}
