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
//! Tasks are small steps that never wait inside, so the same code runs on a thread each, or all of it on one in
//! an order that follows from a seed (`simulate`, feature `testing`).
//!
//! # What it is not
//!
//! Not distributed: one process. Barriers are aligned, so under backpressure a checkpoint takes as long as the
//! elements before its barrier.
//!
//! # Features
//!
//! * `testing`: `OperatorHarness` drives one operator by hand, `simulate` runs a whole job from a seed.

#![forbid(unsafe_code)]

pub mod checkpoint;
mod config;
mod connect;
mod element;
mod error;
mod file_sink;
mod function;
mod graph;
#[cfg(feature = "testing")]
mod harness;
mod job;
mod key;
mod keyed_stream;
mod operator;
mod operator_state;
mod partition;
mod restart;
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

pub use checkpoint::StopMode;
pub use config::{
    BufferTimeout, CheckpointConfig, CheckpointListener, CheckpointMode, ExchangeOptions,
    Externalized, JobConfig, RestoreFrom,
};
pub use connect::{Either, EitherKey};
pub use element::{Collector, Element};
pub use error::{Cause, Error, Result};
pub use file_sink::FileSink;
pub use function::{FunctionContext, ProcessFunction};
#[cfg(feature = "testing")]
pub use harness::{HarnessOptions, HarnessSnapshot, OperatorHarness, SideResults};
pub use job::{CompletedCheckpoint, RunningJob, StreamEnvironment, Ticket};
pub use key::{KeyByRef, KeyByValue, KeySelector};
pub use keyed_stream::{KeyedStream, Queryable};
pub use operator::{Operator, OperatorContext, QueryOperator, SubtaskInfo, Timers};
pub use operator_state::{CheckpointedFunction, ListMode, OperatorState};
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
pub use status::{JobState, JobStatus, SubtaskStatus};
pub use stream::{Collected, Stream};
pub use window::{Extract, Part, WholeElement, WindowResult, Windowed, late};
