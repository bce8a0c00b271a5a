//! Shortening chains, off the data path.

use crate::blob::BlobStore;
use crate::error::Result;
use crate::ids::{BlobPath, OperatorUid};
use crate::manifest::{FileRef, Manifest};
use crate::merge::{self, Located, MergedRows, SortedRun};
use crate::parquet::{FileWriter, RowGroupLimits};
use crate::protocol::{self, CompactionPolicy};
use crate::restore::{files_of, states_of};
use crate::store::CheckpointStore;
use crate::typed::StateDecoder;
use crate::upload::Uploads;
use state_backend::KeyGroupRange;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Files that take the place of others: the result of a compaction, to be handed to the next
/// checkpoint with [`ManifestDraft::with_compaction`](crate::ManifestDraft::with_compaction).
///
/// Begin the next compaction only when this one is in a committed checkpoint or given up: the
/// garbage collection takes the files of the last compaction for work in progress, and those of
/// the ones before it, where no checkpoint names them, for garbage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compaction {
    states: Vec<CompactedState>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CompactedState {
    operator: OperatorUid,
    state: String,
    inputs: Vec<FileRef>,
    outputs: Vec<FileRef>,
}

impl Compaction {
    /// Bytes of the files that were read.
    pub fn bytes_read(&self) -> u64 {
        self.states
            .iter()
            .flat_map(|state| &state.inputs)
            .map(|file| file.bytes)
            .sum()
    }

    /// Bytes of the files that were written.
    pub fn bytes_written(&self) -> u64 {
        self.states
            .iter()
            .flat_map(|state| &state.outputs)
            .map(|file| file.bytes)
            .sum()
    }

    /// Number of files before and after.
    pub fn files(&self) -> (usize, usize) {
        let count = |of: fn(&CompactedState) -> usize| self.states.iter().map(of).sum();
        (
            count(|state| state.inputs.len()),
            count(|state| state.outputs.len()),
        )
    }
}

impl Manifest {
    /// Whether some chain is longer than the policy allows.
    pub fn needs_compaction(&self, policy: &CompactionPolicy) -> bool {
        self.operators.iter().any(|operator| {
            states_of(operator).into_iter().any(|state| {
                let files: Vec<&FileRef> = files_of(operator, state).collect();
                protocol::plan_compaction(&files, policy).is_some()
            })
        })
    }

    /// Replaces the inputs of a compaction by its outputs, for each state whose chain still has
    /// all of them: after a restore of an older checkpoint, or a full write of some key groups, it
    /// does not, and keeps what it has. Returns for how many states it did.
    pub(crate) fn apply_compaction(&mut self, compaction: &Compaction) -> usize {
        let mut applied = 0;
        for compacted in &compaction.states {
            let CompactedState {
                operator,
                state,
                inputs,
                outputs,
            } = compacted;
            let Some(operator) = self.operators.iter_mut().find(|o| o.uid == *operator) else {
                continue;
            };
            let chain = &mut operator.chain;
            if !inputs.iter().all(|input| chain.contains(input)) {
                continue;
            }
            chain.retain(|file| file.state != *state || !inputs.contains(file));
            chain.extend(outputs.iter().cloned());
            // Of one state, the outputs are the only files of their checkpoint, and stable order
            // keeps the shards' files of every other checkpoint as they were.
            chain.sort_by_key(|file| file.checkpoint);
            applied += 1;
        }
        self.recount();
        applied
    }
}

impl CheckpointStore {
    /// Merges the chains of a manifest that have grown longer than the policy allows; `None` when
    /// there are none. What is read and written is files alone, so it can run on any thread
    /// beside the job.
    ///
    /// Memory: [`StoreOptions::with_merge_bytes`](crate::StoreOptions::with_merge_bytes) however many files there are,
    /// and the output, two files or twice two where one row is larger than one. More than
    /// [`StoreOptions::fan_in`](crate::StoreOptions::fan_in) files with rows of the same key groups are merged in
    /// passes, the smallest first; files between two passes are removed as soon as they are read.
    ///
    /// # Errors
    /// [`Error::ReadOnly`](crate::Error::ReadOnly), and as of [`restore`](Self::restore). What was
    /// written before an error is garbage.
    pub fn compact(
        &self,
        manifest: &Manifest,
        policy: &CompactionPolicy,
    ) -> Result<Option<Compaction>> {
        self.compact_until(manifest, policy, &AtomicBool::new(false))
    }

    /// The same; gives up, with nothing, once `stop` is set.
    pub(crate) fn compact_until(
        &self,
        manifest: &Manifest,
        policy: &CompactionPolicy,
        stop: &AtomicBool,
    ) -> Result<Option<Compaction>> {
        let mut planned = Vec::new();
        for operator in &manifest.operators {
            for state in states_of(operator) {
                let files: Vec<&FileRef> = files_of(operator, state).collect();
                if let Some(run) = protocol::plan_compaction(&files, policy) {
                    let whole = run.start == 0;
                    let inputs: Vec<FileRef> = files[run].iter().copied().cloned().collect();
                    planned.push((operator, state, inputs, whole));
                }
            }
        }
        if planned.is_empty() {
            return Ok(None);
        }
        let (writer, number) = self.next_compaction()?;
        let dir = protocol::compacted_dir(writer, number);
        let mut states = Vec::new();
        for (operator, state, inputs, whole) in planned {
            let outputs = self.merge_in_passes(MergeJob {
                operator: &operator.uid,
                state,
                inputs: inputs.iter().map(|file| manifest.located(file)).collect(),
                deletions: if whole {
                    Deletions::Drop
                } else {
                    Deletions::Keep
                },
                blobs: &self.blobs,
                base: &BlobPath::root(),
                dir: &dir.join(operator.uid.as_str()),
                decoder: None,
                stop,
            })?;
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            states.push(CompactedState {
                operator: operator.uid.clone(),
                state: state.to_owned(),
                inputs,
                outputs,
            });
        }
        Ok(Some(Compaction { states }))
    }

    /// Merges files of this store into new ones of bounded size, with at most a fan-in of them open at a time.
    fn merge_in_passes(&self, job: MergeJob<'_>) -> Result<Vec<FileRef>> {
        let fan_in = self.options.fan_in();
        let mut runs = merge::sorted_runs(job.inputs.iter().cloned());
        // No manifest will name what lies here.
        let dir = job.dir.join("passes");
        let between = dir.below(job.base);
        let done = |read: &[SortedRun]| {
            let paths = read.iter().flat_map(|run| &run.files).map(|(path, _)| path);
            for path in paths.filter(|path| path.is_below(&between)) {
                // If not now, the garbage collection removes it.
                let _ = self.blobs.delete(path);
            }
        };
        for pass in 0_usize.. {
            let sizes: Vec<u64> = runs.iter().map(SortedRun::bytes).collect();
            let window = match merge::overlap(&runs) > fan_in {
                true => protocol::next_pass(&sizes, fan_in),
                false => None,
            };
            let Some(window) = window else { break };
            let inputs = runs[window.clone()].iter();
            let outputs = self.merge_files(MergeJob {
                inputs: inputs.flat_map(|run| run.files.clone()).collect(),
                deletions: match window.start {
                    0 => job.deletions,
                    _ => Deletions::Keep,
                },
                dir: &dir.join(&pass.to_string()),
                ..job.clone()
            })?;
            if job.stop.load(Ordering::Relaxed) {
                return Ok(Vec::new());
            }
            let files: Vec<Located> = outputs
                .into_iter()
                .map(|file| (file.path.below(job.base), file))
                .collect();
            // Nothing is left of deletions alone.
            let merged = (!files.is_empty()).then_some(SortedRun { files });
            done(&runs.splice(window, merged).collect::<Vec<_>>());
        }
        let inputs = runs.iter().flat_map(|run| run.files.clone());
        let inputs = inputs.collect();
        let outputs = self.merge_files(MergeJob { inputs, ..job })?;
        done(&runs);
        Ok(outputs)
    }

    /// Merges files into new ones of bounded size, the parts of one sorted sequence.
    pub(crate) fn merge_files(&self, job: MergeJob<'_>) -> Result<Vec<FileRef>> {
        let MergeJob {
            operator,
            state,
            inputs,
            deletions,
            blobs,
            base,
            dir,
            decoder,
            stop,
        } = job;
        let ranges = || inputs.iter().map(|(_, file)| file.groups);
        let (Some(start), Some(end), Some(checkpoint)) = (
            ranges().map(KeyGroupRange::start).min(),
            ranges().map(KeyGroupRange::end).max(),
            inputs.iter().map(|(_, file)| file.checkpoint).max(),
        ) else {
            return Ok(Vec::new());
        };
        let groups = KeyGroupRange::new(start, end)?;
        let limits = self.options.merge_limits();
        let mut rows = MergedRows::new(&self.blobs, inputs, groups, limits);
        // One file is written while the next one is made.
        let limit = self.options.file_bytes;
        let mut outputs = Uploads::new(Arc::clone(blobs), base.clone(), 1, limit);
        let open = |number: usize| {
            let state_name = if state.len() > 60 { "state" } else { state };
            // The directory for the state keeps the numbers of different states apart.
            let path = dir
                .join(state)
                .join(&format!("{state_name}-{number}.parquet"));
            let limits = RowGroupLimits::of_buffer(self.options.buffer_bytes);
            FileWriter::new(path, operator, state, checkpoint, limits, decoder.cloned())
        };
        let mut output = open(0)?;
        let mut count = 0_u32;
        while let Some(row) = rows.next()? {
            count = count.wrapping_add(1);
            if count.is_multiple_of(4096) && stop.load(Ordering::Relaxed) {
                break;
            }
            if row.value.is_none() && deletions == Deletions::Drop {
                continue;
            }
            let full = output.encoded_bytes() >= self.options.file_bytes;
            // A file that ends with its key group is read without its neighbour.
            let boundary = output.last_group() != Some(row.group);
            if full && (boundary || output.encoded_bytes() >= 2 * self.options.file_bytes) {
                let complete = std::mem::replace(&mut output, open(outputs.count() + 1)?);
                if let Some(encoded) = complete.finish()? {
                    outputs.begin(encoded)?;
                }
            }
            output.push(row.group, row.key, row.value)?;
        }
        let mut files = outputs.finish(output.finish()?.into_iter().collect())?;
        for (part, file) in (0..).zip(&mut files) {
            file.part = Some(part);
        }
        Ok(files)
    }
}

/// What a merge reads and where it writes.
#[derive(Clone)]
pub(crate) struct MergeJob<'a> {
    pub(crate) operator: &'a OperatorUid,
    pub(crate) state: &'a str,
    pub(crate) inputs: Vec<Located>,
    pub(crate) deletions: Deletions,
    pub(crate) blobs: &'a Arc<dyn BlobStore>,
    pub(crate) base: &'a BlobPath,
    pub(crate) dir: &'a BlobPath,
    /// For files with a typed column.
    pub(crate) decoder: Option<&'a StateDecoder>,
    /// Ends the merge early, with half a result.
    pub(crate) stop: &'a AtomicBool,
}

/// What becomes of deletions in a merge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletions {
    /// They still hide rows of older files.
    Keep,
    /// There are no older files.
    Drop,
}
