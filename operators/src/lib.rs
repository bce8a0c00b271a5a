//! A stateful, exactly-once stream runtime in one process.
//!
//! ```
//! use operators::{Generator, JobConfig, StreamEnvironment};
//! use std::time::Duration;
//! use time_engine::Timestamp;
//! use time_engine::watermark::Monotonous;
//! use time_engine::window::{Count, SharedWindows, WindowSpec};
//!
//! let env = StreamEnvironment::new();
//! let results = env
//!     .source("clicks", Generator::new(1_000, |n| (n % 10, n as i64)))
//!     .assign_timestamps(|(_, at)| Timestamp::from_millis(*at), Monotonous::new)
//!     .key_by(|(user, _)| *user)
//!     .window("counts", || {
//!         let spec = WindowSpec::tumbling(Duration::from_millis(100));
//!         SharedWindows::new(Count::new(), vec![spec])
//!     })
//!     .parallelism(2)
//!     .collect("out");
//! env.execute(JobConfig::default())?.wait()?;
//! assert!(results.take().iter().all(|result| result.value == 10));
//! # Ok::<(), operators::Error>(())
//! ```
//!
//! # The types
//!
//! * [`StreamEnvironment`] is where a job is written down: [`Source`]s give [`Stream`]s, whose methods say what
//!   happens to their elements; [`StreamEnvironment::execute`] starts it, [`RunningJob`] holds it.
//! * [`KeyedBroadcastProcessFunction`] and [`BroadcastProcessFunction`] read a state that a second stream has
//!   put into every subtask.
//! * [`Operator`] is a function over the elements of each key with typed state and timers; [`QueryOperator`] also
//!   answers questions from outside. [`ProcessFunction`] is a function over elements as they come.
//! * [`Sink`] takes results, [`TransactionalSink`] shows each once.
//! * [`JobConfig`], [`CheckpointConfig`], [`ExchangeOptions`] and [`RestartStrategy`] say how it runs.
//! * [`checkpoint`] has the decisions about checkpoints as pure functions, and the history of a job's.
//!
//! # How it runs
//!
//! What needs no exchange is one *task*: a chain of direct calls on one thread. Tasks hand each other batches
//! over bounded queues. A keyed operator owns the state of its key groups; nobody else touches it, and there is
//! no lock on the way from an element to its state. A barrier enters at the sources with their positions; each
//! operator aligns it over its inputs, begins a snapshot in constant time and goes on; the snapshot is captured
//! in slices between batches and written to Parquet by another thread; when all parts are there the
//! coordinator publishes the manifest. A failure stops all tasks and starts them from the last checkpoint.
//!
//! # Checkpoints under backpressure
//!
//! A barrier that waits its turn in full queues makes a checkpoint take as long as what is before it. With
//! [`Barriers::Unaligned`] it overtakes, and what it overtakes goes into the checkpoint and is replayed first
//! after a restore, also at another parallelism; with [`Barriers::UnalignedAfter`] only when a checkpoint has
//! become that old. [`Stream::with_codec`] says of each stream that is partitioned that its elements can be
//! written; a job where one is missing is refused, with the place named.
//!
//! ```
//! use checkpoint_store::{CheckpointStore, MemoryBlobs, StoreOptions};
//! use operators::{Barriers, CheckpointConfig, Generator, JobConfig, StreamEnvironment};
//! use std::{sync::Arc, time::Duration};
//!
//! let env = StreamEnvironment::new();
//! let sorted = env
//!     .source("numbers", Generator::new(100, |n| n))
//!     .with_codec()
//!     .rebalance()
//!     .parallelism(2)
//!     .collect("out");
//! let store = CheckpointStore::open(Arc::new(MemoryBlobs::new()), StoreOptions::default())?;
//! let checkpoints = CheckpointConfig::new(store)
//!     .with_interval(Duration::from_millis(100))
//!     .with_barriers(Barriers::UnalignedAfter(Duration::from_millis(50)));
//! env.execute(JobConfig::default().with_checkpoints(checkpoints))?.wait()?;
//! assert_eq!(sorted.len(), 100);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # One stream steers another
//!
//! [`KeyedStream::connect_broadcast`] gives every subtask the elements of a second stream, for a state that
//! all of them have the same copy of: rules, configuration, a small table.
//! [`KeyedBroadcastProcessFunction`] changes it by broadcast elements and reads it at keyed ones:
//!
//! ```
//! use operators::{
//!     BroadcastContext, BroadcastDef, BroadcastState, BroadcastStates, Collector, Element,
//!     Generator, JobConfig, KeyedBroadcastProcessFunction, OperatorContext, Result,
//!     StreamEnvironment,
//! };
//! use state_backend::StateStore;
//!
//! const LIMITS: BroadcastDef<String, u64> = BroadcastDef::new("limits");
//!
//! /// Passes what is not above the limit.
//! #[derive(Default)]
//! struct Limited {
//!     limits: BroadcastState<String, u64>,
//! }
//!
//! impl KeyedBroadcastProcessFunction for Limited {
//!     type In = u64;
//!     type Broadcast = (String, u64);
//!     type Out = u64;
//!
//!     fn open(&mut self, _: &mut StateStore, broadcast: &mut BroadcastStates) -> Result<()> {
//!         self.limits = broadcast.register(&LIMITS)?;
//!         Ok(())
//!     }
//!
//!     fn process_element(
//!         &mut self,
//!         element: Element<u64>,
//!         broadcast: &BroadcastStates,
//!         _: &mut OperatorContext<'_>,
//!         out: &mut dyn Collector<u64>,
//!     ) -> Result<()> {
//!         let limit = self.limits.get(broadcast, &"all".to_owned());
//!         if limit.is_none_or(|limit| element.value <= *limit) {
//!             out.collect(element.value);
//!         }
//!         Ok(())
//!     }
//!
//!     fn process_broadcast_element(
//!         &mut self,
//!         element: Element<(String, u64)>,
//!         cx: &mut BroadcastContext<'_>,
//!         _: &mut dyn Collector<u64>,
//!     ) -> Result<()> {
//!         let (name, limit) = element.value;
//!         self.limits.put(cx.broadcast, name, limit);
//!         Ok(())
//!     }
//! }
//!
//! let env = StreamEnvironment::new();
//! let limits = env.source("limits", Generator::new(1, |_| ("all".to_owned(), 500)));
//! let passed = env
//!     .source("numbers", Generator::new(1_000, |n| n))
//!     .key_by(|n| n % 16)
//!     .connect_broadcast(limits)
//!     .process("limited", Limited::default)
//!     .parallelism(2)
//!     .collect("out");
//! env.execute(JobConfig::default())?.wait()?;
//! // how many above the limit came before the limit is up to the threads
//! assert!(passed.len() >= 501);
//! # Ok::<(), operators::Error>(())
//! ```
//!
//! # Simulation
//!
//! Tasks are small steps that never wait inside, so the same code runs on a thread each, or all of it on one in
//! an order that follows from a seed (`simulate`, feature `testing`).
//!
//! # What it is not
//!
//! Not distributed: one process.
//!
//! # Features
//!
//! * `parquet`: `FileSink` writes Parquet, too.
//! * `testing`: `OperatorHarness` drives one operator by hand, `simulate` runs a whole job from a seed.

#![forbid(unsafe_code)]

mod broadcast;
pub mod checkpoint;
mod codec;
mod config;
mod connect;
mod connect_broadcast;
mod element;
mod error;
mod file_format;
mod file_sink;
mod file_source;
mod function;
mod graph;
#[cfg(feature = "testing")]
mod harness;
mod interval_join;
mod job;
mod key;
mod keyed_stream;
mod operator;
mod operator_state;
#[cfg(feature = "parquet")]
mod parquet_format;
mod partition;
mod restart;
mod running;
mod runtime;
mod side_output;
#[cfg(feature = "testing")]
mod simulation;
mod sink;
mod source;
mod sources;
mod status;
mod stream;
mod window;

pub use broadcast::{
    BroadcastContext, BroadcastDef, BroadcastProcessFunction, BroadcastState, BroadcastStates,
    KeyedBroadcastProcessFunction,
};
pub use checkpoint::StopMode;
pub use config::{
    Barriers, BufferTimeout, CheckpointConfig, CheckpointListener, CheckpointMode, ExchangeOptions,
    Externalized, JobConfig, LocalRecovery, RestoreFrom,
};
pub use connect::{Either, EitherKey};
pub use connect_broadcast::BroadcastConnectedStream;
pub use element::{Collector, Element};
pub use error::{Cause, Error, Result};
pub use file_format::{FileFormat, Lines};
pub use file_sink::FileSink;
pub use file_source::{FileReader, FileSource};
pub use function::{FunctionContext, ProcessFunction};
#[cfg(feature = "testing")]
pub use harness::{HarnessOptions, HarnessSnapshot, OperatorHarness, SideResults};
pub use interval_join::{IntervalJoin, late_left, late_right};
pub use job::{CompletedCheckpoint, RunningJob, StreamEnvironment, Ticket};
pub use key::{KeyByRef, KeyByValue, KeySelector};
pub use keyed_stream::{KeyedStream, Queryable};
pub use operator::{Operator, OperatorContext, QueryOperator, SubtaskInfo, Timers};
pub use operator_state::{CheckpointedFunction, ListMode, OperatorState};
#[cfg(feature = "parquet")]
pub use parquet_format::{Parquet, ParquetFile};
pub use partition::Partitioner;
pub use restart::{RestartCounter, RestartDecision, RestartStrategy};
pub use runtime::query::QueryHandle;
pub use side_output::OutputTag;
#[cfg(feature = "testing")]
pub use simulation::{SimulationOptions, SimulationReport, simulate};
pub use sink::{Sink, TransactionalSink};
pub use source::{
    Source, SourceContext, SourceOutput, SourceReader, SourceStatus, SourceWaker, Split,
};
pub use sources::{Generator, GeneratorReader, VecReader, VecSource};
pub use status::{JobState, JobStatus, RestoreSource, StateRestore, SubtaskStatus};
pub use stream::{Collected, Stream};
pub use window::{Extract, Part, WholeElement, WindowResult, Windowed, late};
