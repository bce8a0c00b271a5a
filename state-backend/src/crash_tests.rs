//! A disk backend comes back from a crash at any of its writes with the rows of some moment at or
//! after the last synced flush, never anything else; a full disk costs nothing but the change that
//! was refused; damage is named, never served.

#![cfg(feature = "testing")]

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use crate::disk::{DiskOptions, SyncPolicy, Work};
use crate::testing::{SimulatedFs, Unsynced};
use crate::{Change, Durability, Error, KeyedStateBackend, Result, StateId};

type Backend = Box<dyn KeyedStateBackend>;
type Rows = BTreeMap<(u16, Vec<u8>), Vec<u8>>;
type Open = dyn Fn(&SimulatedFs) -> Result<Backend>;

fn options(fs: &SimulatedFs, sync: SyncPolicy) -> DiskOptions {
    DiskOptions::default()
        .with_write_buffer_bytes(4096)
        .with_write_buffer_count(2)
        .with_segment_bytes(4096)
        .with_cache_bytes(1 << 20)
        .with_sync(sync)
        .with_work(Work::Inline)
        .with_fs(Arc::new(fs.clone()))
}

#[cfg(feature = "fs")]
fn open_fs(fs: &SimulatedFs, sync: SyncPolicy) -> Result<Backend> {
    let backend = crate::fs::FsBackend::open(Path::new("/state"), &options(fs, sync))?;
    Ok(Box::new(backend))
}

#[cfg(feature = "redb")]
fn open_redb(fs: &SimulatedFs, sync: SyncPolicy) -> Result<Backend> {
    let range = crate::KeyGroupRange::all(crate::MaxParallelism::DEFAULT);
    let options = options(fs, sync);
    let backend = crate::redb::RedbBackend::open(Path::new("/state"), range, &options)?;
    Ok(Box::new(backend))
}

#[derive(Clone, Debug)]
enum Op {
    Apply(Vec<(u16, Vec<u8>, Option<Vec<u8>>)>),
    Flush(Durability),
    Maintain,
    Clear,
}

impl Op {
    fn run(&self, backend: &mut Backend) -> Result<()> {
        match self {
            Self::Apply(changes) => {
                let changes: Vec<_> = changes
                    .iter()
                    .map(|(state, key, value)| Change {
                        state: StateId::new(*state),
                        key,
                        value: value.as_deref(),
                    })
                    .collect();
                backend.apply(&changes)
            }
            Self::Flush(durability) => backend.flush(*durability),
            Self::Maintain => backend.maintain(2000).map(|_| ()),
            Self::Clear => backend.clear(),
        }
    }

    fn model(&self, rows: &mut Rows) {
        match self {
            Self::Apply(changes) => {
                for (state, key, value) in changes {
                    match value {
                        Some(value) => rows.insert((*state, key.clone()), value.clone()),
                        None => rows.remove(&(*state, key.clone())),
                    };
                }
            }
            Self::Clear => rows.clear(),
            Self::Flush(_) | Self::Maintain => {}
        }
    }
}

/// Operations, and the rows before the first and after each.
struct Workload {
    ops: Vec<Op>,
    moments: Vec<Rows>,
}

impl Workload {
    fn new(count: usize, clears: bool) -> Self {
        let mut random = 0x1234_5678_u64;
        let mut below = move |bound: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % bound
        };
        let ops: Vec<Op> = (0..count)
            .map(|i| match below(20) {
                0 | 1 => Op::Flush(Durability::Synced),
                2 => Op::Flush(Durability::Buffered),
                3 | 4 => Op::Maintain,
                5 if clears && i > count / 2 => Op::Clear,
                _ => Op::Apply(
                    (0..=below(6))
                        .map(|_| {
                            let key = vec![0, below(3) as u8, below(12) as u8];
                            let value = vec![i as u8; [5, 60, 300][below(3) as usize]];
                            (below(2) as u16 + 1, key, (below(4) > 0).then_some(value))
                        })
                        .collect(),
                ),
            })
            .collect();
        let mut moments = vec![Rows::new()];
        for op in &ops {
            let mut rows = moments[moments.len() - 1].clone();
            op.model(&mut rows);
            moments.push(rows);
        }
        Self { ops, moments }
    }
}

fn rows_of(backend: &Backend) -> Result<Rows> {
    let mut rows = Rows::new();
    for state in 0..4 {
        backend.scan(StateId::new(state), b"", None, &mut |key, value| {
            rows.insert((state, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })?;
    }
    for ((state, key), value) in &rows {
        let mut read = None;
        backend.read(StateId::new(*state), key, &mut |found| {
            read = Some(found.to_vec())
        })?;
        assert_eq!(
            read.as_ref(),
            Some(value),
            "read and scan differ at {key:?}"
        );
    }
    Ok(rows)
}

/// Stops the machine at every step of the workload in turn.
fn crash_at_every_write(open: &Open, workload: &Workload, unsynced: &[Unsynced]) {
    let counting = SimulatedFs::new();
    let mut backend = open(&counting).unwrap();
    for op in &workload.ops {
        op.run(&mut backend).unwrap();
    }
    assert_eq!(
        &rows_of(&backend).unwrap(),
        workload.moments.last().unwrap()
    );
    drop(backend);
    let steps = counting.steps();
    for step in 0..steps {
        let fs = SimulatedFs::new();
        fs.crash_at(step);
        // Moments that may be found: [synced, reached], and [written, reached] when only the
        // process dies.
        let (mut synced, mut written, mut reached) = (0, 0, 0);
        if let Ok(mut backend) = open(&fs) {
            for (i, op) in workload.ops.iter().enumerate() {
                reached = i + 1;
                if op.run(&mut backend).is_err() {
                    break;
                }
                match op {
                    Op::Flush(Durability::Synced) => (synced, written) = (i + 1, i + 1),
                    Op::Flush(Durability::Buffered) => written = i + 1,
                    _ => {}
                }
            }
        }
        assert!(fs.crashed(), "step {step} of {steps} was not reached");
        for unsynced in unsynced {
            let found = fs.after_crash(*unsynced);
            let mut backend = open(&found).unwrap_or_else(|e| {
                panic!("crash at {step} of {steps}, {unsynced:?}: {}", describe(&e))
            });
            let rows = rows_of(&backend).unwrap();
            let from = if *unsynced == Unsynced::Kept {
                written
            } else {
                synced
            };
            assert!(
                workload.moments[from..=reached].contains(&rows),
                "crash at {step} of {steps}, {unsynced:?}: the rows of no moment in {from}..={reached}: {rows:?}"
            );
            // Life goes on, and a second start finds the same.
            let after = Op::Apply(vec![(3, b"\0\0after".to_vec(), Some(vec![1]))]);
            after.run(&mut backend).unwrap();
            Op::Flush(Durability::Synced).run(&mut backend).unwrap();
            drop(backend);
            let mut expected = rows;
            after.model(&mut expected);
            let again = found.after_crash(Unsynced::Dropped);
            assert_eq!(rows_of(&open(&again).unwrap()).unwrap(), expected);
        }
    }
}

/// The disk is full at every step of the workload in turn, for that one operation.
fn full_at_every_write(open: &Open, workload: &Workload) {
    let counting = SimulatedFs::new();
    let mut backend = open(&counting).unwrap();
    let begun = counting.steps();
    for op in &workload.ops {
        op.run(&mut backend).unwrap();
    }
    drop(backend);
    for step in begun..counting.steps() {
        let fs = SimulatedFs::new();
        let mut backend = open(&fs).unwrap();
        fs.fail_at(step, ErrorKind::StorageFull);
        for (i, op) in workload.ops.iter().enumerate() {
            let mut tries = 0;
            while let Err(error) = op.run(&mut backend) {
                assert!(
                    error.is_out_of_space(),
                    "step {step}, op {i}: {}",
                    describe(&error)
                );
                if !matches!(op, Op::Clear) {
                    assert_eq!(
                        rows_of(&backend).unwrap(),
                        workload.moments[i],
                        "step {step}, op {i}"
                    );
                }
                tries += 1;
                assert!(tries < 3, "step {step}, op {i}: {}", describe(&error));
            }
        }
        assert_eq!(
            &rows_of(&backend).unwrap(),
            workload.moments.last().unwrap(),
            "step {step}"
        );
        if let Err(error) = backend.flush(Durability::Synced) {
            assert!(error.is_out_of_space(), "step {step}: {}", describe(&error));
            backend.flush(Durability::Synced).unwrap();
        }
        drop(backend);
        let rows = rows_of(&open(&fs.after_crash(Unsynced::Dropped)).unwrap()).unwrap();
        assert_eq!(&rows, workload.moments.last().unwrap(), "step {step}");
    }
}

/// The disk has less room than the workload needs, then more.
fn full_disk_then_room(open: &Open, workload: &Workload) {
    for capacity in (0..60_000).step_by(1777) {
        let fs = SimulatedFs::new();
        let mut backend = open(&fs).unwrap();
        fs.set_capacity(Some(fs.used() + capacity));
        let mut rows = Rows::new();
        let mut refused = 0;
        for op in &workload.ops {
            match op.run(&mut backend) {
                Ok(()) => op.model(&mut rows),
                Err(error) => {
                    assert!(error.is_out_of_space(), "{}", describe(&error));
                    refused += 1;
                }
            }
            assert_eq!(rows_of(&backend).unwrap(), rows, "capacity {capacity}");
            if refused > 10 {
                fs.set_capacity(None);
            }
        }
        fs.set_capacity(None);
        backend.flush(Durability::Synced).unwrap();
        drop(backend);
        assert_eq!(
            rows_of(&open(&fs.after_crash(Unsynced::Dropped)).unwrap()).unwrap(),
            rows
        );
    }
}

/// The medium fails at every step in turn: an error, and from then on right rows or none.
fn broken_at_every_write(open: &Open, workload: &Workload) {
    let counting = SimulatedFs::new();
    let mut backend = open(&counting).unwrap();
    let begun = counting.steps();
    for op in &workload.ops {
        op.run(&mut backend).unwrap();
    }
    drop(backend);
    for step in begun..counting.steps() {
        let fs = SimulatedFs::new();
        let mut backend = open(&fs).unwrap();
        fs.fail_at(step, ErrorKind::Other);
        let mut rows = Rows::new();
        let mut cleared = false;
        for op in &workload.ops {
            match op.run(&mut backend) {
                Ok(()) => op.model(&mut rows),
                // A clear that failed may have done its work in part.
                Err(_) => cleared |= matches!(op, Op::Clear),
            }
            if let Ok(found) = rows_of(&backend) {
                assert!(cleared || found == rows, "step {step}, {op:?}");
            }
        }
    }
}

fn describe(error: &Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

const POWER_LOSS: [Unsynced; 4] = [
    Unsynced::Dropped,
    Unsynced::Kept,
    Unsynced::Torn { seed: 1 },
    Unsynced::Torn { seed: 2 },
];

#[cfg(feature = "fs")]
mod fs {
    use super::*;

    #[test]
    fn survives_a_crash_at_every_write() {
        let workload = Workload::new(120, true);
        for sync in [SyncPolicy::OnFlush, SyncPolicy::EveryWrite] {
            crash_at_every_write(
                &move |fs: &SimulatedFs| open_fs(fs, sync),
                &workload,
                &POWER_LOSS,
            );
        }
    }

    #[test]
    fn survives_the_end_of_the_process_without_syncs() {
        let open = |fs: &SimulatedFs| open_fs(fs, SyncPolicy::Never);
        crash_at_every_write(&open, &Workload::new(120, true), &[Unsynced::Kept]);
    }

    #[test]
    fn a_full_disk_costs_only_what_it_refuses() {
        let open = |fs: &SimulatedFs| open_fs(fs, SyncPolicy::OnFlush);
        full_at_every_write(&open, &Workload::new(120, true));
        full_disk_then_room(&open, &Workload::new(200, false));
    }

    #[test]
    fn a_broken_disk_never_shows_wrong_rows() {
        let open = |fs: &SimulatedFs| open_fs(fs, SyncPolicy::OnFlush);
        broken_at_every_write(&open, &Workload::new(120, false));
    }

    fn written() -> (SimulatedFs, Rows, Workload) {
        let workload = Workload::new(40, false);
        let fs = SimulatedFs::new();
        let mut backend = open_fs(&fs, SyncPolicy::OnFlush).unwrap();
        for op in &workload.ops {
            op.run(&mut backend).unwrap();
        }
        backend.flush(Durability::Synced).unwrap();
        let rows = rows_of(&backend).unwrap();
        (fs, rows, workload)
    }

    #[test]
    fn every_flipped_bit_is_named() {
        let (fs, rows, _) = written();
        for path in fs.paths() {
            let bytes = fs.contents(&path).unwrap();
            for at in 0..bytes.len() {
                let damaged = fs.after_crash(Unsynced::Kept);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                damaged.damage(&path, flipped);
                match open_fs(&damaged, SyncPolicy::OnFlush) {
                    Err(error) => {
                        assert!(
                            error.is_corruption(),
                            "{path:?} at {at}: {}",
                            describe(&error)
                        );
                        assert!(
                            error.to_string().contains(path.to_str().unwrap()),
                            "{error}"
                        );
                    }
                    // Only the mark can be damaged without harm.
                    Ok(backend) => {
                        assert!(path.ends_with("SYNCED"), "{path:?} at {at}");
                        assert_eq!(rows_of(&backend).unwrap(), rows);
                    }
                }
            }
        }
    }

    #[test]
    fn every_truncation_is_named() {
        let (fs, _, _) = written();
        for path in fs
            .paths()
            .into_iter()
            .filter(|path| !path.ends_with("SYNCED"))
        {
            let bytes = fs.contents(&path).unwrap();
            for len in 0..bytes.len() {
                let damaged = fs.after_crash(Unsynced::Kept);
                damaged.damage(&path, bytes[..len].to_vec());
                let error = open_fs(&damaged, SyncPolicy::OnFlush)
                    .err()
                    .map(|e| e.is_corruption());
                assert_eq!(error, Some(true), "{path:?} cut to {len}");
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig { failure_persistence: None, ..Default::default() })]

        /// Whatever stands in the files: an error or a log that can be used, never a panic.
        #[test]
        fn any_bytes_are_refused_or_cut_off(
            garbage in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            at in 0usize..3000,
            replace in proptest::bool::ANY,
            mark in proptest::option::of(proptest::collection::vec(proptest::num::u8::ANY, 0..20)),
        ) {
            let (fs, _, _) = written();
            let log = fs.paths().into_iter().find(|path| !path.ends_with("SYNCED")).unwrap();
            let mut bytes = fs.contents(&log).unwrap();
            let at = at.min(bytes.len());
            if replace {
                bytes.truncate(at);
                bytes.extend(garbage);
            } else {
                bytes.splice(at..at, garbage);
            }
            fs.damage(&log, bytes);
            if let Some(mark) = mark {
                fs.damage(Path::new("/state/SYNCED"), mark);
            }
            let found = fs.after_crash(Unsynced::Kept);
            if let Ok(mut backend) = open_fs(&found, SyncPolicy::OnFlush) {
                Op::Apply(vec![(1, vec![0, 0], Some(vec![1]))]).run(&mut backend).unwrap();
                backend.flush(Durability::Synced).unwrap();
                rows_of(&backend).unwrap();
            }
        }
    }

    #[test]
    fn damage_under_an_open_log_is_named() {
        let (fs, rows, _) = written();
        let backend = open_fs(&fs.after_crash(Unsynced::Kept), SyncPolicy::OnFlush).unwrap();
        assert_eq!(rows_of(&backend).unwrap(), rows);
        let found = fs.after_crash(Unsynced::Kept);
        let backend = open_fs(&found, SyncPolicy::OnFlush).unwrap();
        for path in found.paths() {
            let mut bytes = found.contents(&path).unwrap();
            bytes.iter_mut().for_each(|byte| *byte ^= 0x10);
            found.damage(&path, bytes);
        }
        assert!(rows_of(&backend).unwrap_err().is_corruption());
    }
}

#[cfg(feature = "redb")]
mod redb {
    use super::*;

    #[test]
    fn survives_a_crash_at_every_write() {
        let open = |fs: &SimulatedFs| open_redb(fs, SyncPolicy::OnFlush);
        crash_at_every_write(&open, &Workload::new(40, true), &POWER_LOSS);
    }

    #[test]
    fn survives_the_end_of_the_process_without_syncs() {
        let open = |fs: &SimulatedFs| open_redb(fs, SyncPolicy::Never);
        crash_at_every_write(&open, &Workload::new(40, true), &[Unsynced::Kept]);
    }

    #[test]
    fn a_full_disk_costs_only_what_it_refuses() {
        let open = |fs: &SimulatedFs| open_redb(fs, SyncPolicy::OnFlush);
        full_at_every_write(&open, &Workload::new(40, true));
        full_disk_then_room(&open, &Workload::new(60, false));
    }

    #[test]
    fn a_broken_disk_never_shows_wrong_rows() {
        let open = |fs: &SimulatedFs| open_redb(fs, SyncPolicy::OnFlush);
        broken_at_every_write(&open, &Workload::new(40, false));
    }

    #[test]
    fn a_damaged_file_is_named_or_unharmed() {
        let workload = Workload::new(60, false);
        let fs = SimulatedFs::new();
        let mut backend = open_redb(&fs, SyncPolicy::OnFlush).unwrap();
        for op in &workload.ops {
            op.run(&mut backend).unwrap();
        }
        backend.flush(Durability::Synced).unwrap();
        let rows = rows_of(&backend).unwrap();
        drop(backend);
        let path = fs.paths().pop().unwrap();
        let bytes = fs.contents(&path).unwrap();
        let mut named = 0;
        let flips = (0..bytes.len()).step_by(127).map(|at| {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (at % 8);
            flipped
        });
        let cuts = (0..bytes.len())
            .step_by(997)
            .map(|len| bytes[..len].to_vec());
        for (i, damage) in flips.chain(cuts).enumerate() {
            let damaged = fs.after_crash(Unsynced::Kept);
            damaged.damage(&path, damage);
            match open_redb(&damaged, SyncPolicy::OnFlush) {
                Err(error) => {
                    named += 1;
                    assert!(error.is_corruption(), "damage {i}: {}", describe(&error));
                }
                Ok(backend) => assert_eq!(rows_of(&backend).unwrap(), rows, "damage {i}"),
            }
        }
        assert!(named > 10, "{named}");
    }
}
