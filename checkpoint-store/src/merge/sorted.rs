//! Files that follow each other in a chain, as a merge sees them: one input, of which one file is open.

use crate::ids::BlobPath;
use crate::manifest::FileRef;
use state_backend::KeyGroupRange;

/// A file and where it lies.
pub(crate) type Located = (BlobPath, FileRef);

/// Files of one state in the order in which they apply, the rows of each after those of the one before it. There is
/// at least one.
#[derive(Debug, Clone)]
pub(crate) struct SortedRun {
    pub(crate) files: Vec<Located>,
}

impl SortedRun {
    /// Size of the files.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, file)| file.bytes).sum()
    }
}

/// The files of a chain, oldest first, as sequences of them, oldest first.
pub(crate) fn sorted_runs(files: impl IntoIterator<Item = Located>) -> Vec<SortedRun> {
    let mut runs: Vec<SortedRun> = Vec::new();
    for file in files {
        let continued = runs.last_mut().filter(|run| {
            run.files
                .last()
                .is_some_and(|(_, last)| file.1.continues(last))
        });
        match continued {
            Some(run) => run.files.push(file),
            None => runs.push(SortedRun { files: vec![file] }),
        }
    }
    runs
}

/// How many of these sequences a merge has open at a time, at most.
pub(crate) fn overlap(runs: &[SortedRun]) -> usize {
    let span = |run: &SortedRun| {
        let (first, last) = run.files.first().zip(run.files.last())?;
        Some((first.1.groups, last.1.groups))
    };
    most_at_once(runs.iter().filter_map(span))
}

/// The same of the files of a chain.
pub(crate) fn file_overlap(files: &[&FileRef]) -> usize {
    let runs = files.chunk_by(|before, file| file.continues(before));
    most_at_once(runs.filter_map(|run| Some((run.first()?.groups, run.last()?.groups))))
}

/// Of ranges from the start of one to the end of another, how many have a key group in common.
fn most_at_once(spans: impl Iterator<Item = (KeyGroupRange, KeyGroupRange)>) -> usize {
    let mut edges = Vec::new();
    for (first, last) in spans {
        edges.push((u32::from(first.start().get()), 1));
        edges.push((u32::from(last.end().get()) + 1, -1_i32));
    }
    // Of edges at one place those that end come first.
    edges.sort_unstable_by_key(|(at, change)| (*at, *change));
    let (mut open, mut most) = (0, 0);
    for (_, change) in edges {
        open += change;
        most = most.max(open);
    }
    usize::try_from(most).unwrap_or(0)
}
