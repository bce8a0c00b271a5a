//! A stateful, exactly-once stream runtime in one process.

#![forbid(unsafe_code)]

pub mod checkpoint;
mod config;
mod element;
mod error;
mod graph;
mod job;
mod key;
mod keyed_stream;
mod operator;
mod operator_state;
mod partition;
mod restart;
mod runtime;
mod side_output;
mod sink;
mod source;
mod sources;
mod status;
mod stream;

pub use checkpoint::StopMode;
pub use config::{
    BarrierAlignment, BufferTimeout, CheckpointConfig, CheckpointListener, CheckpointMode,
    ExchangeOptions, Externalized, JobConfig, RestoreFrom,
};
pub use element::{Collector, Element};
pub use error::{Cause, Error, Result};
pub use job::{CompletedCheckpoint, RunningJob, StreamEnvironment, Ticket};
pub use key::{KeyByRef, KeyByValue, KeySelector};
pub use keyed_stream::{KeyedStream, Queryable};
pub use operator::{Operator, OperatorContext, QueryOperator, SubtaskInfo, Timers};
pub use operator_state::{CheckpointedFunction, ListMode, OperatorState};
pub use partition::Partitioner;
pub use restart::{RestartCounter, RestartDecision, RestartStrategy};
pub use runtime::query::QueryHandle;
pub use side_output::OutputTag;
pub use sink::{Sink, TransactionalSink};
pub use source::{
    Source, SourceContext, SourceOutput, SourceReader, SourceStatus, SourceWaker, Split,
};
pub use sources::{Generator, GeneratorReader, VecReader, VecSource};
pub use status::{JobState, JobStatus, SubtaskStatus};
pub use stream::{Collected, Stream};
