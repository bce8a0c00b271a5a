//! Whatever was done to the files of a log: opening it is an error that names the damage, or gives a log
//! that can be used and holds nothing that was never written.

#![cfg(feature = "testing")]

use super::FsBackend;
use super::log::{Frame, HEADER_LEN};
use crate::disk::{DiskOptions, Work};
use crate::testing::{SimulatedFs, Unsynced};
use crate::{Change, Durability, KeyedStateBackend, Result, StateId};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is done to one file. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
enum Damage {
    Flip {
        at: usize,
        bit: u8,
    },
    Cut {
        at: usize,
    },
    Zeros {
        at: usize,
        len: usize,
    },
    /// Two frames change places: each is whole.
    Swap {
        a: usize,
        b: usize,
    },
    /// The frames from one on come twice.
    Repeat {
        from: usize,
    },
    /// A length in the head of a frame becomes this.
    Length {
        frame: usize,
        field: u8,
        value: u32,
    },
    /// The whole file is another's.
    Exchange {
        with: usize,
    },
    Gone,
}

fn damage() -> impl Strategy<Value = (usize, Damage)> {
    let n = 0..100_000usize;
    let kinds = prop_oneof![
        (n.clone(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        n.clone().prop_map(|at| Damage::Cut { at }),
        (n.clone(), 1..600usize).prop_map(|(at, len)| Damage::Zeros { at, len }),
        (n.clone(), n.clone()).prop_map(|(a, b)| Damage::Swap { a, b }),
        n.clone().prop_map(|from| Damage::Repeat { from }),
        (
            n.clone(),
            0..2u8,
            prop_oneof![Just(u32::MAX), Just(1 << 31), Just(0), any::<u32>()]
        )
            .prop_map(|(frame, field, value)| Damage::Length {
                frame,
                field,
                value
            }),
        n.clone().prop_map(|with| Damage::Exchange { with }),
        Just(Damage::Gone),
    ];
    (n, kinds)
}

/// Where the frames of a segment lie.
fn frames(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    let mut at = HEADER_LEN.min(bytes.len());
    while let Some(frame) = Frame::decode(&bytes[at..]) {
        found.push(at..at + frame.len());
        at += frame.len();
    }
    found
}

fn apply(fs: &SimulatedFs, paths: &[PathBuf], path: &Path, damage: &Damage) {
    let mut bytes = fs.contents(path).unwrap();
    let len = bytes.len().max(1);
    let frames = frames(&bytes);
    let frame = |n: usize| frames.get(n % frames.len().max(1)).cloned();
    match *damage {
        Damage::Flip { at, bit } => {
            if let Some(byte) = bytes.get_mut(at % len) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Cut { at } => bytes.truncate(at % len),
        Damage::Zeros { at, len: zeros } => bytes
            .iter_mut()
            .skip(at % len)
            .take(zeros)
            .for_each(|b| *b = 0),
        Damage::Swap { a, b } => {
            if let (Some(a), Some(b)) = (frame(a.min(b)), frame(a.max(b)))
                && a.end <= b.start
            {
                let pieces = [
                    &bytes[..a.start],
                    &bytes[b.clone()],
                    &bytes[a.end..b.start],
                    &bytes[a],
                    &bytes[b.end..],
                ];
                bytes = pieces.concat();
            }
        }
        Damage::Repeat { from } => {
            if let Some(frame) = frame(from) {
                bytes.extend_from_within(frame.start..);
            }
        }
        Damage::Length {
            frame: n,
            field,
            value,
        } => {
            if let Some(frame) = frame(n) {
                let value = value.to_le_bytes();
                match field {
                    0 => bytes[frame.start + 5..frame.start + 8].copy_from_slice(&value[..3]),
                    _ => bytes[frame.start + 8..frame.start + 12].copy_from_slice(&value),
                }
            }
        }
        Damage::Exchange { with } => bytes = fs.contents(&paths[with % paths.len()]).unwrap(),
        Damage::Gone => {
            use crate::io::Fs;
            // Already gone by an earlier damage: nothing more to do.
            let _ = fs.remove(path);
            return;
        }
    }
    fs.damage(path, bytes);
}

fn open(fs: &SimulatedFs) -> Result<FsBackend> {
    let options = DiskOptions::default()
        .with_write_buffer_bytes(4096)
        .with_segment_bytes(4096)
        .with_work(Work::Inline)
        .with_fs(Arc::new(fs.clone()));
    FsBackend::open(Path::new("/log"), &options)
}

type Rows = BTreeSet<(Vec<u8>, Vec<u8>)>;

/// A log of several segments, and every row that was ever in it.
fn written() -> (SimulatedFs, Rows) {
    let fs = SimulatedFs::new();
    let mut log = open(&fs).unwrap();
    let mut rows = BTreeSet::new();
    for i in 0..120u8 {
        let key = vec![0, i % 3, i % 40];
        let value = vec![i; [3, 80, 400][usize::from(i % 3)]];
        let delete = i % 7 == 6;
        let change = Change {
            state: StateId::new(1),
            key: &key,
            value: (!delete).then_some(&value[..]),
        };
        log.apply(&[change]).unwrap();
        rows.insert((key, value));
    }
    log.flush(Durability::Synced).unwrap();
    drop(log);
    (fs.after_crash(Unsynced::Kept), rows)
}

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    #[test]
    fn damage_is_named_or_harmless(damages in prop::collection::vec(damage(), 1..4)) {
        let (fs, known) = written();
        for (file, damage) in &damages {
            let paths: Vec<_> = fs.paths().into_iter().filter(|p| super::is_log_file(p)).collect();
            if paths.is_empty() {
                break;
            }
            apply(&fs, &paths, &paths[file % paths.len()], damage);
        }
        let mut log = match open(&fs) {
            Ok(log) => log,
            Err(error) => {
                prop_assert!(error.is_corruption(), "{}", error);
                return Ok(());
            }
        };
        let mut rows = Vec::new();
        let scanned = log.scan(StateId::new(1), b"", None, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        });
        prop_assert!(scanned.is_ok());
        for row in rows {
            prop_assert!(known.contains(&row), "{:?}", row.0);
        }
        let change = Change { state: StateId::new(2), key: b"\0\0after", value: Some(b"1") };
        log.apply(&[change]).unwrap();
        log.flush(Durability::Synced).unwrap();
        drop(log);
        let again = open(&fs).unwrap();
        let found = again.read(StateId::new(2), b"\0\0after", &mut |_| {}).unwrap();
        prop_assert!(found);
    }
}
