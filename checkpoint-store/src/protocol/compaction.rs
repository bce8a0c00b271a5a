//! Which files of a chain to merge, and when.

use crate::manifest::FileRef;
use crate::merge::file_overlap;
use std::ops::Range;

/// When chains are shortened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionPolicy {
    max_layers: usize,
    max_delta_percent: u64,
    max_inputs: usize,
}

impl Default for CompactionPolicy {
    /// Chains of up to 8 checkpoints, deltas of up to half the base, 64 files to be merged.
    fn default() -> Self {
        Self {
            max_layers: 8,
            max_delta_percent: 50,
            max_inputs: 64,
        }
    }
}

impl CompactionPolicy {
    /// Merge everything that is not one sorted sequence.
    pub const EVERYTHING: Self = Self {
        max_layers: 1,
        max_delta_percent: 0,
        max_inputs: 1,
    };

    /// Most checkpoints whose files one chain may hold, the base included; at least 2.
    #[must_use]
    pub fn with_max_layers(mut self, layers: usize) -> Self {
        self.max_layers = layers.max(2);
        self
    }

    /// Size of all deltas, in percent of the base, from which on the base is written anew.
    #[must_use]
    pub fn with_max_delta_percent(mut self, percent: u64) -> Self {
        self.max_delta_percent = percent;
        self
    }

    /// Most files of one state that have rows of the same key group; at least 2. Files that a compaction wrote
    /// one after the other count as one, since a reader opens them one after the other.
    #[must_use]
    pub fn with_max_inputs(mut self, inputs: usize) -> Self {
        self.max_inputs = inputs.max(2);
        self
    }

    /// See [`with_max_inputs`](Self::with_max_inputs).
    #[must_use]
    pub fn max_inputs(&self) -> usize {
        self.max_inputs
    }
}

/// Which files of one state's chain, oldest first, to merge into one layer.
///
/// A layer is what one checkpoint wrote. Large deltas are merged into the base, so that a restore
/// reads at most 1 + `max_delta_percent` of the state's size. Otherwise the newest layers are
/// merged with each other, and with older ones as long as those are no larger than what is merged
/// already (universal compaction, as of RocksDB): each row is rewritten a logarithmic number of
/// times, and the base is left alone.
///
/// Layers of many files that all have rows of the same key groups are merged before there are many layers:
/// when a chain has been compacted, a restore merges at most `max_inputs` files at a time, and what checkpoints
/// have added since.
pub fn plan_compaction(files: &[&FileRef], policy: &CompactionPolicy) -> Option<Range<usize>> {
    let mut layers: Vec<(usize, u64)> = Vec::new();
    let mut checkpoint = None;
    for (at, file) in files.iter().enumerate() {
        match layers.last_mut() {
            Some((_, bytes)) if checkpoint == Some(file.checkpoint) => *bytes += file.bytes,
            _ => layers.push((at, file.bytes)),
        }
        checkpoint = Some(file.checkpoint);
    }
    let (&(_, base), deltas) = layers.split_first()?;
    let crowded = file_overlap(files) > policy.max_inputs;
    if deltas.is_empty() {
        return crowded.then_some(0..files.len());
    }
    let delta_bytes: u64 = deltas.iter().map(|(_, bytes)| bytes).sum();
    let heavy = delta_bytes.saturating_mul(100) > base.saturating_mul(policy.max_delta_percent);
    let long = layers.len() > policy.max_layers;
    // Two or three layers are cheap to read, however heavy, unless they are of many files.
    if heavy && (long || crowded || layers.len() * 2 >= policy.max_layers) {
        return Some(0..files.len());
    }
    if !long && !crowded {
        return None;
    }
    let excess = match long {
        true => layers.len() - policy.max_layers / 2,
        false => 0,
    };
    // With what becomes of the rest.
    let still_crowded = |start: usize| file_overlap(&files[..start]) + 1 > policy.max_inputs / 2;
    let mut merged = 0;
    let mut start = files.len();
    for (taken, &(at, bytes)) in deltas.iter().rev().enumerate() {
        if taken > excess && bytes > merged && !(crowded && still_crowded(start)) {
            break;
        }
        merged += bytes;
        start = at;
    }
    if crowded && still_crowded(start) {
        start = 0;
    }
    Some(start..files.len())
}

/// Which of a merge's inputs, adjacent ones, to merge into one first, so that at most `fan_in` (at least 2) are
/// open at a time; none when all can be merged at once. `bytes` has the size of each, oldest first.
///
/// It takes those that are smallest together: a large base, and what was merged before, waits to the end.
/// With the first pass narrower where the number does not come out even, all later ones are of `fan_in` (an external
/// merge sort's, with Huffman's choice). So *n* inputs of one size are rewritten ⌈log *n* / log `fan_in`⌉ times, the
/// last merge included; and since of ⌊*n* / `fan_in`⌋ windows side by side the smallest has at most its share, a byte is
/// rewritten 2 + 2 · `fan_in` / (`fan_in` - 1) · ln(*n* / `fan_in`) times on average whatever the sizes.
pub(crate) fn next_pass(bytes: &[u64], fan_in: usize) -> Option<Range<usize>> {
    let fan_in = fan_in.max(2);
    if bytes.len() <= fan_in {
        return None;
    }
    let width = (bytes.len() - 2) % (fan_in - 1) + 2;
    let sizes = bytes.windows(width).map(|window| {
        let sum = |sum: u64, bytes: &u64| sum.saturating_add(*bytes);
        window.iter().fold(0, sum)
    });
    let (start, _) = sizes.enumerate().min_by_key(|(_, size)| *size)?;
    Some(start..start + width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checksum::Crc32;
    use crate::ids::{BlobPath, CheckpointId};
    use proptest::prelude::*;
    use state_backend::{KeyGroup, KeyGroupRange};

    fn file(name: &str, checkpoint: u64, bytes: u64, part: Option<u32>) -> FileRef {
        FileRef {
            path: BlobPath::new(name).unwrap(),
            state: "state".to_owned(),
            groups: KeyGroupRange::new(KeyGroup::new(3), KeyGroup::new(3)).unwrap(),
            checkpoint: CheckpointId::new(checkpoint),
            rows: 1,
            tombstones: 0,
            bytes,
            raw_bytes: bytes,
            crc32: Crc32::of(b""),
            tail_bytes: 0,
            tail_crc32: Crc32::of(b""),
            part,
        }
    }

    fn plan(files: &[FileRef], policy: CompactionPolicy) -> Option<Range<usize>> {
        plan_compaction(&files.iter().collect::<Vec<_>>(), &policy)
    }

    fn layer(checkpoint: u64, files: usize, bytes: u64) -> Vec<FileRef> {
        let name = |at| format!("checkpoints/{checkpoint}/state-{at}");
        let files = (0..files).map(|at| file(&name(at), checkpoint, bytes, None));
        files.collect()
    }

    fn base(files: u32, bytes: u64) -> Vec<FileRef> {
        let name = |part| format!("compacted/0/state-{part}");
        let files = (0..files).map(|part| file(&name(part), 1, bytes, Some(part)));
        files.collect()
    }

    #[test]
    fn a_layer_of_many_files_is_merged_although_it_is_the_only_one() {
        let policy = CompactionPolicy::default().with_max_inputs(10);
        assert_eq!(plan(&layer(1, 10, 5), policy), None);
        assert_eq!(plan(&layer(1, 11, 5), policy), Some(0..11));
        // What a merge wrote is one input, however many files it is.
        assert_eq!(plan(&base(100, 5), policy), None);
    }

    #[test]
    fn layers_of_many_files_are_merged_and_a_large_base_is_not() {
        let policy = CompactionPolicy::default().with_max_inputs(10);
        let mut files = base(100, 1_000);
        files.extend(layer(2, 5, 50));
        assert_eq!(plan(&files, policy), None);
        files.extend(layer(3, 5, 5));
        assert_eq!(plan(&files, policy), Some(100..110));
        // As soon as they are heavy, it is.
        files.extend(layer(4, 1, 60_000));
        assert_eq!(plan(&files, policy), Some(0..111));
    }

    #[test]
    fn after_a_compaction_there_is_room_for_more_files() {
        let policy = CompactionPolicy::default()
            .with_max_inputs(10)
            .with_max_delta_percent(1_000);
        let mut files = layer(1, 4, 1_000);
        files.extend(layer(2, 6, 900));
        files.extend(layer(3, 1, 5));
        // The newest alone would leave ten.
        assert_eq!(plan(&files, policy), Some(4..11));
        let mut files = layer(1, 8, 1_000);
        files.extend(layer(2, 3, 5));
        assert_eq!(plan(&files, policy), Some(0..11));
    }

    #[test]
    fn passes_take_the_smallest_and_leave_the_base() {
        let mut sizes = vec![1_000_000];
        sizes.extend([10; 8]);
        // Nine inputs, four at a time: three first, so that four are left.
        assert_eq!(next_pass(&sizes, 4), Some(1..4));
        assert_eq!(
            next_pass(&[1_000_000, 30, 10, 10, 10, 10, 10], 4),
            Some(2..6)
        );
        assert_eq!(next_pass(&[1_000_000, 30, 40, 10], 4), None);
    }

    /// Bytes that all passes and the last merge write, and how many merges there are.
    fn written(mut sizes: Vec<u64>, fan_in: usize) -> (u64, usize) {
        let (mut written, mut merges) = (0, 1);
        while let Some(window) = next_pass(&sizes, fan_in) {
            assert!(window.len() >= 2 && window.len() <= fan_in, "{window:?}");
            let merged: u64 = sizes[window.clone()].iter().sum();
            written += merged;
            merges += 1;
            sizes.splice(window, [merged]);
        }
        assert!(sizes.len() <= fan_in);
        (written + sizes.iter().sum::<u64>(), merges)
    }

    #[test]
    fn inputs_of_one_size_are_rewritten_a_logarithmic_number_of_times() {
        for fan_in in [2_usize, 3, 8, 16, 40] {
            for passes in 1..4_u32 {
                let inputs = fan_in.pow(passes).min(4_096);
                let (written, _) = written(vec![7; inputs], fan_in);
                let times = (inputs as f64).log(fan_in as f64).ceil() as u64;
                assert!(written <= 7 * inputs as u64 * times, "{inputs} by {fan_in}");
            }
        }
    }

    proptest! {
        #[test]
        fn rewriting_is_bounded_whatever_the_sizes(
            sizes in prop::collection::vec(prop_oneof![0_u64..10, 0_u64..1_000_000], 1..300),
            fan_in in 2_usize..40,
        ) {
            let (inputs, total) = (sizes.len() as f64, sizes.iter().sum::<u64>() as f64);
            let (written, merges) = written(sizes, fan_in);
            let f = fan_in as f64;
            let times = 2.0 + 2.0 * f / (f - 1.0) * (inputs / f).max(1.0).ln();
            prop_assert!(written as f64 <= total * times, "{} times", written as f64 / total);
            prop_assert!(merges as f64 <= 1.0 + (inputs / (f - 1.0)).ceil());
        }
    }
}
