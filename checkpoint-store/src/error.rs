//! What can go wrong with a checkpoint.

use crate::ids::{BlobPath, CheckpointId, WriterEpoch};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause below an error, of whatever kind the storage beneath reports.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a checkpoint could not be written, found or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The storage failed. For a write the outcome may be unknown: the blob may be there.
    #[error("cannot {operation} {path:?}")]
    Blob {
        /// What was tried: `read`, `write`, `list`, `delete`, `open`.
        operation: &'static str,
        /// On which blob.
        path: String,
        /// Whether the same call may succeed later.
        retry: Retry,
        /// What the storage said.
        #[source]
        source: Source,
    },
    /// Bytes that are not what was written.
    #[error("{path} is damaged: {what}")]
    Corrupted {
        /// The damaged blob.
        path: BlobPath,
        /// What does not fit.
        what: String,
    },
    /// A blob that a manifest names is not there.
    #[error("{path} is missing")]
    Missing {
        /// The blob.
        path: BlobPath,
    },
    /// Written by a version of the format that this build does not know.
    #[error("{path} has format version {found}, this build reads up to {supported}")]
    UnsupportedVersion {
        /// The blob.
        path: BlobPath,
        /// Its version.
        found: u32,
        /// The newest version that can be read.
        supported: u32,
    },
    /// A newer writer has taken this directory over; this one must stop writing to it.
    #[error("writer {epoch} has been fenced off by writer {by}")]
    Fenced {
        /// Who we are.
        epoch: WriterEpoch,
        /// Who took over.
        by: WriterEpoch,
    },
    /// Something else is where a create-only write was to go.
    #[error("{path} exists already, with other contents")]
    Conflict {
        /// The blob.
        path: BlobPath,
    },
    /// A newer checkpoint has been committed, so this one is of no use any more.
    #[error("checkpoint {id} comes too late: {newest} is committed")]
    Subsumed {
        /// The checkpoint that was to be committed.
        id: CheckpointId,
        /// The newest committed one.
        newest: CheckpointId,
    },
    /// The store was opened for reading only.
    #[error("the checkpoint store was opened for reading only")]
    ReadOnly,
    /// No such checkpoint or savepoint.
    #[error("no checkpoint or savepoint at {location:?}")]
    NotFound {
        /// What was asked for.
        location: String,
    },
    /// A name, path or id that cannot be used.
    #[error("{what} {value:?} cannot be used: {reason}")]
    Invalid {
        /// What kind of thing it is.
        what: &'static str,
        /// The text in question.
        value: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The checkpoint does not fit what it is to be restored into.
    #[error("operator {operator:?} cannot be restored: {reason}")]
    Incompatible {
        /// The operator.
        operator: String,
        /// What does not fit.
        reason: String,
    },
    /// One key or value is larger than the format holds.
    #[error("a row of {bytes} bytes in state {state:?} exceeds the limit of {limit}")]
    RowTooLarge {
        /// The state.
        state: String,
        /// Size of the key and the value.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Parquet could not be written, or not be read although its checksum is right.
    #[error("Parquet error in {path}")]
    Parquet {
        /// The file.
        path: BlobPath,
        /// What the Parquet library said.
        #[source]
        source: ::parquet::errors::ParquetError,
    },
    /// The state store refused what was restored into it.
    #[error("the state store refused the restored state")]
    State(#[from] state_backend::Error),
}

/// Whether a failed call is worth repeating.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The failure may pass: a time-out, an overloaded server.
    MayHelp,
    /// The failure will stay.
    IsUseless,
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Blob {
                retry: Retry::MayHelp,
                ..
            }
        )
    }

    /// Whether stored bytes are wrong, missing or unreadable, so that an older checkpoint is
    /// the way out.
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Self::Corrupted { .. } | Self::Missing { .. } | Self::Parquet { .. }
        )
    }

    pub(crate) fn corrupted(path: &BlobPath, what: impl Into<String>) -> Self {
        Self::Corrupted {
            path: path.clone(),
            what: what.into(),
        }
    }

    pub(crate) fn invalid(
        what: &'static str,
        value: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self::Invalid {
            what,
            value: value.into(),
            reason: reason.into(),
        }
    }
}
