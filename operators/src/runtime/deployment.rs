//! One start of a job: the queues and inboxes of all its tasks, and what each task is built from.

use super::channel::Channel;
use super::event::TaskContext;
use super::function::SmallPart;
use super::in_flight::{self, InputEdge, Recorder, Recovered};
use super::inbox::Inbox;
use super::metrics::TaskMetrics;
use super::query::{QueryCommand, QueryRoute};
use super::report::{Command, Envelope};
use super::restore;
use super::shell::Shell;
use super::signal::Signal;
use super::slice::Slice;
use super::snapshot::{Ending, Reporter, SnapshotPart};
use super::writer::WriterMessage;
use crate::checkpoint::ShardKey;
use crate::config::{Barriers, JobConfig, LocalRecovery};
use crate::error::{Error, Result};
use crate::graph::{EdgeId, Graph, TaskId, lock};
use crate::operator::SubtaskInfo;
use crate::operator_state::{OperatorState, redistributed};
use crate::source::Split;
use crate::status::StateRestore;
use checkpoint_store::{Manifest, OperatorUid};
use state_backend::{KeyGroupRange, StateStore, StoreOptions};
use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;

/// Queries that wait for a task.
const QUERIES: usize = 256;
/// Commands that wait for a task. Bounded by the protocol: a few for each checkpoint under way.
const COMMANDS: usize = 1 << 12;

/// How others reach a subtask, and read its figures.
#[derive(Debug, Clone)]
pub(crate) struct SubtaskHandle {
    pub(crate) task: TaskId,
    pub(crate) subtask: usize,
    pub(crate) signal: Arc<Signal>,
    pub(crate) commands: Arc<Inbox<Command>>,
    pub(crate) metrics: Arc<TaskMetrics>,
    pub(crate) positions: Arc<Mutex<Vec<Split>>>,
}

/// All queues of one connection: `[upstream subtask][downstream subtask]`.
pub(crate) type Matrix<T> = Arc<Vec<Vec<Arc<Channel<T>>>>>;

/// One start of a job.
pub(crate) struct Deployment {
    pub(crate) graph: Arc<Graph>,
    pub(crate) config: JobConfig,
    pub(crate) attempt: u64,
    pub(crate) restore: Option<Arc<Manifest>>,
    pub(crate) inbox: Arc<Inbox<Envelope>>,
    pub(crate) writers: Vec<Arc<Inbox<WriterMessage>>>,
    pub(crate) subtasks: Vec<SubtaskHandle>,
    /// Where in `subtasks` a task begins.
    first: Vec<usize>,
    /// The checkpoint or savepoint that this start has ended with.
    pub(crate) ending: Ending,
    edges: Mutex<HashMap<EdgeId, Box<dyn Any + Send>>>,
    /// What was under way to a task, by subtask; dealt out by whichever subtask comes first.
    recovered: Mutex<HashMap<TaskId, Box<dyn Any + Send>>>,
}

impl Deployment {
    pub(crate) fn new(
        graph: Arc<Graph>,
        config: JobConfig,
        attempt: u64,
        restore: Option<Arc<Manifest>>,
        inbox: Arc<Inbox<Envelope>>,
        writers: Vec<Arc<Inbox<WriterMessage>>>,
    ) -> Self {
        let mut subtasks = Vec::new();
        let mut first = Vec::new();
        for task in 0..graph.tasks.len() {
            first.push(subtasks.len());
            for subtask in 0..graph.parallelism(task, &config) {
                let signal = Arc::new(Signal::default());
                subtasks.push(SubtaskHandle {
                    task,
                    subtask,
                    commands: Arc::new(Inbox::new(COMMANDS, Arc::clone(&signal))),
                    signal,
                    metrics: Arc::default(),
                    positions: Arc::default(),
                });
            }
        }
        for operator in &graph.operators {
            if let Some(routes) = &operator.routes {
                let parallelism = graph.parallelism(operator.task, &config);
                routes.reset(config.max_parallelism, parallelism);
            }
        }
        let (edges, recovered) = (Mutex::default(), Mutex::default());
        Self {
            graph,
            config,
            attempt,
            restore,
            inbox,
            writers,
            subtasks,
            first,
            ending: Ending::default(),
            edges,
            recovered,
        }
    }

    pub(crate) fn parallelism(&self, task: TaskId) -> usize {
        self.graph.parallelism(task, &self.config)
    }

    fn handle(&self, task: TaskId, subtask: usize) -> &SubtaskHandle {
        &self.subtasks[self.first[task] + subtask]
    }

    /// The queues of a connection; made by whichever end comes first.
    pub(crate) fn matrix<T: Send + 'static>(&self, edge: EdgeId) -> Result<Matrix<T>> {
        let spec = self.graph.edges[edge];
        let mut edges = lock(&self.edges);
        let matrix = edges.entry(edge).or_insert_with(|| {
            let capacity = self.config.exchange.queue_batches;
            let rows = (0..self.parallelism(spec.from)).map(|up| {
                let producer = &self.handle(spec.from, up).signal;
                (0..self.parallelism(spec.to))
                    .map(|down| {
                        let consumer = &self.handle(spec.to, down).signal;
                        let (producer, consumer) = (Arc::clone(producer), Arc::clone(consumer));
                        Arc::new(Channel::<T>::new(capacity, producer, consumer))
                    })
                    .collect::<Vec<_>>()
            });
            let matrix: Matrix<T> = Arc::new(rows.collect());
            Box::new(matrix)
        });
        let matrix = matrix.downcast_ref::<Matrix<T>>().map(Arc::clone);
        matrix.ok_or_else(|| Error::invalid("a connection has two types"))
    }

    /// Takes the routes for queries back: nobody answers any more.
    pub(crate) fn close_routes(&self) {
        for operator in &self.graph.operators {
            if let Some(routes) = &operator.routes {
                routes.reset(self.config.max_parallelism, 0);
            }
        }
    }
}

/// What a subtask is built with.
pub(crate) struct BuildContext<'a> {
    pub(crate) deployment: &'a Deployment,
    pub(crate) task: TaskId,
    pub(crate) subtask: usize,
    pub(crate) parallelism: usize,
    pub(crate) reporter: Reporter,
    /// The parts of this task that take snapshots, as they are built.
    pub(crate) parts: Vec<ShardKey>,
    /// Where the state of its operators came from.
    pub(crate) restored: Vec<StateRestore>,
    handle: &'a SubtaskHandle,
    queries: Option<mpsc::Receiver<QueryCommand>>,
    route: QueryRoute,
}

impl<'a> BuildContext<'a> {
    pub(crate) fn new(deployment: &'a Deployment, index: usize) -> Self {
        let handle = &deployment.subtasks[index];
        let (sender, queries) = mpsc::channel(QUERIES);
        Self {
            deployment,
            task: handle.task,
            subtask: handle.subtask,
            parallelism: deployment.parallelism(handle.task),
            reporter: Reporter {
                inbox: Arc::clone(&deployment.inbox),
                attempt: deployment.attempt,
                task: index,
            },
            parts: Vec::new(),
            restored: Vec::new(),
            handle,
            queries: Some(queries),
            route: QueryRoute {
                sender,
                signal: Arc::clone(&handle.signal),
            },
        }
    }

    pub(crate) fn config(&self) -> &'a JobConfig {
        &self.deployment.config
    }

    pub(crate) fn info(&self, uid: &str) -> SubtaskInfo {
        SubtaskInfo {
            operator: uid.to_owned(),
            subtask: self.subtask,
            parallelism: self.parallelism,
        }
    }

    pub(crate) fn metrics(&self) -> Arc<TaskMetrics> {
        Arc::clone(&self.handle.metrics)
    }

    pub(crate) fn signal(&self) -> Arc<Signal> {
        Arc::clone(&self.handle.signal)
    }

    pub(crate) fn route(&self) -> QueryRoute {
        self.route.clone()
    }

    /// Registers a part that takes snapshots.
    pub(crate) fn part(&mut self, uid: &Arc<str>) -> ShardKey {
        let part = ShardKey {
            uid: Arc::clone(uid),
            subtask: self.subtask,
        };
        self.parts.push(part.clone());
        part
    }

    pub(crate) fn shell(&mut self) -> Result<Shell> {
        let queries = self
            .queries
            .take()
            .ok_or_else(|| Error::invalid("a task has two heads"))?;
        Ok(Shell::new(
            TaskContext::new(self.metrics()),
            Arc::clone(&self.config().clock),
            Arc::clone(&self.handle.commands),
            queries,
            self.reporter.clone(),
            Arc::clone(&self.handle.positions),
        ))
    }

    /// A part that acknowledges at the barrier.
    pub(crate) fn small_part(&mut self, uid: &Arc<str>) -> SmallPart {
        SmallPart {
            part: self.part(uid),
            reporter: self.reporter.clone(),
        }
    }

    pub(crate) fn snapshots(&mut self, uid: &Arc<str>) -> Result<SnapshotPart> {
        let operator = OperatorUid::new(&**uid)?;
        let restored = self.deployment.restore.as_ref();
        let based = restored.is_some_and(|manifest| manifest.operator(&operator).is_some());
        let part = self.part(uid);
        let writers = &self.deployment.writers;
        let writer =
            (!writers.is_empty()).then(|| Arc::clone(&writers[self.subtask % writers.len()]));
        let slice = u32::try_from(self.config().slice).unwrap_or(u32::MAX);
        Ok(SnapshotPart::new(
            part,
            self.reporter.clone(),
            Arc::clone(&self.config().clock),
            writer,
            Slice::new(slice),
            based,
        )
        .with_ending(
            (self.config().local_recovery == LocalRecovery::OnCleanStop)
                .then(|| Arc::clone(&self.deployment.ending)),
        ))
    }

    /// The store of one operator's subtask with what the checkpoint has of its key groups, and what
    /// `register` returns, which registers all states that the operator begins with.
    pub(crate) fn store<R>(
        &mut self,
        uid: &Arc<str>,
        register: impl FnOnce(&mut StateStore) -> Result<R>,
    ) -> Result<(StateStore, R)> {
        let config = self.config();
        let narrow = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        let max = config.max_parallelism;
        let range =
            KeyGroupRange::for_subtask(max, narrow(self.parallelism), narrow(self.subtask))?;
        let name = format!("{uid}-{}", self.subtask);
        let mut options = StoreOptions::default()
            .with_backend(config.backend.below(&name))
            .with_key_groups(max, range);
        if let Some(budget) = config.memory_budget {
            let share = budget.share(self.deployment.graph.keyed_tasks(), self.parallelism);
            options = options.with_memory_budget_bytes(share);
        }
        if let Some(bytes) = config.max_value_bytes {
            options = options.with_max_value_bytes(bytes);
        }
        if let (Some(manifest), Some(checkpoint)) = (&self.deployment.restore, &config.checkpoint) {
            let (info, clock) = (self.info(uid), &*config.clock);
            let local = config.local_recovery;
            let part = (&info, clock);
            let (store, registered, restored) =
                restore::open(options, local, checkpoint, manifest, part, register)?;
            self.restored.extend(restored);
            return Ok((store, registered));
        }
        let mut store = StateStore::open(options)?;
        store.set_time(config.clock.now().as_millis());
        let registered = register(&mut store)?;
        Ok((store, registered))
    }

    /// Writes down what barriers overtake, in a job where they do.
    pub(crate) fn recorder<T>(&mut self, edges: &[InputEdge<T>]) -> Option<Recorder<T>> {
        let checkpoint = self.config().checkpoint.as_ref()?;
        if checkpoint.barriers == Barriers::Aligned {
            return None;
        }
        let uid = self.deployment.graph.tasks[self.task].inputs.clone()?;
        let part = self.part(&uid);
        Some(Recorder::new(part, self.reporter.clone(), edges))
    }

    /// This subtask's share of what was under way to its task.
    pub(crate) fn recovered<T: Send + 'static>(
        &self,
        edges: &[InputEdge<T>],
    ) -> Result<Vec<Recovered<T>>> {
        let (Some(manifest), Some(uid)) = (
            &self.deployment.restore,
            &self.deployment.graph.tasks[self.task].inputs,
        ) else {
            return Ok(Vec::new());
        };
        let Some(snapshot) = manifest.operator(&OperatorUid::new(&**uid)?) else {
            return Ok(Vec::new());
        };
        let mut all = lock(&self.deployment.recovered);
        if let Entry::Vacant(entry) = all.entry(self.task) {
            let old: Vec<Vec<&[u8]>> = snapshot
                .subtasks
                .iter()
                .map(|subtask| subtask.in_flight.iter().map(|item| &*item.0).collect())
                .collect();
            let route = |edge: usize| (edges[edge].route)(self, self.parallelism);
            let new = in_flight::redistributed(&old, edges, self.parallelism, route)?;
            entry.insert(Box::new(new));
        }
        let mine = all
            .get_mut(&self.task)
            .and_then(|all| all.downcast_mut::<Vec<Vec<Recovered<T>>>>())
            .and_then(|all| all.get_mut(self.subtask));
        let mine = mine.map(std::mem::take).unwrap_or_default();
        let elements: usize = mine.iter().map(|recovered| recovered.elements.len()).sum();
        tracing::debug!(inputs = %uid, subtask = self.subtask, elements, "to be replayed");
        Ok(mine)
    }

    /// This subtask's share of an operator's own state.
    pub(crate) fn operator_state(&self, uid: &Arc<str>) -> Result<OperatorState> {
        let Some(manifest) = &self.deployment.restore else {
            return Ok(OperatorState::default());
        };
        let uid = OperatorUid::new(&**uid)?;
        match manifest.operator(&uid) {
            Some(snapshot) => redistributed(snapshot, self.parallelism, self.subtask),
            None => Ok(OperatorState::default()),
        }
    }
}
