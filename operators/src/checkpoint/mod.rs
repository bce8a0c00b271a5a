//! Checkpoints: the decisions as pure functions, and the coordinator that carries them out.

mod failure;
mod history;
mod pending;
mod request;

pub use crate::runtime::event::{SnapshotPurpose, StopMode};
pub use failure::{FailureCounter, FailureReason, FailureVerdict};
pub use history::{CheckpointHistory, CheckpointRecord, CheckpointState, ShardRecord};
pub use pending::PhaseTimes;
pub(crate) use pending::{Ack, Pending, Progress, ShardKey};
pub use request::{Decision, Observed, RequestKind, RequestLimits, RequestQueue};
