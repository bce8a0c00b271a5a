//! Whatever was done to the file of a B-tree: opening it is an error that names the damage, or gives the rows
//! as they were.

#![cfg(feature = "testing")]

use super::RedbBackend;
use crate::disk::{DiskOptions, Work};
use crate::testing::{SimulatedFs, Unsynced};
use crate::{
    Change, Durability, KeyGroupRange, KeyedStateBackend, MaxParallelism, Result, StateId,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, LazyLock};

const PAGE: usize = 4096;

/// What is done to the file. Numbers are taken modulo what there is.
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
    /// Two pages change places: each is whole.
    Swap {
        a: usize,
        b: usize,
    },
    /// One page is another's copy.
    Copy {
        from: usize,
        to: usize,
    },
    /// The pages from one on come twice.
    Repeat {
        from: usize,
    },
    /// Eight bytes, a length or a place, become this.
    Number {
        at: usize,
        value: u64,
    },
}

fn damage() -> impl Strategy<Value = Damage> {
    let n = 0..1_000_000usize;
    // Half of what is aimed at is in the header and the first pages.
    let at = prop_oneof![0..PAGE, n.clone()];
    let value = prop_oneof![
        Just(u64::MAX),
        Just(1 << 63),
        Just(1 << 40),
        Just(0),
        any::<u64>()
    ];
    prop_oneof![
        (at.clone(), 0..8u8).prop_map(|(at, bit)| Damage::Flip { at, bit }),
        at.clone().prop_map(|at| Damage::Cut { at }),
        (at.clone(), 1..2 * PAGE).prop_map(|(at, len)| Damage::Zeros { at, len }),
        (n.clone(), n.clone()).prop_map(|(a, b)| Damage::Swap { a, b }),
        (n.clone(), n.clone()).prop_map(|(from, to)| Damage::Copy { from, to }),
        n.prop_map(|from| Damage::Repeat { from }),
        (at, value).prop_map(|(at, value)| Damage::Number { at, value }),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    let len = bytes.len().max(1);
    let pages = (bytes.len() / PAGE).max(1);
    let page = |n: usize| (n % pages) * PAGE..(n % pages + 1) * PAGE;
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
        Damage::Swap { a, b } if bytes.len() >= PAGE => {
            let first = bytes[page(a)].to_vec();
            bytes.copy_within(page(b), page(a).start);
            bytes[page(b)].copy_from_slice(&first);
        }
        Damage::Copy { from, to } if bytes.len() >= PAGE => {
            bytes.copy_within(page(from), page(to).start);
        }
        Damage::Repeat { from } if bytes.len() >= PAGE => {
            bytes.extend_from_within(page(from).start..);
        }
        Damage::Number { at, value } if len >= 8 => {
            let at = at % (len - 7);
            bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        _ => {}
    }
}

fn open(fs: &SimulatedFs) -> Result<RedbBackend> {
    let options = DiskOptions::default()
        .with_write_buffer_bytes(4096)
        .with_cache_bytes(1 << 20)
        .with_work(Work::Inline)
        .with_fs(Arc::new(fs.clone()));
    let range = KeyGroupRange::all(MaxParallelism::DEFAULT);
    RedbBackend::open(Path::new("/tree"), range, &options)
}

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

fn rows(tree: &RedbBackend) -> Result<Rows> {
    let mut rows = Rows::new();
    tree.scan(StateId::new(1), b"", None, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        ControlFlow::Continue(())
    })?;
    Ok(rows)
}

static WRITTEN: LazyLock<(SimulatedFs, Rows)> = LazyLock::new(|| {
    let fs = SimulatedFs::new();
    let mut tree = open(&fs).unwrap();
    for i in 0..200u8 {
        let key = vec![0, i % 3, i % 90];
        let value = vec![i; [3, 80, 400][usize::from(i % 3)]];
        let change = Change {
            state: StateId::new(1),
            key: &key,
            value: (i % 7 != 6).then_some(&value[..]),
        };
        tree.apply(&[change]).unwrap();
    }
    tree.flush(Durability::Synced).unwrap();
    let written = rows(&tree).unwrap();
    drop(tree);
    (fs, written)
});

proptest! {
    #![proptest_config(crate::testing::cases(64))]

    #[test]
    fn damage_is_named_or_harmless(damages in prop::collection::vec(damage(), 1..4)) {
        let (fs, written) = &*WRITTEN;
        let fs = fs.after_crash(Unsynced::Kept);
        let path = fs.paths().into_iter().find(|p| p.extension().is_some_and(|e| e == "redb")).unwrap();
        let mut bytes = fs.contents(&path).unwrap();
        for damage in &damages {
            apply(&mut bytes, damage);
        }
        fs.damage(&path, bytes);
        match open(&fs).and_then(|tree| rows(&tree)) {
            Ok(found) => prop_assert_eq!(&found, written),
            Err(error) => prop_assert!(error.is_corruption(), "{}", error),
        }
    }
}
