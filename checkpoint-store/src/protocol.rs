//! The decisions of the checkpoint protocol, as functions of observed facts.
//!
//! Nothing here reads or writes. [`CheckpointStore`](crate::CheckpointStore) observes, asks, acts;
//! what it may conclude is all in this module, and `docs/checkpoint-protocol.md` argues why.

mod compaction;

pub(crate) use compaction::next_pass;
pub use compaction::{CompactionPolicy, plan_compaction};

use crate::blob::BlobInfo;
use crate::ids::{BlobPath, CheckpointId, WriterEpoch};
use crate::manifest::Manifest;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

/// A checkpoint's directory: its number and its writer. Ordered by what counts: the work of a
/// newer writer beats any of an older one, since the older one has been fenced off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CheckpointRef {
    /// Who wrote it.
    pub writer: WriterEpoch,
    /// Its number.
    pub id: CheckpointId,
}

impl CheckpointRef {
    /// The one that a manifest describes.
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            writer: manifest.writer,
            id: manifest.id,
        }
    }
}

impl fmt::Display for CheckpointRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "checkpoint {} of writer {}", self.id, self.writer)
    }
}

/// What a path in the store is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The manifest of a checkpoint.
    Manifest(CheckpointRef),
    /// A file written for a checkpoint.
    Data(CheckpointRef),
    /// A file written by a compaction, the `number`th of its writer.
    Compacted {
        /// Who compacted.
        writer: WriterEpoch,
        /// Which of its compactions.
        number: u64,
    },
    /// The mark by which a writer took over.
    Claim(WriterEpoch),
    /// Not ours.
    Other,
}

/// Directory of the checkpoints.
pub(crate) const CHECKPOINTS: &str = "checkpoints";
/// Directory of the compacted files.
pub(crate) const COMPACTED: &str = "compacted";
/// Directory of the claims.
pub(crate) const WRITERS: &str = "writers";
/// Name of a manifest.
pub(crate) const MANIFEST: &str = "manifest.json";

/// Name of the note that a checkpoint is damaged.
const CONDEMNED: &str = "condemned.txt";

/// Directory of a checkpoint. Names ascend like numbers.
pub fn checkpoint_dir(checkpoint: CheckpointRef) -> BlobPath {
    let CheckpointRef { writer, id } = checkpoint;
    let name = format!("{:010}-w{:06}", id.get(), writer.get());
    BlobPath::root().join(CHECKPOINTS).join(&name)
}

/// Path of a checkpoint's manifest.
pub fn manifest_path(checkpoint: CheckpointRef) -> BlobPath {
    checkpoint_dir(checkpoint).join(MANIFEST)
}

/// Path of the note that a checkpoint was found damaged when it was restored: sizes alone would
/// not show it to those who look later, least of all to a garbage collection that is about to
/// remove the checkpoint before it.
pub fn condemned_path(checkpoint: CheckpointRef) -> BlobPath {
    checkpoint_dir(checkpoint).join(CONDEMNED)
}

/// Path of a writer's claim.
pub fn claim_path(writer: WriterEpoch) -> BlobPath {
    BlobPath::root()
        .join(WRITERS)
        .join(&format!("{:06}", writer.get()))
}

pub(crate) fn compacted_dir(writer: WriterEpoch, number: u64) -> BlobPath {
    let name = format!("{number:06}-w{:06}", writer.get());
    BlobPath::root().join(COMPACTED).join(&name)
}

/// Reads the role of a path from its name.
pub fn role(path: &BlobPath) -> Role {
    let segments: Vec<&str> = path.segments().collect();
    let numbers = |name: &str| {
        let (number, writer) = name.split_once("-w")?;
        Some((number.parse().ok()?, WriterEpoch::new(writer.parse().ok()?)))
    };
    let found = match segments.as_slice() {
        [CHECKPOINTS, dir, rest @ ..] if !rest.is_empty() => numbers(dir).map(|(id, writer)| {
            let checkpoint = CheckpointRef {
                writer,
                id: CheckpointId::new(id),
            };
            match rest {
                [MANIFEST] => Role::Manifest(checkpoint),
                _ => Role::Data(checkpoint),
            }
        }),
        [COMPACTED, dir, rest @ ..] if !rest.is_empty() => {
            numbers(dir).map(|(number, writer)| Role::Compacted { writer, number })
        }
        [WRITERS, name] => name.parse().ok().map(|n| Role::Claim(WriterEpoch::new(n))),
        _ => None,
    };
    found.unwrap_or(Role::Other)
}

/// Why a checkpoint cannot be restored from.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// Its manifest cannot be read.
    Manifest(String),
    /// A file that its manifest names is not there.
    Missing(BlobPath),
    /// A file has not the size that the manifest says.
    Size {
        /// The file.
        path: BlobPath,
        /// What the manifest says.
        expected: u64,
        /// What is there.
        found: u64,
    },
    /// A file has the right size and wrong contents.
    Contents(String),
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(what) | Self::Contents(what) => f.write_str(what),
            Self::Missing(path) => write!(f, "{path} is missing"),
            Self::Size {
                path,
                expected,
                found,
            } => write!(f, "{path} has {found} bytes instead of {expected}"),
        }
    }
}

/// A checkpoint that was not used although it is newer, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PassedOver {
    /// Which one.
    pub checkpoint: CheckpointRef,
    /// Every fault found.
    pub damage: Vec<Damage>,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be used", self.checkpoint)?;
        for (at, damage) in self.damage.iter().enumerate() {
            write!(f, "{} {damage}", if at == 0 { ":" } else { ";" })?;
        }
        Ok(())
    }
}

/// The sizes of all blobs that a listing found.
pub type Sizes = BTreeMap<BlobPath, u64>;

/// Sizes by path.
pub fn sizes(listing: &[BlobInfo]) -> Sizes {
    listing
        .iter()
        .map(|blob| (blob.path.clone(), blob.size))
        .collect()
}

/// Published checkpoints, best first: newest writer, then highest number.
pub fn published(listing: &[BlobInfo]) -> Vec<CheckpointRef> {
    let mut found: Vec<_> = listing
        .iter()
        .filter_map(|blob| match role(&blob.path) {
            Role::Manifest(checkpoint) => Some(checkpoint),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.reverse();
    found
}

/// The lowest number that no checkpoint, finished or not, has used.
pub fn next_id(listing: &[BlobInfo]) -> CheckpointId {
    let used = listing.iter().filter_map(|blob| match role(&blob.path) {
        Role::Manifest(checkpoint) | Role::Data(checkpoint) => Some(checkpoint.id),
        _ => None,
    });
    used.max().map_or(CheckpointId::new(1), CheckpointId::next)
}

/// The newest claim.
pub fn newest_claim(listing: &[BlobInfo]) -> Option<WriterEpoch> {
    let claims = listing.iter().filter_map(|blob| match role(&blob.path) {
        Role::Claim(writer) => Some(writer),
        _ => None,
    });
    claims.max()
}

/// Whether the manifest is that of this directory and all its files are there in full size.
/// An empty list means yes.
pub fn judge(checkpoint: CheckpointRef, manifest: &Manifest, sizes: &Sizes) -> Vec<Damage> {
    let mut damage = Vec::new();
    if CheckpointRef::of(manifest) != checkpoint {
        let found = CheckpointRef::of(manifest);
        damage.push(Damage::Manifest(format!("its manifest is that of {found}")));
    }
    let note = condemned_path(checkpoint);
    if sizes.contains_key(&note) {
        damage.push(Damage::Contents(format!(
            "a restore found it damaged, see {note}"
        )));
    }
    damage.extend(missing_files(manifest, sizes));
    damage
}

/// Files of the manifest that are missing or of another size.
pub fn missing_files(manifest: &Manifest, sizes: &Sizes) -> Vec<Damage> {
    let mut damage = Vec::new();
    let mut seen = BTreeSet::new();
    for (_, file) in manifest.files() {
        let path = manifest.locate(file);
        if !seen.insert(path.clone()) {
            continue;
        }
        match sizes.get(&path) {
            None => damage.push(Damage::Missing(path)),
            Some(&found) if found != file.bytes => damage.push(Damage::Size {
                path,
                expected: file.bytes,
                found,
            }),
            Some(_) => {}
        }
    }
    damage
}

/// Which checkpoints to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    count: usize,
    youngest_removed_ms: Option<i64>,
}

impl Retention {
    /// Keeps the newest `count` restorable checkpoints, at least one.
    pub const fn newest(count: usize) -> Self {
        Self {
            count: if count == 0 { 1 } else { count },
            youngest_removed_ms: None,
        }
    }

    /// Keeps, besides, all that are not older than `age` at `now_ms`.
    #[must_use]
    pub fn and_younger_than(mut self, age: Duration, now_ms: i64) -> Self {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        self.youngest_removed_ms = Some(now_ms.saturating_sub(age));
        self
    }
}

impl Default for Retention {
    /// The newest three.
    fn default() -> Self {
        Self::newest(3)
    }
}

/// What is known of one published checkpoint when garbage is to be collected.
#[derive(Debug, Clone)]
pub enum Observed {
    /// Its manifest was read.
    Manifest(Box<Manifest>),
    /// Its manifest is damaged.
    Damaged(String),
}

/// What to remove, and why the rest stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcPlan {
    /// Checkpoints that stay, best first.
    pub kept: Vec<CheckpointRef>,
    /// Checkpoints that go. Their manifests are removed before any file.
    pub expired: Vec<CheckpointRef>,
    /// Files that no kept checkpoint names and none can come to name.
    pub garbage: Vec<BlobInfo>,
    /// Files that no checkpoint names yet, of a writer that may be at work.
    pub in_progress: Vec<BlobInfo>,
    /// Newer than the newest restorable checkpoint, and damaged: kept for inspection.
    pub damaged: Vec<PassedOver>,
    /// Files that are not ours.
    pub foreign: Vec<BlobPath>,
}

/// Decides what may be deleted.
///
/// The listing must have been taken *before* the manifests were read. Then a file may go if no
/// kept manifest names it and no manifest written later can: it belongs to a fenced writer; or to
/// a checkpoint that is not newer than the newest one committed by the same writer (a commit of it
/// would be refused); or to a compaction before its writer's last.
pub fn plan_gc(
    listing: &[BlobInfo],
    manifests: &BTreeMap<CheckpointRef, Observed>,
    retention: &Retention,
) -> GcPlan {
    let sizes = sizes(listing);
    let writer = newest_claim(listing);
    let mut plan = GcPlan::default();
    let mut marked: BTreeSet<BlobPath> = BTreeSet::new();
    let mut newest_of_writer: BTreeMap<WriterEpoch, CheckpointId> = BTreeMap::new();
    for (&checkpoint, observed) in manifests.iter().rev() {
        let newest = newest_of_writer.entry(checkpoint.writer).or_default();
        *newest = (*newest).max(checkpoint.id);
        let damage = match observed {
            Observed::Damaged(what) => vec![Damage::Manifest(what.clone())],
            Observed::Manifest(manifest) => judge(checkpoint, manifest, &sizes),
        };
        if !damage.is_empty() {
            if plan.kept.is_empty() {
                plan.damaged.push(PassedOver { checkpoint, damage });
                marked.insert(manifest_path(checkpoint));
                marked.insert(condemned_path(checkpoint));
                // What it names is kept with it: perhaps only one file of many is damaged.
                if let Observed::Manifest(manifest) = observed {
                    marked.extend(manifest.files().map(|(_, file)| manifest.locate(file)));
                }
            } else {
                plan.expired.push(checkpoint);
            }
            continue;
        }
        let Observed::Manifest(manifest) = observed else {
            continue;
        };
        let young = retention
            .youngest_removed_ms
            .is_some_and(|limit| manifest.created_ms > limit);
        if plan.kept.len() < retention.count || young {
            plan.kept.push(checkpoint);
            marked.insert(manifest_path(checkpoint));
            marked.extend(manifest.files().map(|(_, file)| manifest.locate(file)));
        } else {
            plan.expired.push(checkpoint);
        }
    }
    let last_compaction = listing
        .iter()
        .filter_map(|blob| match role(&blob.path) {
            Role::Compacted { writer: by, number } if Some(by) == writer => Some(number),
            _ => None,
        })
        .max();
    let damaged_dirs: BTreeSet<CheckpointRef> = plan
        .damaged
        .iter()
        .map(|passed| passed.checkpoint)
        .collect();
    for blob in listing.iter().filter(|blob| !marked.contains(&blob.path)) {
        let fenced = |by: WriterEpoch| Some(by) < writer;
        let dead = match role(&blob.path) {
            Role::Other => {
                plan.foreign.push(blob.path.clone());
                continue;
            }
            Role::Claim(by) => {
                if fenced(by) {
                    plan.garbage.push(blob.clone());
                }
                continue;
            }
            // With its manifest unreadable, the files beside it may be its own.
            Role::Data(checkpoint) if damaged_dirs.contains(&checkpoint) => false,
            Role::Manifest(checkpoint) => plan.expired.contains(&checkpoint),
            Role::Data(CheckpointRef { writer, id }) => {
                fenced(writer)
                    || newest_of_writer
                        .get(&writer)
                        .is_some_and(|newest| id <= *newest)
            }
            Role::Compacted { writer, number } => fenced(writer) || Some(number) < last_compaction,
        };
        if dead {
            plan.garbage.push(blob.clone());
        } else {
            plan.in_progress.push(blob.clone());
        }
    }
    plan
}
