//! The next manifest, from the previous one and what the shards wrote.

use crate::compact::Compaction;
use crate::ids::{CheckpointId, OperatorUid, WriterEpoch};
use crate::manifest::{
    CheckpointStats, FORMAT_VERSION, FileRef, Manifest, ManifestKind, OperatorSnapshot,
    SplitPosition, SubtaskSnapshot,
};
use state_backend::{KeyGroup, KeyGroupRange, StateCatalog};
use std::collections::BTreeMap;

/// What a shard writes at a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteKind {
    /// What changed since the last acknowledged checkpoint.
    Delta,
    /// Everything: what earlier checkpoints hold of these key groups no longer counts.
    Full,
}

/// What one shard wrote for one checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardFiles {
    /// Delta or everything.
    pub kind: WriteKind,
    /// The key groups the shard owns.
    pub groups: KeyGroupRange,
    /// Its files, in the order in which they apply.
    pub files: Vec<FileRef>,
}

impl ShardFiles {
    /// Rows in all its files, deletions included.
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|file| file.rows).sum()
    }

    /// Bytes of all its files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// One operator's part in a checkpoint.
#[derive(Debug, Clone)]
pub struct OperatorUpdate {
    /// Its stable name.
    pub uid: OperatorUid,
    /// Number of its subtasks.
    pub parallelism: u16,
    /// Number of its key groups.
    pub max_parallelism: u16,
    /// Its keyed states.
    pub catalog: StateCatalog,
    /// What its shards wrote, one entry a shard.
    pub shards: Vec<ShardFiles>,
    /// What its subtasks keep besides, by subtask.
    pub subtasks: Vec<SubtaskSnapshot>,
}

impl OperatorUpdate {
    /// An operator without any state yet.
    pub fn new(uid: OperatorUid, parallelism: u16, max_parallelism: u16) -> Self {
        Self {
            uid,
            parallelism,
            max_parallelism,
            catalog: StateCatalog::default(),
            shards: Vec::new(),
            subtasks: Vec::new(),
        }
    }

    /// Names its keyed states.
    #[must_use]
    pub fn with_catalog(mut self, catalog: StateCatalog) -> Self {
        self.catalog = catalog;
        self
    }

    /// Adds what one shard wrote.
    #[must_use]
    pub fn with_shard(mut self, files: ShardFiles) -> Self {
        self.shards.push(files);
        self
    }

    /// Adds what the next subtask keeps besides keyed state.
    #[must_use]
    pub fn with_subtask(mut self, subtask: SubtaskSnapshot) -> Self {
        self.subtasks.push(subtask);
        self
    }
}

/// A manifest in the making.
///
/// Operators that are not added are not in the checkpoint, so an operator removed from a job is
/// removed from its checkpoints.
#[derive(Debug)]
pub struct ManifestDraft<'a> {
    manifest: Manifest,
    previous: Option<&'a Manifest>,
    compaction: Option<&'a Compaction>,
}

impl<'a> ManifestDraft<'a> {
    /// A checkpoint that adds to `previous`, the newest one committed or the one restored from.
    ///
    /// Without `previous` all shards must write [`WriteKind::Full`]. That is also the case after a
    /// restore from a savepoint or from another directory, whose files are not this store's.
    pub fn new(id: CheckpointId, created_ms: i64, previous: Option<&'a Manifest>) -> Self {
        let previous = previous.filter(|manifest| manifest.kind == ManifestKind::Checkpoint);
        Self {
            manifest: Manifest {
                format_version: FORMAT_VERSION,
                id,
                writer: WriterEpoch::default(),
                kind: ManifestKind::Checkpoint,
                created_ms,
                parent: previous.map(|manifest| manifest.id),
                operators: Vec::new(),
                sources: BTreeMap::new(),
                properties: BTreeMap::new(),
                stats: CheckpointStats::default(),
                base: crate::ids::BlobPath::root(),
            },
            previous,
            compaction: None,
        }
    }

    /// Puts compacted files in the place of their inputs, where these are still in use.
    #[must_use]
    pub fn with_compaction(mut self, compaction: &'a Compaction) -> Self {
        self.compaction = Some(compaction);
        self
    }

    /// Adds an operator: its previous files, less what full writes replace, plus the new ones.
    #[must_use]
    pub fn with_operator(mut self, update: OperatorUpdate) -> Self {
        let before = self
            .previous
            .and_then(|manifest| manifest.operator(&update.uid));
        let mut chain = before.map_or_else(Vec::new, |operator| operator.chain.clone());
        for shard in &update.shards {
            if shard.kind == WriteKind::Full {
                chain = chain
                    .into_iter()
                    .flat_map(|file| without(file, shard.groups))
                    .collect();
            }
            self.manifest.stats.rows_written += shard.rows();
            self.manifest.stats.bytes_written += shard.bytes();
        }
        for shard in update.shards {
            chain.extend(shard.files);
        }
        self.manifest.operators.push(OperatorSnapshot {
            uid: update.uid,
            parallelism: update.parallelism,
            max_parallelism: update.max_parallelism,
            catalog: update.catalog,
            chain,
            subtasks: update.subtasks,
        });
        self
    }

    /// Adds the positions of a source.
    #[must_use]
    pub fn with_source(mut self, uid: impl Into<String>, splits: Vec<SplitPosition>) -> Self {
        self.manifest.sources.insert(uid.into(), splits);
        self
    }

    /// Adds a property.
    #[must_use]
    pub fn with_property(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.manifest.properties.insert(name.into(), value.into());
        self
    }

    /// Says how long it took, in all and by phase.
    #[must_use]
    pub fn with_timings(mut self, duration_ms: u64, phases_ms: BTreeMap<String, u64>) -> Self {
        self.manifest.stats.duration_ms = duration_ms;
        self.manifest.stats.phases_ms = phases_ms;
        self
    }

    /// The manifest, to be handed to [`CheckpointStore::commit`](crate::CheckpointStore::commit).
    #[must_use]
    pub fn build(mut self) -> Manifest {
        if let Some(compaction) = self.compaction {
            self.manifest.apply_compaction(compaction);
        }
        self.manifest.recount();
        self.manifest
    }
}

impl Manifest {
    /// Sums up the sizes of the files anew. A file named twice, for two ranges, counts once.
    pub(crate) fn recount(&mut self) {
        let files: BTreeMap<_, _> = self
            .files()
            .map(|(_, file)| (&file.path, file.bytes))
            .collect();
        self.stats.bytes_total = files.values().sum();
    }
}

/// The file without some key groups: in no, one or two parts.
fn without(file: FileRef, groups: KeyGroupRange) -> Vec<FileRef> {
    if !file.groups.intersects(groups) {
        return vec![file];
    }
    let part = |start: u16, end: u16| {
        let groups = KeyGroupRange::new(KeyGroup::new(start), KeyGroup::new(end)).ok()?;
        Some(FileRef {
            groups,
            ..file.clone()
        })
    };
    let (start, end) = (groups.start().get(), groups.end().get());
    let below = start
        .checked_sub(1)
        .and_then(|end| part(file.groups.start().get(), end));
    let above = end
        .checked_add(1)
        .and_then(|start| part(start, file.groups.end().get()));
    below.into_iter().chain(above).collect()
}
