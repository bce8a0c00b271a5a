//! Parquet checkpoints of evolving keyed state: small, verified, readable by any tool.
//!
//! ```
//! use checkpoint_store::*;
//! use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<()> {
//! let store = CheckpointStore::open(Arc::new(MemoryBlobs::new()), StoreOptions::default())?;
//! let (operator, groups) = (OperatorUid::new("counts")?, KeyGroupRange::all(MaxParallelism::DEFAULT));
//!
//! // Each shard writes its rows, in any order; the manifest publishes them all at once.
//! let id = store.latest()?.next_id;
//! let mut shard = store.shard_writer(id, &operator, 0, groups, WriteKind::Full)?;
//! shard.put("clicks", KeyGroup::new(7), b"ada", Some(b"42"))?;
//! let update = OperatorUpdate::new(operator.clone(), 1, 128).with_shard(shard.finish()?);
//! store.commit(ManifestDraft::new(id, 0, None).with_operator(update).build())?;
//!
//! // After a crash: the newest checkpoint that is whole, and what was wrong with newer ones.
//! let latest = store.latest()?;
//! let manifest = latest.manifest.expect("it was committed");
//! let rows = store.for_each_row(&manifest, &operator, "clicks", groups, |group, key, value| {
//!     assert_eq!((group.get(), key, value), (7, &b"ada"[..], &b"42"[..]));
//!     Ok::<_, Error>(())
//! })?;
//! assert_eq!(rows, 1);
//! # Ok(())
//! # }
//! ```
//!
//! # The parts
//! * [`CheckpointStore`]: publishes checkpoints, finds the latest one, restores, compacts,
//!   collects garbage. Everything it decides is in [`protocol`], as pure functions.
//! * [`ShardWriter`] takes rows and writes sorted Parquet files; [`ManifestDraft`] makes the next
//!   [`Manifest`] out of the previous one and what the shards wrote.
//! * [`TableCheckpoints`]: all of that in three calls, for an application with tables of its own.
//! * [`SavepointWriter`]: a savepoint, complete in one directory, to keep and move.
//! * [`BlobStore`]: where bytes lie. [`LocalBlobs`] (files, synced), [`MemoryBlobs`] and, as a
//!   feature, object stores; anything else that keeps its contract, which `conformance` checks.
//!
//! # What it is not
//! It takes no snapshot of anything: a state store (`state-backend`), or the application, says
//! what changed. It reads no clock, and starts no threads but those
//! of a [`Compactor`] and of files that are being written. It is no general table format: one
//! writer at a time, which is enforced.
//!
//! # Features
//! * `conformance`: the suite that every blob store must pass.
//! * `object-store`: `ObjectBlobs`, over any store of the crate `object_store`.
//! * `s3`: S3 and what speaks its protocol, by URL.
//! * `testing`: a blob store that fails as planned, and a disk that loses what was not synced.

#![forbid(unsafe_code)]

pub mod blob;
mod checksum;
mod compact;
mod compactor;
#[cfg(feature = "conformance")]
pub mod conformance;
mod draft;
mod error;
#[cfg(feature = "testing")]
pub mod fault;
mod gc;
mod ids;
mod inspect;
mod manifest;
mod merge;
mod operator_rows;
mod parquet;
pub mod protocol;
mod restore;
mod rows;
mod savepoint;
mod shard;
mod store;
mod tables;
mod typed;
mod upload;

#[cfg(feature = "object-store")]
pub use blob::ObjectBlobs;
pub use blob::{
    Access, BlobInfo, BlobStore, LocalBlobs, MemoryBlobs, PutMode, PutOutcome, open_place,
};
pub use checksum::Crc32;
pub use compact::Compaction;
pub use compactor::Compactor;
pub use draft::{ManifestDraft, OperatorUpdate, ShardFiles, WriteKind};
pub use error::{Error, Result, Retry, Source};
pub use gc::{GcMode, GcReport};
pub use ids::{BlobPath, CheckpointId, OperatorUid, WriterEpoch};
pub use inspect::{
    ExpectedOperator, Finding, Severity, StateDiff, StateSummary, check_restore, diff,
};
pub use manifest::{
    CheckpointStats, FORMAT_VERSION, FileRef, Item, Manifest, ManifestKind, OperatorSnapshot,
    OperatorStateEntry, SplitPosition, SubtaskSnapshot,
};
pub use operator_rows::OperatorRows;
pub use parquet::schema;
pub use protocol::{CheckpointRef, CompactionPolicy, Damage, PassedOver, Retention};
pub use restore::{RestoreProgress, Restored, StateBatches};
pub use savepoint::SavepointWriter;
pub use shard::ShardWriter;
pub use store::{
    CheckpointStore, CommitOutcome, Latest, Listed, Location, Published, StoreOptions,
};
pub use tables::{TableCheckpoints, TableRow, TableRows};
pub use typed::{Exported, KeyDecoder, KeyParts, StateDecoder, ValueColumn};
