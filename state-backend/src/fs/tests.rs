//! The log passes the suite, on the real file system with room to spare and on a simulated one
//! with segments so small that it rolls and compacts all the time.

#![cfg(all(feature = "conformance", feature = "testing"))]

use std::path::Path;
use std::sync::Arc;

use super::FsBackend;
use crate::KeyedStateBackend;
use crate::conformance::Target;
use crate::disk::{DiskOptions, Preset, SyncPolicy, Work};
use crate::testing::SimulatedFs;

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
