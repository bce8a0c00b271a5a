//! What can go wrong.

use crate::Timestamp;
use std::fmt;

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a specification or an element was refused.
///
/// Nothing here is transient: the same input is refused again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A specification that cannot be: a window of size 0, an offset past the slide.
    Invalid {
        /// The part at fault, such as `size` or `offset`.
        what: &'static str,
        /// What it must satisfy.
        must: &'static str,
        /// The value given, in milliseconds or units.
        value: i64,
    },
    /// More windows would hold one element than an implementation takes on.
    TooManyWindows {
        /// How many.
        windows: i64,
        /// How many are allowed.
        limit: i64,
    },
    /// An event-time assigner met an element without a timestamp ([`Timestamp::MIN`]).
    MissingTimestamp,
    /// The gap computed for an element's session is not positive.
    InvalidGap {
        /// The gap in milliseconds.
        gap_ms: i64,
    },
    /// A merged session would end, lateness included, at or before the current time of its domain.
    MergedWindowInPast {
        /// The last instant of the merged window.
        max_timestamp: Timestamp,
        /// The current watermark or clock.
        now: Timestamp,
    },
    /// An output of a multiplexer, or an input of a merge, that is not (or is already) there.
    UnknownInput {
        /// Its name or number as text.
        id: String,
        /// What is the matter with it.
        problem: &'static str,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { what, must, value } => {
                write!(f, "{what} must {must}, got {value}")
            }
            Self::TooManyWindows { windows, limit } => {
                write!(
                    f,
                    "an element would be in {windows} windows, the limit is {limit}"
                )
            }
            Self::MissingTimestamp => {
                f.write_str("the element has no timestamp; assign timestamps before windows")
            }
            Self::InvalidGap { gap_ms } => {
                write!(f, "a session gap must be positive, got {gap_ms} ms")
            }
            Self::MergedWindowInPast { max_timestamp, now } => write!(
                f,
                "merging would give a session that ends at {max_timestamp}, behind the current time {now}"
            ),
            Self::UnknownInput { id, problem } => write!(f, "input {id} {problem}"),
        }
    }
}

impl std::error::Error for Error {}
