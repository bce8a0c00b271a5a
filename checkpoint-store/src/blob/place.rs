//! What a path or URL on a command line or in a configuration means.

use super::{BlobStore, LocalBlobs};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;

/// What is to be done with a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read from it: nothing is created, and what is missing is empty.
    Read,
    /// Write to it: a missing directory is created.
    Write,
}

/// Opens a place by its name: `s3://bucket/prefix` (feature `s3`), `file:///directory`, or the path
/// of a directory.
///
/// # Errors
/// [`Error::Invalid`] for a URL of another kind, or one that this build has no feature for;
/// [`Error::Blob`].
pub fn open_place(place: &Path, access: Access) -> Result<Arc<dyn BlobStore>> {
    let dir = match url(place) {
        None => place,
        Some(("file", dir)) if dir.starts_with('/') => Path::new(dir),
        Some(("s3", _)) => return open_s3(place),
        Some((kind, _)) => {
            return Err(Error::invalid(
                "url",
                place.to_string_lossy(),
                format!("{kind}:// is not known; s3://bucket/prefix and file:///directory are"),
            ));
        }
    };
    Ok(match access {
        Access::Read => Arc::new(LocalBlobs::open_existing(dir)?),
        Access::Write => Arc::new(LocalBlobs::open(dir)?),
    })
}

/// The scheme of a URL, and what comes after it; none for a path.
fn url(place: &Path) -> Option<(&str, &str)> {
    let (scheme, rest) = place.to_str()?.split_once("://")?;
    let letters = !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    letters.then_some((scheme, rest))
}

#[cfg(feature = "s3")]
fn open_s3(place: &Path) -> Result<Arc<dyn BlobStore>> {
    let blobs = super::ObjectBlobs::s3(&place.to_string_lossy())?;
    Ok(Arc::new(blobs))
}

#[cfg(not(feature = "s3"))]
fn open_s3(place: &Path) -> Result<Arc<dyn BlobStore>> {
    let reason = "this build has no object stores; build it with the feature `s3`";
    Err(Error::invalid("url", place.to_string_lossy(), reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_urls_are_told_apart() {
        for (place, expected) in [
            ("/a/b", None),
            ("a:/b", None),
            ("./s3://x", None),
            ("s3://bucket/a", Some(("s3", "bucket/a"))),
            ("file:///a", Some(("file", "/a"))),
        ] {
            assert_eq!(url(Path::new(place)), expected, "{place}");
        }
        let unknown = open_place(Path::new("ftp://host/x"), Access::Read);
        assert!(matches!(unknown, Err(Error::Invalid { .. })), "{unknown:?}");
    }

    #[test]
    fn reading_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("missing");
        let blobs = open_place(&below, Access::Read).unwrap();
        assert_eq!(blobs.list(&crate::BlobPath::root()).unwrap(), []);
        assert!(!below.exists());
        open_place(&below, Access::Write).unwrap();
        assert!(below.exists());
    }
}
