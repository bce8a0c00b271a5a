//! What can go wrong, in one enum.

use crate::{KeyGroup, KeyGroupRange, StateKind};
use std::{error::Error as StdError, io, path::PathBuf};

/// The result of every fallible operation of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failed operation on state.
///
/// Branch on the variant or on [`is_corruption`](Error::is_corruption) and
/// [`is_out_of_space`](Error::is_out_of_space), never on the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A state exists under this name with another kind.
    #[error("state {state:?} is a {existing} state and cannot be used as a {requested} state")]
    KindMismatch {
        /// Name of the state.
        state: String,
        /// Kind it was registered or restored with.
        existing: StateKind,
        /// Kind that was asked for.
        requested: StateKind,
    },
    /// A state exists under this name with another value type.
    #[error("state {state:?} holds {existing} and cannot be used as {requested}")]
    TypeMismatch {
        /// Name of the state.
        state: String,
        /// Type it was registered or restored with.
        existing: String,
        /// Type that was asked for.
        requested: String,
    },
    /// The stored values are of a version that the definition cannot read.
    #[error("state {state:?} was stored as version {stored}, the definition is version {current}{}",
        if stored < current { " and has no migration" } else { "" })]
    VersionMismatch {
        /// Name of the state.
        state: String,
        /// Version of the stored values.
        stored: u32,
        /// Version of the definition.
        current: u32,
    },
    /// A definition contradicts itself or another use of its name.
    #[error("state {state:?}: {reason}")]
    InvalidDefinition {
        /// Name of the state.
        state: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Options that cannot work.
    #[error("invalid option: {0}")]
    InvalidOptions(String),
    /// No state of this name is registered or restored.
    #[error("unknown state {0:?}")]
    UnknownState(String),
    /// A handle was used with a store that did not issue it.
    #[error("the handle was issued by another store")]
    ForeignHandle,
    /// A key of a group that another subtask owns.
    #[error("{group} is not in {range}, the key groups of this store")]
    KeyGroupOutOfRange {
        /// Group of the key.
        group: KeyGroup,
        /// Groups of the store.
        range: KeyGroupRange,
    },
    /// One value is larger than the store allows.
    #[error(
        "a value of state {state:?} under a key of {key_bytes} bytes takes {value_bytes} bytes, \
         more than the {limit_bytes} allowed for one value"
    )]
    ValueTooLarge {
        /// Name of the state.
        state: String,
        /// Encoded size of its key.
        key_bytes: u64,
        /// Size of the value.
        value_bytes: u64,
        /// Largest size allowed.
        limit_bytes: u64,
    },
    /// The store is full and its backend cannot take state out of memory.
    #[error(
        "state {state:?} needs {needed_bytes} bytes more for a key of {key_bytes} bytes, but \
         {used_bytes} of {budget_bytes} are in use and the backend keeps all state in memory"
    )]
    BudgetExceeded {
        /// Name of the state being written.
        state: String,
        /// Encoded size of the key being written.
        key_bytes: u64,
        /// Bytes the write would have added.
        needed_bytes: u64,
        /// Bytes in use.
        used_bytes: u64,
        /// Bytes allowed.
        budget_bytes: u64,
    },
    /// A value could not be encoded.
    #[error("cannot encode a value of state {state:?}: {reason}")]
    Encode {
        /// Name of the state.
        state: String,
        /// What the codec said.
        reason: String,
    },
    /// Stored bytes are not what they should be.
    #[error("corrupted {what}: {reason}")]
    Corrupted {
        /// What holds the bytes: a state, a file, a record.
        what: String,
        /// What is wrong with them.
        reason: String,
    },
    /// A snapshot with this id was begun already and is neither acknowledged nor abandoned.
    #[error("snapshot {0} was begun already")]
    SnapshotExists(u64),
    /// No snapshot of this id is pending.
    #[error("no snapshot {0} is pending")]
    UnknownSnapshot(u64),
    /// The snapshot is still being written and cannot be acknowledged.
    #[error("snapshot {0} is not written out yet")]
    SnapshotRunning(u64),
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried, as a verb: `open`, `append to`, `sync`.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// An earlier failure left the backend in a state that only a restore can mend.
    #[error("the backend stopped after an earlier failure: {reason}")]
    Poisoned {
        /// The earlier failure.
        reason: String,
    },
    /// The database beneath refused.
    #[error("{backend} failed to {action}")]
    Backend {
        /// Name of the backend.
        backend: &'static str,
        /// What was tried, as a verb.
        action: &'static str,
        /// What it said.
        #[source]
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// Stored bytes are damaged: restore from a checkpoint, a retry will not help.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::Corrupted { .. })
    }

    /// The disk is full: what was written stays readable, and writing works again once there is
    /// space.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }

    /// Shorthand for [`Error::Corrupted`].
    #[must_use]
    pub fn corrupted(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Corrupted {
            what: what.into(),
            reason: reason.into(),
        }
    }

    /// Shorthand for [`Error::Io`].
    #[must_use]
    pub fn io(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}
