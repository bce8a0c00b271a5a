/// What can go wrong in this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of an event, an item or a request is missing or out of bounds.
    #[error("invalid {field}: {problem}")]
    Invalid {
        /// The field, named as in JSON.
        field: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// The state that the records live in failed.
    #[error("state failed")]
    State(#[from] state_backend::Error),
    /// JSON that cannot be read, or that has a field of a wrong type.
    #[error("malformed json")]
    Json(#[from] serde_json::Error),
    /// A file could not be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A line of a file is not what the file's kind demands.
    #[error("{path}, line {line}: {problem}")]
    Line {
        /// The file.
        path: std::path::PathBuf,
        /// Counted from 1, the header included.
        line: u64,
        /// What is wrong with it.
        problem: String,
    },
}

impl Error {
    pub(crate) fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }

    /// True where the caller's data is at fault, so that trying again cannot help.
    pub fn is_invalid_input(&self) -> bool {
        matches!(
            self,
            Self::Invalid { .. } | Self::Json(_) | Self::Line { .. }
        )
    }
}

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
