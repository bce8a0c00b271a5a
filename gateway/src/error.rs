use std::path::PathBuf;

/// What can go wrong in the gateway.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration makes no sense.
    #[error("configuration: {0}")]
    Config(String),
    /// A file or directory could not be used.
    #[error("{path}: cannot {action}")]
    Io {
        /// What was to be done, as in "cannot open".
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process uses the data directory.
    #[error("{path} is in use by another process{}", holder.as_ref().map_or_else(String::new, |id| format!(" (id {id})")))]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, where it could be read.
        holder: Option<String>,
    },
    /// Bytes of the ingest log are not those that were written.
    #[error("ingest log segment {segment} is damaged at byte {byte}: {problem}")]
    LogCorrupted {
        /// File name of the segment.
        segment: String,
        /// Where in the file.
        byte: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// The position was trimmed, or never written.
    #[error("the ingest log holds positions {first} to {end}, not {requested}")]
    LogPosition {
        /// What was asked for.
        requested: u64,
        /// First position held.
        first: u64,
        /// First position not yet written.
        end: u64,
    },
    /// Nothing was taken: the disk has no room. Taken events are safe, and later ones are taken when
    /// there is space again.
    #[error("the disk of the ingest log is full")]
    LogFull {
        /// As the system reported it.
        #[source]
        source: std::io::Error,
    },
    /// The log takes nothing any more: what a failed fsync left on disk is unknown, so only a restart,
    /// which reads it back, can tell.
    #[error("the ingest log stopped after an error ({0}); restart the gateway")]
    LogStopped(String),
    /// The orderly end was given up: a checkpoint storage that does not answer, say.
    #[error(
        "the orderly end took longer than shutdown_deadline ({0:?}); the next start goes on from the log"
    )]
    ShutdownDeadline(std::time::Duration),
    /// A producer left out sequence numbers.
    #[error("producer {producer}: sequence number {expected} expected, got {got}")]
    SequenceGap {
        /// Who.
        producer: String,
        /// The next number.
        expected: u64,
        /// What came.
        got: u64,
    },
    /// The gateway is stopping.
    #[error("the gateway is shutting down")]
    ShuttingDown,
    /// The stream job failed.
    #[error("the job failed")]
    Job(#[from] operators::Error),
    /// The stream job did not come up: at a start nobody waits for it to try again.
    #[error("the job does not start: {0}")]
    Start(String),
    /// A checkpoint could not be read or written.
    #[error("checkpoints failed")]
    Checkpoint(#[from] checkpoint_store::Error),
    /// An event or item is not valid.
    #[error(transparent)]
    Recsys(#[from] recsys::Error),
    /// The listening address or a connection failed.
    #[error("network")]
    Transport(#[from] tonic::transport::Error),
    /// The gateway at the other end refused.
    #[error("the gateway answered {}: {}", .0.code(), .0.message())]
    Refused(Box<tonic::Status>),
    /// No gateway could be reached for so long that the client gave up.
    #[error("no gateway at {address} for {waited_ms} ms: {last}")]
    Unreachable {
        /// Where.
        address: String,
        /// How long was tried.
        waited_ms: u64,
        /// The last reason.
        last: String,
    },
}

impl Error {
    pub(crate) fn io(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io {
            action,
            path,
            source,
        }
    }

    /// Whether sending the same again later can succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::LogFull { .. } | Self::ShuttingDown | Self::Unreachable { .. } => true,
            Self::Transport(_) | Self::LogStopped(_) => true,
            Self::Refused(status) => is_transient(status),
            _ => false,
        }
    }

    /// Whether bytes on disk are not those that were written.
    pub fn is_corruption(&self) -> bool {
        matches!(self, Self::LogCorrupted { .. })
    }
}

/// Whether a status says "not now" rather than "not this".
pub(crate) fn is_transient(status: &tonic::Status) -> bool {
    use tonic::Code;
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Aborted
            | Code::Cancelled
            | Code::Unknown
            | Code::Internal
            | Code::DeadlineExceeded
    )
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Self {
        Self::Refused(Box::new(status))
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error with its causes, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text.push_str(": ");
            text.push_str(&inner_text);
        }
        cause = inner.source();
    }
    text
}
