//! Where bytes lie: the one seam of this crate.

mod local;
mod memory;
#[cfg(feature = "object-store")]
mod object;
mod place;
#[cfg(feature = "s3")]
mod s3;

pub use local::LocalBlobs;
#[cfg(any(test, feature = "testing"))]
pub use local::simulated::{CrashPlan, SimulatedDisk};
pub use memory::MemoryBlobs;
#[cfg(feature = "object-store")]
pub use object::ObjectBlobs;
pub use place::{Access, open_place};

use crate::error::Result;
use crate::ids::BlobPath;
use bytes::Bytes;
use std::fmt::Debug;
use std::ops::Range;

/// Named, immutable pieces of bytes: a directory, a bucket, or memory.
///
/// The contract, which [`conformance`](crate::conformance) checks (feature `conformance`):
/// * A blob appears whole or not at all, whatever crashes.
/// * When [`put`](Self::put) has returned, the blob survives a power loss, and every later
///   `get` and `list` sees it (strong consistency, as of S3 since 2020).
/// * [`PutMode::Create`] is linearizable: of any number of writers exactly one creates the blob, and
///   no other sees [`PutOutcome::Written`]. A store that repeats requests by itself may answer even
///   the one with [`PutOutcome::AlreadyExists`], so a caller who needs to know compares contents.
/// * A `put` that returns an error may have happened or not. No other call leaves that open.
///
/// Wrappers forward all methods; there are no defaults to forget.
pub trait BlobStore: Debug + Send + Sync + 'static {
    /// The whole blob; `None` when there is none.
    ///
    /// # Errors
    /// [`Error::Blob`](crate::Error::Blob).
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>>;

    /// The bytes in `range`, cut at the end of the blob; `None` when there is no such blob.
    ///
    /// # Errors
    /// [`Error::Blob`](crate::Error::Blob).
    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>>;

    /// Writes a blob.
    ///
    /// # Errors
    /// [`Error::Blob`](crate::Error::Blob); the blob may have been written all the same.
    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome>;

    /// All blobs below `prefix` (whole segments), at any depth, in ascending order of their path.
    ///
    /// # Errors
    /// [`Error::Blob`](crate::Error::Blob).
    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>>;

    /// Removes a blob. That it is not there is no error.
    ///
    /// # Errors
    /// [`Error::Blob`](crate::Error::Blob).
    fn delete(&self, path: &BlobPath) -> Result<()>;
}

/// What a [`put`](BlobStore::put) does when there is a blob of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PutMode {
    /// Leaves it alone and says so.
    Create,
    /// Replaces it, atomically.
    Overwrite,
}

/// What a [`put`](BlobStore::put) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum PutOutcome {
    /// The blob is there, by this call.
    Written,
    /// [`PutMode::Create`] found a blob of that name and changed nothing.
    AlreadyExists,
}

/// One entry of a [`list`](BlobStore::list).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobInfo {
    /// Which blob.
    pub path: BlobPath,
    /// Its size in bytes.
    pub size: u64,
}
