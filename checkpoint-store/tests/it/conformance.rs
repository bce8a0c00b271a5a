//! Every blob store keeps the contract of `BlobStore`.

use checkpoint_store::BlobStore;
use std::sync::Arc;

mod memory {
    use super::*;
    use checkpoint_store::MemoryBlobs;

    fn open() -> Arc<dyn BlobStore> {
        Arc::new(MemoryBlobs::new())
    }

    checkpoint_store::blob_store_conformance!(open);
}

mod local {
    use super::*;
    use checkpoint_store::LocalBlobs;

    /// A store whose directory goes with it.
    #[derive(Debug)]
    struct Temporary(
        LocalBlobs,
        #[expect(dead_code, reason = "held")] tempfile::TempDir,
    );

    impl BlobStore for Temporary {
        fn get(
            &self,
            path: &checkpoint_store::BlobPath,
        ) -> checkpoint_store::Result<Option<bytes::Bytes>> {
            self.0.get(path)
        }

        fn get_range(
            &self,
            path: &checkpoint_store::BlobPath,
            range: std::ops::Range<u64>,
        ) -> checkpoint_store::Result<Option<bytes::Bytes>> {
            self.0.get_range(path, range)
        }

        fn put(
            &self,
            path: &checkpoint_store::BlobPath,
            bytes: bytes::Bytes,
            mode: checkpoint_store::PutMode,
        ) -> checkpoint_store::Result<checkpoint_store::PutOutcome> {
            self.0.put(path, bytes, mode)
        }

        fn list(
            &self,
            prefix: &checkpoint_store::BlobPath,
        ) -> checkpoint_store::Result<Vec<checkpoint_store::BlobInfo>> {
            self.0.list(prefix)
        }

        fn delete(&self, path: &checkpoint_store::BlobPath) -> checkpoint_store::Result<()> {
            self.0.delete(path)
        }
    }

    fn open() -> Arc<dyn BlobStore> {
        let dir = tempfile::tempdir().unwrap();
        Arc::new(Temporary(
            LocalBlobs::open(dir.path().join("a/b")).unwrap(),
            dir,
        ))
    }

    checkpoint_store::blob_store_conformance!(open);

    #[test]
    fn two_processes_see_each_other_and_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let one = LocalBlobs::open(dir.path()).unwrap();
        let two = LocalBlobs::open(dir.path()).unwrap();
        let path = checkpoint_store::BlobPath::new("x/y").unwrap();
        let put = |blobs: &LocalBlobs| {
            blobs.put(
                &path,
                bytes::Bytes::from_static(b"1"),
                checkpoint_store::PutMode::Create,
            )
        };
        assert_eq!(put(&one).unwrap(), checkpoint_store::PutOutcome::Written);
        assert_eq!(
            put(&two).unwrap(),
            checkpoint_store::PutOutcome::AlreadyExists
        );
        two.delete(&path).unwrap();
        assert_eq!(one.get(&path).unwrap(), None);
        assert!(!dir.path().join("x").exists(), "an empty directory stayed");
        let left = std::fs::read_dir(dir.path().join(".tmp")).unwrap().count();
        assert_eq!(left, 0, "temporary files stayed");
    }
}

mod simulated_disk {
    use super::*;
    use checkpoint_store::blob::SimulatedDisk;

    fn open() -> Arc<dyn BlobStore> {
        Arc::new(SimulatedDisk::new().open().unwrap())
    }

    checkpoint_store::blob_store_conformance!(open);
}

mod faultless_wrapper {
    use super::*;
    use checkpoint_store::MemoryBlobs;
    use checkpoint_store::fault::{Fault, FaultyBlobs};

    fn open() -> Arc<dyn BlobStore> {
        Arc::new(FaultyBlobs::new(Arc::new(MemoryBlobs::new()), |_, _, _| {
            Fault::None
        }))
    }

    checkpoint_store::blob_store_conformance!(open);
}
