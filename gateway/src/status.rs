//! The only file that turns an error into a status.

use crate::{
    error::{Error, chain},
    proto::v1::FieldViolation,
};
use std::{collections::HashMap, time::Duration};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The domain in `google.rpc.ErrorInfo`.
const DOMAIN: &str = "weir";

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let text = chain(&error);
        match error {
            Error::SequenceGap {
                producer,
                expected,
                got,
            } => {
                let metadata = HashMap::from([
                    ("producer".to_owned(), producer),
                    ("expected_sequence".to_owned(), expected.to_string()),
                    ("got_sequence".to_owned(), got.to_string()),
                ]);
                with_reason(Code::FailedPrecondition, text, "SEQUENCE_GAP", metadata)
            }
            Error::LogFull { .. } => later(Code::ResourceExhausted, text, Duration::from_secs(5)),
            Error::ShuttingDown => later(Code::Unavailable, text, Duration::from_secs(1)),
            Error::LogStopped(_) | Error::Unreachable { .. } | Error::Transport(_) => {
                Self::unavailable(text)
            }
            Error::Recsys(recsys::Error::Invalid { field, problem }) => invalid(
                text,
                vec![FieldViolation {
                    field: field.to_owned(),
                    description: problem,
                }],
            ),
            Error::Recsys(_) => Self::invalid_argument(text),
            Error::LogPosition { .. } => Self::out_of_range(text),
            Error::LogCorrupted { .. } => Self::data_loss(text),
            Error::Job(_) | Error::Checkpoint(_) | Error::ShutdownDeadline(_) => {
                Self::unavailable(text)
            }
            Error::Config(_) | Error::Start(_) | Error::Io { .. } | Error::Locked { .. } => {
                Self::internal(text)
            }
            Error::Refused(status) => *status,
        }
    }
}

/// INVALID_ARGUMENT with a `google.rpc.BadRequest`.
pub(crate) fn invalid(message: impl Into<String>, violations: Vec<FieldViolation>) -> Status {
    let mut details = ErrorDetails::new();
    // A status travels in headers, which are limited to some kilobytes.
    for violation in violations.into_iter().take(20) {
        details.add_bad_request_violation(violation.field, violation.description);
    }
    Status::with_error_details(Code::InvalidArgument, message, details)
}

/// INVALID_ARGUMENT for one field.
pub(crate) fn invalid_field(field: &str, description: impl Into<String>) -> Status {
    let description = description.into();
    invalid(
        format!("{field}: {description}"),
        vec![FieldViolation {
            field: field.to_owned(),
            description,
        }],
    )
}

/// A status with a `google.rpc.RetryInfo`.
pub(crate) fn later(code: Code, message: impl Into<String>, after: Duration) -> Status {
    Status::with_error_details(code, message, ErrorDetails::with_retry_info(Some(after)))
}

fn with_reason(
    code: Code,
    message: String,
    reason: &str,
    metadata: HashMap<String, String>,
) -> Status {
    let details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
    Status::with_error_details(code, message, details)
}
