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

mod object_store_in_memory {
    use super::*;
    use checkpoint_store::{BlobPath, ObjectBlobs};

    fn open() -> Arc<dyn BlobStore> {
        let store = Arc::new(object_store::memory::InMemory::new());
        Arc::new(ObjectBlobs::new(store, &BlobPath::root()).unwrap())
    }

    checkpoint_store::blob_store_conformance!(open);
}

mod object_store_below_a_prefix {
    use super::*;
    use checkpoint_store::{BlobPath, ObjectBlobs, PutMode};

    fn open() -> Arc<dyn BlobStore> {
        let store = Arc::new(object_store::memory::InMemory::new());
        let neighbour = ObjectBlobs::new(
            Arc::<object_store::memory::InMemory>::clone(&store),
            &BlobPath::new("jobs/ab").unwrap(),
        );
        // What others keep beside it is not seen.
        let path = BlobPath::new("x").unwrap();
        let bytes = bytes::Bytes::from_static(b"theirs");
        let _ = neighbour.unwrap().put(&path, bytes, PutMode::Create);
        Arc::new(ObjectBlobs::new(store, &BlobPath::new("jobs/a").unwrap()).unwrap())
    }

    checkpoint_store::blob_store_conformance!(open);

    #[test]
    fn an_encoded_name_stays_as_it_is() {
        let blobs = open();
        let path = BlobPath::root().join("wide name/ü").join("%41.parquet");
        let bytes = bytes::Bytes::from_static(b"1");
        let _ = blobs.put(&path, bytes, PutMode::Create).unwrap();
        let [listed] = &blobs.list(&BlobPath::root()).unwrap()[..] else {
            panic!("one blob was put");
        };
        assert_eq!(listed.path, path);
        assert!(blobs.get(&path).unwrap().is_some());
    }

    #[test]
    fn it_works_from_within_an_asynchronous_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let blobs = open();
            assert_eq!(blobs.list(&BlobPath::root()).unwrap(), []);
        });
    }
}
