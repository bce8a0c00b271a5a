//! The B-tree passes the suite, with a thread on the real file system and without one on a
//! simulated one, where buffers are so small that it spills all the time.

#![cfg(all(feature = "conformance", feature = "testing"))]

use std::path::Path;
use std::sync::Arc;

use super::RedbBackend;
use crate::conformance::Target;
use crate::disk::{DiskOptions, Preset, Work};
use crate::testing::SimulatedFs;
use crate::{KeyGroupRange, KeyedStateBackend, MaxParallelism};

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
