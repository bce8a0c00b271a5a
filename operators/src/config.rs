//! How a job runs.

use crate::restart::RestartStrategy;
use checkpoint_store::CheckpointStore;
use state_backend::{BackendConfig, MaxParallelism};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use time_engine::{Clock, SystemClock};

/// When a batch that is not full yet is sent on (Flink's buffer timeout).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferTimeout {
    /// After each step of the sender: the lowest latency.
    AtOnce,
    /// When it is this old, or the sender has nothing else to do.
    After(Duration),
    /// Only when it is full or a barrier comes: the highest throughput.
    WhenFull,
}

/// The queues between subtasks. What they can hold is what is under way at most:
/// `batch_size * queue_batches` elements for each pair of subtasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExchangeOptions {
    pub(crate) buffer_timeout: BufferTimeout,
    pub(crate) batch_size: usize,
    pub(crate) queue_batches: usize,
}

impl Default for ExchangeOptions {
    /// Batches of 512, 8 of them in a queue, sent when 10 ms old.
    fn default() -> Self {
        Self {
            buffer_timeout: BufferTimeout::After(Duration::from_millis(10)),
            batch_size: 512,
            queue_batches: 8,
        }
    }
}

impl ExchangeOptions {
    /// Small batches, sent at once.
    pub fn low_latency() -> Self {
        Self {
            buffer_timeout: BufferTimeout::AtOnce,
            batch_size: 64,
            queue_batches: 8,
        }
    }

    /// When a batch that is not full is sent.
    #[must_use]
    pub fn with_buffer_timeout(mut self, timeout: BufferTimeout) -> Self {
        self.buffer_timeout = timeout;
        self
    }

    /// Elements in a batch; at least 1.
    #[must_use]
    pub fn with_batch_size(mut self, elements: usize) -> Self {
        self.batch_size = elements.max(1);
        self
    }

    /// Batches in a queue; at least 1.
    #[must_use]
    pub fn with_queue_batches(mut self, batches: usize) -> Self {
        self.queue_batches = batches.max(1);
        self
    }
}

/// What a checkpoint promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum CheckpointMode {
    /// State is as if each element had come once: inputs wait for the slowest barrier.
    #[default]
    ExactlyOnce,
    /// Inputs do not wait; elements may be counted twice after a restart.
    AtLeastOnce,
}

/// How barriers go through the queues of an exactly-once job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Barriers {
    /// In order: a checkpoint takes as long as what is in the queues before its barriers.
    #[default]
    Aligned,
    /// Ahead of what is in the queues, which goes into the checkpoint and is replayed first after a restore,
    /// at any parallelism (Flink's unaligned checkpoints).
    Unaligned,
    /// In order, until a checkpoint is this old; from then on its barriers overtake (Flink's
    /// `execution.checkpointing.aligned-checkpoint-timeout`).
    UnalignedAfter(Duration),
}

/// What becomes of checkpoints when the job is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Externalized {
    /// They stay.
    #[default]
    RetainOnCancellation,
    /// They are deleted. A job that fails keeps them all the same.
    DeleteOnCancellation,
}

/// Where the state of a starting job comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum RestoreFrom {
    /// From the newest complete checkpoint of the store; nothing when there is none.
    #[default]
    Latest,
    /// From nothing.
    Nothing,
    /// From this savepoint or checkpoint (its location as the store gave it).
    Location(String),
}

/// Whether the working files of a disk backend outlive the job (Flink's
/// `execution.state-recovery.from-local`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LocalRecovery {
    /// A job that ends in an orderly way, with a last checkpoint, leaves its files as that checkpoint has
    /// the state, and a start from exactly that checkpoint, at the same parallelism, goes on from them. At any
    /// other start, and when a byte of them is damaged, they are deleted and the checkpoint is read. The end
    /// takes longer by writing out what of the state is in memory, and by one pass over the files.
    #[default]
    OnCleanStop,
    /// Every start reads the checkpoint.
    Off,
}

/// How and how often a job is checkpointed.
#[derive(Debug, Clone)]
pub struct CheckpointConfig {
    pub(crate) store: CheckpointStore,
    pub(crate) interval: Option<Duration>,
    pub(crate) mode: CheckpointMode,
    pub(crate) barriers: Barriers,
    pub(crate) timeout: Duration,
    pub(crate) min_pause: Duration,
    pub(crate) max_concurrent: usize,
    pub(crate) tolerable_failures: Option<u32>,
    pub(crate) externalized: Externalized,
    pub(crate) retained: usize,
    pub(crate) restore: RestoreFrom,
    pub(crate) full_every: Option<u32>,
}

impl CheckpointConfig {
    /// Exactly-once checkpoints to `store` each second.
    pub fn new(store: CheckpointStore) -> Self {
        Self {
            store,
            interval: Some(Duration::from_secs(1)),
            mode: CheckpointMode::ExactlyOnce,
            barriers: Barriers::Aligned,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: Some(0),
            externalized: Externalized::RetainOnCancellation,
            retained: 3,
            restore: RestoreFrom::Latest,
            full_every: None,
        }
    }

    /// Time between two triggers.
    #[must_use]
    pub fn with_interval(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// No periodic checkpoints: only by hand, and the last one.
    #[must_use]
    pub fn without_interval(mut self) -> Self {
        self.interval = None;
        self
    }

    /// Exactly-once or at-least-once.
    #[must_use]
    pub fn with_mode(mut self, mode: CheckpointMode) -> Self {
        self.mode = mode;
        self
    }

    /// Whether barriers may overtake what is in the queues: checkpoints are then quick under backpressure
    /// too, and larger by what the queues hold. Needs [`Stream::with_codec`] before each partitioning, and
    /// one checkpoint at a time; a job that has neither is refused.
    ///
    /// Savepoints and the last checkpoint of a job are always aligned, so that what restores from them may be
    /// another job. Broadcast streams are never overtaken. Watermarks are not in checkpoints: what is replayed
    /// is worked off before time has come back to where it was, so it is never late, but an operator
    /// that reads the current watermark on each element sees another than the first time.
    ///
    /// [`Stream::with_codec`]: crate::Stream::with_codec
    #[must_use]
    pub fn with_barriers(mut self, barriers: Barriers) -> Self {
        self.barriers = barriers;
        self
    }

    /// A checkpoint that takes longer is given up.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Least time from a completion to the next periodic trigger.
    #[must_use]
    pub fn with_min_pause(mut self, pause: Duration) -> Self {
        self.min_pause = pause;
        self
    }

    /// Checkpoints under way at one time; at least 1.
    #[must_use]
    pub fn with_max_concurrent(mut self, checkpoints: usize) -> Self {
        self.max_concurrent = checkpoints.max(1);
        self
    }

    /// Failures in a row before the job is restarted; `None`: any number.
    #[must_use]
    pub fn with_tolerable_failures(mut self, failures: Option<u32>) -> Self {
        self.tolerable_failures = failures;
        self
    }

    /// Whether checkpoints stay when the job is cancelled.
    #[must_use]
    pub fn with_externalized(mut self, externalized: Externalized) -> Self {
        self.externalized = externalized;
        self
    }

    /// Completed checkpoints to keep; at least 1.
    #[must_use]
    pub fn with_retained(mut self, checkpoints: usize) -> Self {
        self.retained = checkpoints.max(1);
        self
    }

    /// Where the state comes from at the first start.
    #[must_use]
    pub fn with_restore(mut self, restore: RestoreFrom) -> Self {
        self.restore = restore;
        self
    }

    /// Makes every n-th checkpoint a full one; by default only savepoints are.
    #[must_use]
    pub fn with_full_every(mut self, checkpoints: u32) -> Self {
        self.full_every = Some(checkpoints.max(1));
        self
    }
}

/// Told about checkpoints, on the coordinator's thread: it must not take long.
pub trait CheckpointListener: Send + Sync + 'static {
    /// The checkpoint is durable. `positions` are those of every source: `(source uid, splits)`.
    fn on_complete(&self, checkpoint: u64, positions: &[(String, Vec<crate::Split>)]);
}

/// Memory for keyed state, in bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum MemoryBudget {
    /// Of each subtask.
    Subtask(u64),
    /// Of all together.
    Job(u64),
}

impl MemoryBudget {
    /// The share of one subtask, in a job of so many tasks with keyed state, of one with so many subtasks.
    pub(crate) fn share(self, keyed_tasks: usize, subtasks: usize) -> u64 {
        match self {
            Self::Subtask(bytes) => bytes,
            Self::Job(bytes) => bytes / (keyed_tasks.max(1) * subtasks.max(1)) as u64,
        }
    }
}

/// How a job runs. Start from [`JobConfig::default`] and change what matters.
#[derive(Clone)]
pub struct JobConfig {
    pub(crate) name: String,
    pub(crate) parallelism: usize,
    pub(crate) max_parallelism: MaxParallelism,
    pub(crate) backend: BackendConfig,
    pub(crate) memory_budget: Option<MemoryBudget>,
    pub(crate) max_value_bytes: Option<u64>,
    pub(crate) checkpoint: Option<CheckpointConfig>,
    pub(crate) restart: RestartStrategy,
    pub(crate) exchange: ExchangeOptions,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) listeners: Vec<Arc<dyn CheckpointListener>>,
    pub(crate) source_batch: usize,
    pub(crate) slice: usize,
    pub(crate) spin: Duration,
    pub(crate) local_recovery: LocalRecovery,
}

impl fmt::Debug for JobConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobConfig")
            .field("name", &self.name)
            .field("parallelism", &self.parallelism)
            .field("backend", &self.backend)
            .field("checkpoint", &self.checkpoint)
            .field("restart", &self.restart)
            .field("exchange", &self.exchange)
            .finish_non_exhaustive()
    }
}

impl Default for JobConfig {
    /// Parallelism 1, state in memory, no checkpoints, the system clock.
    fn default() -> Self {
        Self {
            name: "job".to_owned(),
            parallelism: 1,
            max_parallelism: MaxParallelism::DEFAULT,
            backend: BackendConfig::Memory,
            memory_budget: None,
            max_value_bytes: None,
            checkpoint: None,
            restart: RestartStrategy::default(),
            exchange: ExchangeOptions::default(),
            clock: Arc::new(SystemClock::new()),
            listeners: Vec::new(),
            source_batch: 512,
            slice: 2_048,
            spin: Duration::ZERO,
            local_recovery: LocalRecovery::default(),
        }
    }
}

impl JobConfig {
    /// The job's name, for threads, logs and metrics.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Subtasks of every operator that does not say otherwise; at least 1.
    #[must_use]
    pub fn with_parallelism(mut self, parallelism: usize) -> Self {
        self.parallelism = parallelism.max(1);
        self
    }

    /// Key groups: no operator can ever have more subtasks. Fixed for the life of the state.
    #[must_use]
    pub fn with_max_parallelism(mut self, max: MaxParallelism) -> Self {
        self.max_parallelism = max;
        self
    }

    /// Where working state lives. Each subtask gets its own directory below the given one.
    #[must_use]
    pub fn with_backend(mut self, backend: BackendConfig) -> Self {
        self.backend = backend;
        self
    }

    /// Memory for keyed state, in bytes for each subtask of each operator, as
    /// [`StoreOptions::with_memory_budget_bytes`](state_backend::StoreOptions::with_memory_budget_bytes) has it. The last call
    /// of this and [`with_job_memory_budget_bytes`](Self::with_job_memory_budget_bytes) counts.
    #[must_use]
    pub fn with_memory_budget_bytes(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(MemoryBudget::Subtask(bytes));
        self
    }

    /// Memory for keyed state, in bytes for the job as a whole: in equal parts for each operator that keeps such state, whatever
    /// its parallelism, and in each for its subtasks. It is not what queues, other values of the operators and
    /// checkpoints being written take.
    #[must_use]
    pub fn with_job_memory_budget_bytes(mut self, bytes: u64) -> Self {
        self.memory_budget = Some(MemoryBudget::Job(bytes));
        self
    }

    /// The largest encoded value a state may hold.
    #[must_use]
    pub fn with_max_value_bytes(mut self, bytes: u64) -> Self {
        self.max_value_bytes = Some(bytes);
        self
    }

    /// Whether the working files of a disk backend outlive the job; [`LocalRecovery::OnCleanStop`] unless set.
    #[must_use]
    pub fn with_local_recovery(mut self, recovery: LocalRecovery) -> Self {
        self.local_recovery = recovery;
        self
    }

    /// Takes checkpoints.
    #[must_use]
    pub fn with_checkpoints(mut self, checkpoint: CheckpointConfig) -> Self {
        self.checkpoint = Some(checkpoint);
        self
    }

    /// What happens after a failure.
    #[must_use]
    pub fn with_restart(mut self, restart: RestartStrategy) -> Self {
        self.restart = restart;
        self
    }

    /// Batches and queues between subtasks.
    #[must_use]
    pub fn with_exchange(mut self, exchange: ExchangeOptions) -> Self {
        self.exchange = exchange;
        self
    }

    /// Another clock than the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Tells `listener` about each completed checkpoint.
    #[must_use]
    pub fn with_listener(mut self, listener: Arc<dyn CheckpointListener>) -> Self {
        self.listeners.push(listener);
        self
    }

    /// Elements asked of a source at a time; at least 1.
    #[must_use]
    pub fn with_source_batch(mut self, elements: usize) -> Self {
        self.source_batch = elements.max(1);
        self
    }

    /// The last part of each wait for a time (a source that knows when its next element is due, a timer) that
    /// a task spends looking at the clock, giving way to other threads, instead of asleep; 0, the default, is
    /// none. Linux wakes a sleeper some 50 us late; a source that waits less than this between elements keeps a
    /// core busy.
    #[must_use]
    pub fn with_spin(mut self, time: Duration) -> Self {
        self.spin = time;
        self
    }

    /// Small batches sent at once, small slices of background work, and waits that end on time
    /// ([`with_spin`](Self::with_spin) of 60 us): for latencies far below a millisecond, at the price of
    /// processor time.
    #[must_use]
    pub fn low_latency(mut self) -> Self {
        self.exchange = ExchangeOptions::low_latency();
        self.source_batch = 64;
        self.slice = 512;
        self.spin = Duration::from_micros(60);
        self
    }
}
