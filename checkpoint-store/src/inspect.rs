//! Looking at checkpoints: what is in one, how two differ, whether a job can restore from one.

use crate::error::Result;
use crate::ids::OperatorUid;
use crate::manifest::{FileRef, Manifest, OperatorSnapshot};
use crate::merge::MergedRows;
use crate::restore::{files_of, states_of};
use crate::store::CheckpointStore;
use serde::Serialize;
use state_backend::{KeyGroup, KeyGroupRange, StateCatalog, StateKind};
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

/// One state of a checkpoint, from its manifest alone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateSummary {
    /// The operator.
    pub operator: OperatorUid,
    /// The state.
    pub state: String,
    /// Its kind, if the catalog has it.
    pub kind: Option<StateKind>,
    /// Its type, if the catalog has it.
    pub type_name: Option<String>,
    /// Files in its chain.
    pub files: usize,
    /// Checkpoints that wrote them: what a restore has to merge.
    pub layers: usize,
    /// Rows in all files: entries, older versions of them, and deletions. The number of entries of
    /// a chain of one layer.
    pub rows: u64,
    /// Deletions among the rows.
    pub deletions: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Bytes of the keys and values in them.
    pub raw_bytes: u64,
    /// First and last key group that has rows.
    pub key_groups: Option<(u16, u16)>,
}

impl Manifest {
    /// Its states, in order of operator and name, also those that have no rows.
    pub fn summary(&self) -> Vec<StateSummary> {
        self.operators.iter().flat_map(summarize).collect()
    }
}

fn summarize(operator: &OperatorSnapshot) -> Vec<StateSummary> {
    let named = operator
        .catalog
        .states
        .iter()
        .map(|entry| entry.name.as_str());
    let names: BTreeSet<&str> = states_of(operator).into_iter().chain(named).collect();
    let summary = |state: &str| {
        let entry = operator.catalog.get(state);
        let files: Vec<&FileRef> = files_of(operator, state).collect();
        let sum = |of: fn(&FileRef) -> u64| files.iter().map(|file| of(file)).sum();
        let layers: BTreeSet<_> = files.iter().map(|file| file.checkpoint).collect();
        let starts = files.iter().map(|file| file.groups.start().get());
        let ends = files.iter().map(|file| file.groups.end().get());
        StateSummary {
            operator: operator.uid.clone(),
            state: state.to_owned(),
            kind: entry.map(|entry| entry.kind),
            type_name: entry.map(|entry| entry.type_name.clone()),
            files: files.len(),
            layers: layers.len(),
            rows: sum(|file| file.rows),
            deletions: sum(|file| file.tombstones),
            bytes: sum(|file| file.bytes),
            raw_bytes: sum(|file| file.raw_bytes),
            key_groups: starts.min().zip(ends.max()),
        }
    };
    names.into_iter().map(summary).collect()
}

/// How one state differs between two checkpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateDiff {
    /// The operator.
    pub operator: OperatorUid,
    /// The state.
    pub state: String,
    /// Entries that only the second has.
    pub added: u64,
    /// Entries that both have, with different values.
    pub changed: u64,
    /// Entries that only the first has.
    pub removed: u64,
    /// Entries that are the same in both.
    pub unchanged: u64,
    /// Bytes of keys and values in the first.
    pub bytes_before: u64,
    /// Bytes of keys and values in the second.
    pub bytes_after: u64,
}

/// Compares two checkpoints or savepoints, each with the store it is in, entry by entry.
///
/// Memory: as two restores. The number of key groups may differ; then an entry that moved to another
/// group counts as removed and added.
///
/// # Errors
/// As of [`CheckpointStore::restore`].
pub fn diff(
    (before_store, before): (&CheckpointStore, &Manifest),
    (after_store, after): (&CheckpointStore, &Manifest),
) -> Result<Vec<StateDiff>> {
    let keys = |manifest: &Manifest| {
        let states = manifest.summary().into_iter();
        states
            .map(|state| (state.operator, state.state))
            .collect::<BTreeSet<_>>()
    };
    let mut all = keys(before);
    all.extend(keys(after));
    all.into_iter()
        .map(|(operator, state)| {
            let mut left = rows_of(before_store, before, &operator, &state)?;
            let mut right = rows_of(after_store, after, &operator, &state)?;
            diff_rows(operator, state, &mut left, &mut right)
        })
        .collect()
}

fn rows_of(
    store: &CheckpointStore,
    manifest: &Manifest,
    operator: &OperatorUid,
    state: &str,
) -> Result<Option<MergedRows>> {
    let groups = KeyGroupRange::new(KeyGroup::new(0), KeyGroup::new(u16::MAX))?;
    let operator = manifest.operator(operator);
    Ok(operator.map(|operator| store.merged_rows(manifest, operator, state, groups)))
}

fn diff_rows(
    operator: OperatorUid,
    state: String,
    left: &mut Option<MergedRows>,
    right: &mut Option<MergedRows>,
) -> Result<StateDiff> {
    let mut diff = StateDiff {
        operator,
        state,
        added: 0,
        changed: 0,
        removed: 0,
        unchanged: 0,
        bytes_before: 0,
        bytes_after: 0,
    };
    let size = |row: &OwnedRow| (row.1.len() + row.2.len()) as u64;
    let mut l = next_entry(left)?;
    let mut r = next_entry(right)?;
    loop {
        let order = match (&l, &r) {
            (None, None) => return Ok(diff),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(l), Some(r)) => (l.0, &l.1).cmp(&(r.0, &r.1)),
        };
        match order {
            Ordering::Less => diff.removed += 1,
            Ordering::Greater => diff.added += 1,
            Ordering::Equal if l == r => diff.unchanged += 1,
            Ordering::Equal => diff.changed += 1,
        }
        if order != Ordering::Greater {
            diff.bytes_before += l.as_ref().map_or(0, size);
            l = next_entry(left)?;
        }
        if order != Ordering::Less {
            diff.bytes_after += r.as_ref().map_or(0, size);
            r = next_entry(right)?;
        }
    }
}

type OwnedRow = (u16, Vec<u8>, Vec<u8>);

fn next_entry(rows: &mut Option<MergedRows>) -> Result<Option<OwnedRow>> {
    let Some(rows) = rows else { return Ok(None) };
    while let Some(row) = rows.next()? {
        if let Some(value) = row.value {
            return Ok(Some((row.group, row.key.to_vec(), value.to_vec())));
        }
    }
    Ok(None)
}

/// What a job expects of one of its operators.
#[derive(Debug, Clone)]
pub struct ExpectedOperator {
    /// Its stable name.
    pub uid: OperatorUid,
    /// Number of its subtasks.
    pub parallelism: u16,
    /// Number of its key groups.
    pub max_parallelism: u16,
    /// The states it registers; none if that is not known.
    pub catalog: Option<StateCatalog>,
}

/// One thing that a check of a restore found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it prevents the restore.
    pub severity: Severity,
    /// What it is, in words.
    pub what: String,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Good to know.
    Info,
    /// State would be left behind or migrated.
    Warning,
    /// The restore would fail.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// Whether a job can restore from a checkpoint: key groups, kinds, types and versions of the states.
/// A migration is named, and not tried; states whose names begin with `__` are the runtime's. Pure; the files are for [`CheckpointStore::verify`].
pub fn check_restore(manifest: &Manifest, job: &[ExpectedOperator]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut find = |severity, what: String| findings.push(Finding { severity, what });
    for saved in &manifest.operators {
        let uid = saved.uid.as_str();
        let Some(expected) = job.iter().find(|expected| expected.uid == saved.uid) else {
            let what = format!("operator {uid:?} is not in the job: its state would be dropped");
            find(Severity::Warning, what);
            continue;
        };
        if saved.max_parallelism != expected.max_parallelism {
            let (has, wants) = (saved.max_parallelism, expected.max_parallelism);
            let what =
                format!("operator {uid:?} was saved with {has} key groups, the job has {wants}");
            find(Severity::Error, what);
        }
        if expected.parallelism > saved.max_parallelism {
            let (wants, most) = (expected.parallelism, saved.max_parallelism);
            let what =
                format!("operator {uid:?} cannot have {wants} subtasks, {most} are the most");
            find(Severity::Error, what);
        } else if expected.parallelism != saved.parallelism {
            let (from, to) = (saved.parallelism, expected.parallelism);
            find(
                Severity::Info,
                format!("operator {uid:?} goes from {from} to {to} subtasks"),
            );
        }
        let Some(catalog) = &expected.catalog else {
            continue;
        };
        for state in &saved.catalog.states {
            let name = &state.name;
            let Some(wanted) = catalog.get(name) else {
                // The runtime's own, such as timers: it finds them again whatever the operator does.
                if name.starts_with("__") {
                    continue;
                }
                let what = format!("state {name:?} of {uid:?} is not used by the job any more");
                find(Severity::Warning, what);
                continue;
            };
            if state.kind != wanted.kind {
                let (has, wants) = (state.kind, wanted.kind);
                let what = format!("state {name:?} of {uid:?} is a {has}, the job has a {wants}");
                find(Severity::Error, what);
            }
            match state.version.cmp(&wanted.version) {
                Ordering::Less => {
                    let (from, to) = (state.version, wanted.version);
                    let what =
                        format!("state {name:?} of {uid:?} migrates from version {from} to {to}");
                    find(Severity::Warning, what);
                }
                Ordering::Greater => {
                    let (has, knows) = (state.version, wanted.version);
                    let what = format!(
                        "state {name:?} of {uid:?} has version {has}, the job knows up to {knows}"
                    );
                    find(Severity::Error, what);
                }
                Ordering::Equal if state.type_name != wanted.type_name => {
                    let (has, wants) = (&state.type_name, &wanted.type_name);
                    let what =
                        format!("state {name:?} of {uid:?} holds {has}, the job wants {wants}");
                    find(Severity::Error, what);
                }
                Ordering::Equal => {}
            }
        }
        for wanted in &catalog.states {
            if saved.catalog.get(&wanted.name).is_none() {
                let name = &wanted.name;
                find(
                    Severity::Info,
                    format!("state {name:?} of {uid:?} is new, and begins empty"),
                );
            }
        }
    }
    for expected in job {
        if manifest.operator(&expected.uid).is_none() {
            let uid = &expected.uid;
            let what = format!("operator {:?} is new, and begins empty", uid.as_str());
            find(Severity::Info, what);
        }
    }
    findings
}
