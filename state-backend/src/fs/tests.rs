//! The log passes the suite, on the real file system with room to spare and on a simulated one
//! with segments so small that it rolls and compacts all the time.

#![cfg(all(feature = "conformance", feature = "testing"))]

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::FsBackend;
use crate::conformance::Target;
use crate::disk::{DiskOptions, Preset, SyncPolicy, Work};
use crate::testing::SimulatedFs;
use crate::{Change, Durability, KeyedStateBackend, Maintenance, StateId};

struct Real(tempfile::TempDir);

impl Target for Real {
    const DURABLE: bool = true;

    fn open(&mut self) -> Box<dyn KeyedStateBackend> {
        let options = DiskOptions::preset(Preset::LowMemory).with_segment_bytes(8192);
        Box::new(FsBackend::open(self.0.path(), &options).unwrap())
    }
}

struct Simulated(SimulatedFs, SyncPolicy);

impl Target for Simulated {
    const DURABLE: bool = true;

    fn open(&mut self) -> Box<dyn KeyedStateBackend> {
        let options = DiskOptions::default()
            .with_write_buffer_bytes(4096)
            .with_write_buffer_count(2)
            .with_segment_bytes(4096)
            .with_sync(self.1)
            .with_work(Work::Inline)
            .with_fs(Arc::new(self.0.clone()));
        Box::new(FsBackend::open(Path::new("/log"), &options).unwrap())
    }
}

mod real {
    crate::conformance_tests!(super::Real(tempfile::tempdir().unwrap()));
}

mod simulated {
    use super::{SimulatedFs, SyncPolicy};
    crate::conformance_tests!(super::Simulated(SimulatedFs::new(), SyncPolicy::OnFlush));
}

mod synced {
    use super::{SimulatedFs, SyncPolicy};
    crate::conformance_tests!(super::Simulated(SimulatedFs::new(), SyncPolicy::EveryWrite));
}

fn space_is_given_back(mut backend: Box<dyn KeyedStateBackend>) {
    let state = StateId::new(1);
    let write =
        |backend: &mut Box<dyn KeyedStateBackend>, value: Option<&[u8]>, ids: Range<u32>| {
            for i in ids {
                let key = [&[0, 0][..], &i.to_be_bytes()].concat();
                let key = key.as_slice();
                backend.apply(&[Change { state, key, value }]).unwrap();
            }
        };
    for round in 0..5 {
        write(&mut backend, Some(&[round; 500]), 0..2000);
    }
    backend.flush(Durability::Synced).unwrap();
    let full = backend.stats().disk_bytes;
    // Live is 1 MB of the 5 MB written; while writers press on, three quarters may be dead.
    assert!(full < 4_500_000, "{:?}", backend.stats());
    write(&mut backend, None, 0..1900);
    backend.flush(Durability::Synced).unwrap();
    for _ in 0..100_000 {
        if backend.maintain(1 << 20).unwrap() == Maintenance::Idle {
            break;
        }
        std::thread::yield_now();
    }
    let stats = backend.stats();
    assert_eq!(stats.rows, 100);
    assert!(stats.disk_bytes < full / 4, "{full} before, now {stats:?}");
    for i in 1900..2000u32 {
        let key = [&[0, 0][..], &i.to_be_bytes()].concat();
        assert!(
            backend
                .read(state, &key, &mut |v| assert_eq!(v, [4; 500]))
                .unwrap()
        );
    }
}

#[test]
fn space_is_given_back_in_the_background() {
    space_is_given_back(Real(tempfile::tempdir().unwrap()).open());
}

#[test]
fn space_is_given_back_inline() {
    space_is_given_back(Simulated(SimulatedFs::new(), SyncPolicy::OnFlush).open());
}

/// A row of a few bytes costs a look-up of its key all the same.
#[test]
fn a_slice_of_compaction_moves_no_more_small_rows_than_large_ones() {
    let fs = Arc::new(SimulatedFs::new());
    let options = DiskOptions::default()
        .with_segment_bytes(1 << 20)
        .with_compaction_threshold(0.1)
        .with_work(Work::Inline)
        .with_fs(fs);
    let mut backend = FsBackend::open(Path::new("/log"), &options).unwrap();
    let state = StateId::new(1);
    let write = |backend: &mut FsBackend, ids: Range<u32>| {
        let keys: Vec<_> = ids
            .map(|i| [&[0, 0][..], &i.to_be_bytes()].concat())
            .collect();
        let changes = keys.iter().map(|key| Change {
            state,
            key,
            value: Some(b"v"),
        });
        backend.apply(&changes.collect::<Vec<_>>()).unwrap();
    };
    write(&mut backend, 0..40_000);
    write(&mut backend, 40_000..60_000);
    write(&mut backend, 0..35_000);
    write(&mut backend, 0..35_000);
    let mut moved = 0;
    loop {
        let before = backend.stats();
        let pending = backend.maintain(64 << 10).unwrap();
        let after = backend.stats();
        let live = |stats: &crate::BackendStats| stats.disk_bytes - stats.dead_bytes;
        assert_eq!(live(&before), live(&after));
        let grown = after.disk_bytes.saturating_sub(before.disk_bytes) / 21;
        assert!(grown <= 513, "{grown} rows in a slice");
        moved += grown;
        if pending == Maintenance::Idle {
            break;
        }
    }
    assert!(moved > 1000, "{moved}");
    assert_eq!(backend.stats().rows, 60_000);
}
