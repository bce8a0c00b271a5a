//! Removing what no checkpoint needs.

use crate::blob::BlobInfo;
use crate::error::{Error, Result};
use crate::protocol::{self, GcPlan, Observed, Retention};
use crate::store::CheckpointStore;
use std::collections::BTreeMap;

/// Whether a garbage collection acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GcMode {
    /// Says what it would remove.
    DryRun,
    /// Removes it.
    Delete,
}

/// What a garbage collection found and did.
#[derive(Debug, Clone, Default)]
pub struct GcReport {
    /// What was decided.
    pub plan: GcPlan,
    /// Blobs removed (in a dry run: that would have been).
    pub removed: u64,
    /// Their size.
    pub removed_bytes: u64,
    /// Blobs that could not be removed, and why; the next collection tries again.
    pub failures: Vec<(BlobInfo, String)>,
}

impl CheckpointStore {
    /// Removes superfluous checkpoints, and files that no checkpoint names (mark and sweep).
    ///
    /// Safe beside a running writer, also from another process: see
    /// [`plan_gc`](crate::protocol::plan_gc). Manifests go first, so that a crash in the middle
    /// leaves garbage, never a checkpoint with holes. Savepoints are not touched.
    ///
    /// # Errors
    /// [`Error::Blob`] when something cannot be listed or read. [`Error::UnsupportedVersion`],
    /// removing nothing, when a manifest is of a newer format: it is unknown what it needs.
    pub fn collect_garbage(&self, retention: &Retention, mode: GcMode) -> Result<GcReport> {
        // The order matters: files first, then the manifests that may name them.
        let mut listing = self.listing()?;
        let mut manifests = BTreeMap::new();
        for checkpoint in protocol::published(&self.listing()?) {
            let path = protocol::manifest_path(checkpoint);
            let Some(document) = self.blobs.get(&path)? else {
                continue;
            };
            let observed = match self.decode_twice(&path, &document) {
                Ok(manifest) => {
                    // Written since the listing: its files are sound, and are not in there.
                    let new = listing
                        .binary_search_by(|blob| blob.path.cmp(&path))
                        .is_err();
                    if new {
                        listing.extend(manifest.files().map(|(_, file)| BlobInfo {
                            path: manifest.locate(file),
                            size: file.bytes,
                        }));
                    }
                    Observed::Manifest(Box::new(manifest))
                }
                Err(Error::Corrupted { what, .. }) => Observed::Damaged(what),
                Err(error) => return Err(error),
            };
            manifests.insert(checkpoint, observed);
        }
        listing.sort_unstable();
        listing.dedup_by(|a, b| a.path == b.path);
        let plan = protocol::plan_gc(&listing, &manifests, retention);
        let mut report = GcReport::default();
        let is_manifest =
            |blob: &&BlobInfo| matches!(protocol::role(&blob.path), protocol::Role::Manifest(_));
        let manifests_first = plan
            .garbage
            .iter()
            .filter(is_manifest)
            .chain(plan.garbage.iter().filter(|blob| !is_manifest(blob)));
        let mut manifest_left = false;
        for blob in manifests_first {
            // As long as a manifest stands, its files must.
            if manifest_left && !is_manifest(&blob) {
                break;
            }
            let removed = match mode {
                GcMode::DryRun => Ok(()),
                GcMode::Delete => self.blobs.delete(&blob.path),
            };
            match removed {
                Ok(()) => {
                    report.removed += 1;
                    report.removed_bytes += blob.size;
                }
                Err(error) => {
                    manifest_left |= is_manifest(&blob);
                    report.failures.push((blob.clone(), error.to_string()));
                }
            }
        }
        report.plan = plan;
        Ok(report)
    }
}
