//! What can go wrong in a job.

use std::sync::Arc;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause below an error.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Why a job, an operator or a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The job graph or its configuration makes no sense.
    #[error("the job cannot run: {what}")]
    InvalidJob {
        /// What does not fit.
        what: String,
    },
    /// State failed.
    #[error("state failed")]
    State(#[from] state_backend::Error),
    /// Checkpoint storage failed.
    #[error("checkpoint storage failed")]
    Checkpoint(#[from] checkpoint_store::Error),
    /// Time failed: a window or a watermark strategy refused its input.
    #[error("time handling failed")]
    Time(#[from] time_engine::Error),
    /// User code returned an error.
    #[error("user code failed")]
    User(#[source] Cause),
    /// An operator failed.
    #[error("operator {operator} (subtask {subtask}) failed")]
    Operator {
        /// Its uid.
        operator: String,
        /// Which subtask, from 0.
        subtask: usize,
        /// Why.
        #[source]
        source: Box<Self>,
    },
    /// A task panicked.
    #[error("task {task} (subtask {subtask}) panicked: {message}")]
    Panicked {
        /// The operators of its chain.
        task: String,
        /// Which subtask, from 0.
        subtask: usize,
        /// What the panic said.
        message: String,
    },
    /// Too many checkpoints failed in a row.
    #[error("checkpoint {checkpoint} failed ({reason}), more in a row than are tolerable")]
    TooManyFailedCheckpoints {
        /// The last one.
        checkpoint: u64,
        /// Its reason.
        reason: crate::checkpoint::FailureReason,
    },
    /// A checkpoint or savepoint that was asked for did not complete.
    #[error("the checkpoint failed: {reason}")]
    CheckpointFailed {
        /// Why, in Flink's terms.
        reason: crate::checkpoint::FailureReason,
    },
    /// The job takes no checkpoints.
    #[error("the job has no checkpoint storage")]
    NoCheckpoints,
    /// What was asked needs a running job.
    #[error("the job is not running")]
    NotRunning,
    /// No operator of that uid answers such queries.
    #[error("no operator {uid:?} answers such a query")]
    UnknownOperator {
        /// The uid that was asked for.
        uid: String,
    },
    /// The snapshot does not fit the job.
    #[error("cannot restore: {what}")]
    Incompatible {
        /// What does not fit.
        what: String,
    },
    /// A failure that several callers are told about.
    #[error(transparent)]
    Shared(Arc<Self>),
    /// The operating system refused a thread or a file.
    #[error("cannot {operation}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    /// Wraps an error of user code.
    pub fn user(source: impl Into<Cause>) -> Self {
        Self::User(source.into())
    }

    /// Names the operator it happened in, unless one is named already.
    pub(crate) fn of(self, info: &crate::operator::SubtaskInfo) -> Self {
        match self {
            Self::Operator { .. } => self,
            source => Self::Operator {
                operator: info.operator.clone(),
                subtask: info.subtask,
                source: Box::new(source),
            },
        }
    }

    pub(crate) fn invalid(what: impl Into<String>) -> Self {
        Self::InvalidJob { what: what.into() }
    }

    /// The whole chain of causes in one line.
    pub fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        text
    }
}
