//! An application's own tables come back as they were saved, whatever was damaged since.

use checkpoint_store::*;
use std::collections::BTreeMap;
use std::sync::Arc;

type Rows = BTreeMap<(String, Vec<u8>), Vec<u8>>;

fn restore(checkpoints: &mut TableCheckpoints) -> Rows {
    let load = |rows: &mut Rows, row: TableRow<'_>| {
        rows.insert((row.table.to_owned(), row.key.to_vec()), row.value.to_vec());
        Ok::<_, Error>(())
    };
    checkpoints.restore(load).unwrap()
}

#[test]
fn deltas_deletions_and_a_restart() {
    let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
    let mut model = Rows::new();
    for restart in 0..3_u8 {
        let mut checkpoints = TableCheckpoints::open(Arc::clone(&blobs), "app").unwrap();
        assert_eq!(restore(&mut checkpoints), model);
        for round in 0..12_u8 {
            let (key, gone) = ([round % 5], [round % 3]);
            let table = if round % 2 == 0 { "even" } else { "odd" };
            let failed = checkpoints.save(WriteKind::Delta, 0, |rows| {
                rows.put(table, b"never", Some(b"seen"))?;
                Err(Error::ReadOnly)
            });
            failed.unwrap_err();
            let save = |rows: &mut TableRows| {
                rows.put(table, &key, Some(&[restart, round]))?;
                rows.put("even", &gone, None)
            };
            checkpoints.save(WriteKind::Delta, 0, save).unwrap();
            model.insert((table.to_owned(), key.to_vec()), vec![restart, round]);
            model.remove(&("even".to_owned(), gone.to_vec()));
            assert_eq!(restore(&mut checkpoints), model);
        }
    }
    // Retention and compaction keep it small.
    let store = CheckpointStore::open_read_only(Arc::clone(&blobs), StoreOptions::default());
    assert_eq!(store.checkpoints().unwrap().len(), 3);
    assert!(blobs.list(&BlobPath::root()).unwrap().len() < 60);
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_reported() {
    let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
    let mut checkpoints = TableCheckpoints::open(Arc::clone(&blobs), "app").unwrap();
    for value in [b"1", b"2"] {
        let save = |rows: &mut TableRows| rows.put("t", b"k", Some(value));
        checkpoints.save(WriteKind::Full, 0, save).unwrap();
    }
    let listing = blobs.list(&BlobPath::root()).unwrap();
    let newest = listing
        .iter()
        .rfind(|blob| blob.path.as_str().ends_with("parquet"));
    let path = &newest.unwrap().path;
    let mut bytes = blobs.get(path).unwrap().unwrap().to_vec();
    bytes[9] ^= 4;
    let _ = blobs.put(path, bytes.into(), PutMode::Overwrite).unwrap();
    let mut checkpoints = TableCheckpoints::open(blobs, "app").unwrap();
    let rows = restore(&mut checkpoints);
    assert_eq!(rows.into_values().collect::<Vec<_>>(), [b"1"]);
    let [passed] = checkpoints.passed_over() else {
        panic!("{:?}", checkpoints.passed_over());
    };
    assert_eq!(passed.checkpoint.id.get(), 2);
    assert!(passed.to_string().contains("checksum"), "{passed}");
}
