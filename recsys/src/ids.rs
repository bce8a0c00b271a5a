use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The longest id accepted, in bytes.
pub const MAX_ID_BYTES: usize = 256;

fn checked(field: &'static str, id: String) -> Result<Box<str>> {
    if id.is_empty() {
        return Err(Error::invalid(field, "must not be empty"));
    }
    if id.len() > MAX_ID_BYTES {
        return Err(Error::invalid(
            field,
            format!(
                "{} bytes long, at most {MAX_ID_BYTES} are allowed",
                id.len()
            ),
        ));
    }
    if id.chars().any(char::is_control) {
        return Err(Error::invalid(field, "must not contain control characters"));
    }
    Ok(id.into_boxed_str())
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        ///
        /// An opaque string of 1 to [`MAX_ID_BYTES`] bytes without control characters.
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Box<str>);

        impl $name {
            /// Checks and takes the id.
            ///
            /// # Errors
            /// [`Error::Invalid`] when it is empty, too long or has control characters.
            pub fn new(id: impl Into<String>) -> Result<Self> {
                checked($field, id.into()).map(Self)
            }

            /// The id as it came in.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = Error;
            fn try_from(id: String) -> Result<Self> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0.into_string()
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// Who acted.
    UserId,
    "user_id"
);
id!(
    /// What was acted upon.
    ItemId,
    "item_id"
);
id!(
    /// The visit an event belongs to.
    SessionId,
    "session_id"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_checked() {
        assert_eq!(UserId::new("u1").unwrap().as_str(), "u1");
        assert!(UserId::new("").unwrap_err().to_string().contains("user_id"));
        assert!(ItemId::new("x".repeat(257)).is_err());
        assert!(SessionId::new("a\nb").is_err());
        assert!(serde_json::from_str::<ItemId>("\"\"").is_err());
    }
}
