//! The B-tree passes the suite, with a thread on the real file system and without one on a
//! simulated one, where buffers are so small that it spills all the time.

#![cfg(all(feature = "conformance", feature = "testing"))]

use std::ops::{ControlFlow, Range};
use std::path::Path;
use std::sync::Arc;

use super::RedbBackend;
use crate::conformance::Target;
use crate::disk::{DiskOptions, Preset, Work};
use crate::testing::SimulatedFs;
use crate::{
    Change, Durability, FrozenRows, KeyGroupRange, KeyedStateBackend, Maintenance, MaxParallelism,
    StateId,
};

fn range() -> KeyGroupRange {
    KeyGroupRange::all(MaxParallelism::DEFAULT)
}

struct Real(tempfile::TempDir);

impl Target for Real {
    const DURABLE: bool = true;

    fn open(&mut self) -> Box<dyn KeyedStateBackend> {
        let options = DiskOptions::preset(Preset::LowMemory).with_write_buffer_bytes(16 << 10);
        Box::new(RedbBackend::open(self.0.path(), range(), &options).unwrap())
    }
}

struct Simulated(SimulatedFs);

impl Target for Simulated {
    const DURABLE: bool = true;

    fn open(&mut self) -> Box<dyn KeyedStateBackend> {
        let options = DiskOptions::default()
            .with_write_buffer_bytes(4096)
            .with_write_buffer_count(2)
            .with_work(Work::Inline)
            .with_fs(Arc::new(self.0.clone()));
        Box::new(RedbBackend::open(Path::new("/tree"), range(), &options).unwrap())
    }
}

mod real {
    crate::conformance_tests!(super::Real(tempfile::tempdir().unwrap()));
}

mod simulated {
    use super::SimulatedFs;
    crate::conformance_tests!(super::Simulated(SimulatedFs::new()));
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
    space_is_given_back(Simulated(SimulatedFs::new()).open());
}

/// A file that is opened a second time, as after a full disk, is written without regard to the first time's views:
/// they must not be read.
#[test]
fn frozen_rows_end_when_the_file_is_opened_again() {
    let fs = SimulatedFs::new();
    let options = DiskOptions::default()
        .with_write_buffer_bytes(4096)
        .with_write_buffer_count(2)
        .with_work(Work::Inline)
        .with_fs(Arc::new(fs.clone()));
    let mut backend = RedbBackend::open(Path::new("/tree"), range(), &options).unwrap();
    let state = StateId::new(1);
    let write = |backend: &mut RedbBackend, id: u32| {
        let key = [&[0, 0][..], &id.to_be_bytes()].concat();
        let value = Some(&[7; 500][..]);
        backend.apply(&[Change {
            state,
            key: &key,
            value,
        }])
    };
    for id in 0..100 {
        write(&mut backend, id).unwrap();
    }
    let frozen = backend.freeze().unwrap().unwrap();
    let read = |frozen: &dyn FrozenRows| frozen.read(state, &[0, 0, 0, 0, 0, 1], &mut |_| {});
    assert!(read(&*frozen).unwrap());
    fs.set_capacity(Some(fs.used()));
    let refused = (100..10_000).find_map(|id| write(&mut backend, id).err());
    assert!(refused.unwrap().is_out_of_space());
    fs.set_capacity(None);
    assert!(read(&*frozen).unwrap_err().is_out_of_space());
    let scanned = frozen.scan(state, b"", None, &mut |_, _| ControlFlow::Continue(()));
    assert!(scanned.unwrap_err().is_out_of_space());
    let again = backend.freeze().unwrap().unwrap();
    assert!(read(&*again).unwrap());
}
