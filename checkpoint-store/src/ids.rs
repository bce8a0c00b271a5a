//! Names: checkpoints, writers, operators, blobs.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Number of a checkpoint. Ascends over the life of a directory and is never used twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct CheckpointId(u64);

impl CheckpointId {
    /// The checkpoint with this number.
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The number after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a writer of a directory. Whoever opens it for writing takes the next one, which
/// fences off all before it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct WriterEpoch(u64);

impl WriterEpoch {
    /// The writer with this number.
    pub const fn new(epoch: u64) -> Self {
        Self(epoch)
    }

    /// Its number.
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for WriterEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The stable name of an operator, by which its state is found again after a restart or an
/// upgrade (Flink's `uid`). Any text of 1 to 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OperatorUid(String);

impl OperatorUid {
    /// The operator of this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the name is empty or longer than 200 bytes.
    pub fn new(uid: impl Into<String>) -> Result<Self> {
        let uid = uid.into();
        if uid.is_empty() || uid.len() > 200 {
            return Err(Error::invalid("operator uid", uid, "needs 1 to 200 bytes"));
        }
        Ok(Self(uid))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for OperatorUid {
    type Error = Error;
    fn try_from(uid: String) -> Result<Self> {
        Self::new(uid)
    }
}

impl From<OperatorUid> for String {
    fn from(uid: OperatorUid) -> Self {
        uid.0
    }
}

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a blob lies: segments joined by `/`, relative to the root of its store.
///
/// A segment is made of letters, digits and `_ - = % .`, and does not begin with a dot, so that a
/// path means the same on every file system and object store, cannot leave the root and never
/// collides with the temporary files of a store. The empty path is the root itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobPath(String);

impl BlobPath {
    /// The root.
    pub const fn root() -> Self {
        Self(String::new())
    }

    /// Checks a path.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a segment is empty, begins with a dot, exceeds 255 bytes or has
    /// other characters, or the whole exceeds 900 bytes.
    pub fn new(path: impl Into<String>) -> Result<Self> {
        let path = path.into();
        let fault = if path.len() > 900 {
            Some("it is longer than 900 bytes")
        } else if path.is_empty() {
            None
        } else {
            path.split('/').find_map(segment_fault)
        };
        match fault {
            None => Ok(Self(path)),
            Some(reason) => Err(Error::invalid("blob path", path, reason)),
        }
    }

    /// The path of `name`, any text, below this one: characters that paths do not allow are
    /// written as `%` and two hexadecimal digits a byte, and what exceeds 120 bytes is cut.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        let mut segment = String::with_capacity(name.len());
        for (at, byte) in name.bytes().enumerate() {
            let plain = byte.is_ascii_alphanumeric()
                || matches!(byte, b'_' | b'-' | b'=')
                || (byte == b'.' && at > 0);
            if segment.len() >= 120 {
                break;
            }
            if plain {
                segment.push(char::from(byte));
            } else {
                segment.push_str(&format!("%{byte:02X}"));
            }
        }
        if segment.is_empty() {
            segment.push('%');
        }
        if self.0.is_empty() {
            Self(segment)
        } else {
            Self(format!("{}/{segment}", self.0))
        }
    }

    /// This path seen from `base`: the two joined.
    #[must_use]
    pub fn below(&self, base: &Self) -> Self {
        match (base.0.is_empty(), self.0.is_empty()) {
            (true, _) => self.clone(),
            (_, true) => base.clone(),
            _ => Self(format!("{}/{}", base.0, self.0)),
        }
    }

    /// What remains of this path after `base`, if it lies below it.
    pub fn relative_to(&self, base: &Self) -> Option<Self> {
        if base.0.is_empty() {
            return Some(self.clone());
        }
        let rest = self.0.strip_prefix(&base.0)?;
        if rest.is_empty() {
            return Some(Self::root());
        }
        rest.strip_prefix('/').map(|rest| Self(rest.to_owned()))
    }

    /// The path without its last segment.
    pub(crate) fn parent(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(parent, _)| parent)
    }

    /// Whether this path is `base` or lies below it.
    pub fn is_below(&self, base: &Self) -> bool {
        self.relative_to(base).is_some()
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its segments; none for the root.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|segment| !segment.is_empty())
    }
}

fn segment_fault(segment: &str) -> Option<&'static str> {
    if segment.is_empty() {
        return Some("a segment is empty");
    }
    if segment.len() > 255 {
        return Some("a segment is longer than 255 bytes");
    }
    if segment.starts_with('.') {
        return Some("a segment begins with a dot");
    }
    let allowed =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'=' | b'%' | b'.');
    if segment.bytes().all(allowed) {
        None
    } else {
        Some("only letters, digits and _ - = % . are allowed")
    }
}

impl TryFrom<String> for BlobPath {
    type Error = Error;
    fn try_from(path: String) -> Result<Self> {
        Self::new(path)
    }
}

impl FromStr for BlobPath {
    type Err = Error;
    fn from_str(path: &str) -> Result<Self> {
        Self::new(path)
    }
}

impl From<BlobPath> for String {
    fn from(path: BlobPath) -> Self {
        path.0
    }
}

impl fmt::Display for BlobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_cannot_leave_the_root() {
        for bad in [
            "..", "a/../b", "/a", "a//b", "a/", ".a", "a/.tmp", "a b", "ä", "a\\b", "a:b",
        ] {
            assert!(BlobPath::new(bad).is_err(), "{bad:?}");
        }
        for good in ["", "a", "a/b", "0-1/x.parquet", "a=1/b%20"] {
            assert_eq!(BlobPath::new(good).unwrap().as_str(), good);
        }
    }

    #[test]
    fn any_name_becomes_one_valid_segment() {
        let long = "x".repeat(500);
        for name in [
            "",
            ".",
            "..",
            "a/b",
            "user profile",
            "ü",
            ".hidden",
            long.as_str(),
        ] {
            let joined = BlobPath::root().join("base").join(name);
            assert_eq!(BlobPath::new(joined.as_str()).unwrap(), joined);
            assert_eq!(joined.segments().count(), 2, "{joined}");
        }
        assert_eq!(BlobPath::root().join("a/b").as_str(), "a%2Fb");
    }

    #[test]
    fn relative_paths_are_by_segment() {
        let path = BlobPath::new("ab/c").unwrap();
        assert_eq!(
            path.relative_to(&BlobPath::new("ab").unwrap())
                .unwrap()
                .as_str(),
            "c"
        );
        assert!(path.relative_to(&BlobPath::new("a").unwrap()).is_none());
        assert_eq!(path.below(&BlobPath::new("x").unwrap()).as_str(), "x/ab/c");
        assert_eq!(path.below(&BlobPath::root()), path);
    }
}
