//! The job as its author wrote it: tasks, what connects them, and how to build each.

use crate::config::{Barriers, CheckpointConfig, CheckpointMode, JobConfig};
use crate::error::{Error, Result};
use crate::runtime::deployment::BuildContext;
use crate::runtime::link::{Discard, Fanout, Next};
use crate::runtime::query::RouteTable;
use crate::runtime::task::Task;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// Number of a task (all its subtasks together).
pub(crate) type TaskId = usize;
/// Number of a connection between two tasks.
pub(crate) type EdgeId = usize;

pub(crate) type TaskFactory =
    Arc<dyn Fn(&mut BuildContext<'_>) -> Result<Box<dyn Task>> + Send + Sync>;

pub(crate) type LinkFactory<T> =
    Arc<dyn Fn(&mut BuildContext<'_>) -> Result<Next<T>> + Send + Sync>;

/// A place in a chain where links can be added.
pub(crate) struct Node<T> {
    pub(crate) task: TaskId,
    consumers: Mutex<Vec<LinkFactory<T>>>,
    copy: OnceLock<fn(&T) -> T>,
}

impl<T: Send + 'static> Node<T> {
    pub(crate) fn new(task: TaskId) -> Arc<Self> {
        Arc::new(Self {
            task,
            consumers: Mutex::default(),
            copy: OnceLock::new(),
        })
    }

    pub(crate) fn add(&self, consumer: LinkFactory<T>) {
        lock(&self.consumers).push(consumer);
    }

    pub(crate) fn allow_copies(&self)
    where
        T: Clone,
    {
        self.copy.get_or_init(|| T::clone);
    }

    /// The rest of the chain for one subtask.
    pub(crate) fn build(&self, cx: &mut BuildContext<'_>) -> Result<Next<T>> {
        let consumers = lock(&self.consumers).clone();
        let mut links = consumers
            .iter()
            .map(|make| make(cx))
            .collect::<Result<Vec<_>>>()?;
        match (links.len(), self.copy.get()) {
            (0, _) => Ok(Box::new(Discard)),
            (1, _) => links
                .pop()
                .ok_or_else(|| Error::invalid("a chain without a link")),
            (_, Some(copy)) => Ok(Box::new(Fanout { links, copy: *copy })),
            (_, None) => Err(Error::invalid(
                "a stream with several takers must be cloned",
            )),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // what is guarded here is never left half changed by a panic
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a task is.
#[derive(Clone)]
pub(crate) struct TaskSpec {
    pub(crate) name: String,
    pub(crate) is_source: bool,
    /// Names what is under way to it in checkpoints; a source has none.
    pub(crate) inputs: Option<Arc<str>>,
    pub(crate) parallelism: Option<usize>,
    /// Whether each subtask has a store for keyed state.
    pub(crate) is_keyed: bool,
    pub(crate) build: TaskFactory,
}

/// Whether barriers may overtake the elements of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overtaking {
    /// The elements can be written into a checkpoint.
    Possible,
    /// They cannot: they have no codec.
    NoCodec,
    /// It is a broadcast: its elements must have changed the state of all subtasks, or of none.
    Never,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct EdgeSpec {
    pub(crate) from: TaskId,
    pub(crate) to: TaskId,
    pub(crate) overtaking: Overtaking,
}

/// An operator, source or sink with a name of its own.
#[derive(Debug, Clone)]
pub(crate) struct OperatorSpec {
    pub(crate) uid: Arc<str>,
    pub(crate) task: TaskId,
    pub(crate) routes: Option<Arc<RouteTable>>,
}

#[derive(Clone, Default)]
pub(crate) struct Graph {
    pub(crate) tasks: Vec<TaskSpec>,
    pub(crate) edges: Vec<EdgeSpec>,
    pub(crate) operators: Vec<OperatorSpec>,
    /// What was wrong already when it was written down.
    pub(crate) faults: Vec<String>,
}

impl Graph {
    pub(crate) fn edge(&mut self, from: TaskId, to: TaskId, overtaking: Overtaking) -> EdgeId {
        self.edges.push(EdgeSpec {
            from,
            to,
            overtaking,
        });
        self.edges.len() - 1
    }

    pub(crate) fn operator(
        &mut self,
        uid: &str,
        task: TaskId,
        routes: Option<Arc<RouteTable>>,
    ) -> Arc<str> {
        let uid: Arc<str> = uid.into();
        self.operators.push(OperatorSpec {
            uid: Arc::clone(&uid),
            task,
            routes,
        });
        uid
    }

    pub(crate) fn parallelism(&self, task: TaskId, config: &JobConfig) -> usize {
        self.tasks[task].parallelism.unwrap_or(config.parallelism)
    }

    /// How many tasks have a store in each subtask.
    pub(crate) fn keyed_tasks(&self) -> usize {
        self.tasks.iter().filter(|task| task.is_keyed).count()
    }

    /// Refuses a job that cannot run.
    pub(crate) fn check(&self, config: &JobConfig) -> Result<()> {
        if !self.tasks.iter().any(|task| task.is_source) {
            return Err(Error::invalid("it has no source"));
        }
        if let Some(fault) = self.faults.first() {
            return Err(Error::invalid(fault.clone()));
        }
        let mut uids = BTreeSet::new();
        for operator in &self.operators {
            checkpoint_store::OperatorUid::new(&*operator.uid)?;
            if !uids.insert(&*operator.uid) {
                return Err(Error::invalid(format!(
                    "uid {:?} is used twice",
                    operator.uid
                )));
            }
        }
        if let Some(checkpoint) = &config.checkpoint
            && checkpoint.barriers != Barriers::Aligned
        {
            self.check_unaligned(checkpoint, uids)?;
        }
        let max = usize::from(config.max_parallelism.get());
        for (id, task) in self.tasks.iter().enumerate() {
            let parallelism = self.parallelism(id, config);
            if parallelism == 0 || (parallelism > max && !task.is_source) {
                return Err(Error::invalid(format!(
                    "{:?} has parallelism {parallelism}, possible are 1 to {max}",
                    task.name
                )));
            }
        }
        Ok(())
    }
    fn check_unaligned<'a>(
        &'a self,
        checkpoint: &CheckpointConfig,
        mut uids: BTreeSet<&'a str>,
    ) -> Result<()> {
        if checkpoint.mode != CheckpointMode::ExactlyOnce {
            return Err(Error::invalid(
                "unaligned barriers are for exactly-once checkpoints",
            ));
        }
        if checkpoint.max_concurrent > 1 {
            return Err(Error::invalid(
                "with unaligned barriers there is one checkpoint at a time",
            ));
        }
        for uid in self.tasks.iter().filter_map(|task| task.inputs.as_deref()) {
            checkpoint_store::OperatorUid::new(uid)?;
            if !uids.insert(uid) {
                return Err(Error::invalid(format!("uid {uid:?} is used twice")));
            }
        }
        let opaque = |edge: &&EdgeSpec| edge.overtaking == Overtaking::NoCodec;
        if let Some(edge) = self.edges.iter().find(opaque) {
            let (from, to) = (&self.tasks[edge.from].name, &self.tasks[edge.to].name);
            return Err(Error::invalid(format!(
                "unaligned barriers need to write what is under way from {from:?} to {to:?}: \
                 call with_codec() on the stream before it is partitioned"
            )));
        }
        Ok(())
    }
}
