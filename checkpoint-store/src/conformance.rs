//! The suite that every [`BlobStore`] must pass: one function a behaviour.
//!
//! ```
//! use checkpoint_store::{BlobStore, MemoryBlobs};
//! use std::sync::Arc;
//!
//! fn open() -> Arc<dyn BlobStore> {
//!     Arc::new(MemoryBlobs::new())
//! }
//!
//! checkpoint_store::blob_store_conformance!(open);
//! # fn main() {}
//! ```

use crate::blob::{BlobStore, PutMode, PutOutcome};
use crate::ids::BlobPath;
use bytes::Bytes;
use std::sync::Arc;

/// Declares one test a behaviour, on stores that `$open` gives: a function without arguments that
/// returns an empty `Arc<dyn BlobStore>`.
#[macro_export]
macro_rules! blob_store_conformance {
    ($open:expr) => {
        $crate::blob_store_conformance!(
            @each $open,
            reads_what_was_put,
            absent_blobs_are_none,
            create_leaves_what_is_there,
            overwrite_replaces,
            ranges_are_cut_at_the_end,
            lists_below_a_prefix_in_order,
            deletes_and_forgives,
            exactly_one_creates,
            a_directory_can_come_back
        );
    };
    (@each $open:expr, $($name:ident),+) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::$name(&($open)());
            }
        )+
    };
}

fn path(text: &str) -> BlobPath {
    BlobPath::new(text).expect("a valid path")
}

fn put(blobs: &Arc<dyn BlobStore>, at: &str, bytes: &[u8], mode: PutMode) -> PutOutcome {
    blobs
        .put(&path(at), Bytes::copy_from_slice(bytes), mode)
        .expect("put")
}

fn get(blobs: &Arc<dyn BlobStore>, at: &str) -> Option<Bytes> {
    blobs.get(&path(at)).expect("get")
}

/// Removes everything and asserts that nothing is left.
fn clear(blobs: &Arc<dyn BlobStore>) {
    for blob in blobs.list(&BlobPath::root()).expect("list") {
        blobs.delete(&blob.path).expect("delete");
    }
    assert_eq!(blobs.list(&BlobPath::root()).expect("list"), []);
}

/// Bytes come back as they were, none and many.
pub fn reads_what_was_put(blobs: &Arc<dyn BlobStore>) {
    let large: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    for (at, bytes) in [("a", &b""[..]), ("b/c/d", b"x"), ("b/e.parquet", &large)] {
        assert_eq!(put(blobs, at, bytes, PutMode::Create), PutOutcome::Written);
        assert_eq!(get(blobs, at).as_deref(), Some(bytes));
    }
    clear(blobs);
}

/// A blob that is not there is no error.
pub fn absent_blobs_are_none(blobs: &Arc<dyn BlobStore>) {
    let _ = put(blobs, "dir/there", b"x", PutMode::Create);
    for at in ["absent", "dir/absent", "no/such/dir"] {
        assert_eq!(get(blobs, at), None);
        assert_eq!(blobs.get_range(&path(at), 0..10).expect("get_range"), None);
    }
    clear(blobs);
}

/// Create changes nothing that exists, and says so.
pub fn create_leaves_what_is_there(blobs: &Arc<dyn BlobStore>) {
    assert_eq!(
        put(blobs, "d/a", b"first", PutMode::Create),
        PutOutcome::Written
    );
    assert_eq!(
        put(blobs, "d/a", b"second", PutMode::Create),
        PutOutcome::AlreadyExists
    );
    assert_eq!(get(blobs, "d/a").as_deref(), Some(&b"first"[..]));
    clear(blobs);
}

/// Overwrite writes whether there is something or not.
pub fn overwrite_replaces(blobs: &Arc<dyn BlobStore>) {
    assert_eq!(
        put(blobs, "a", b"first", PutMode::Overwrite),
        PutOutcome::Written
    );
    assert_eq!(
        put(blobs, "a", b"2", PutMode::Overwrite),
        PutOutcome::Written
    );
    assert_eq!(get(blobs, "a").as_deref(), Some(&b"2"[..]));
    clear(blobs);
}

/// A range beyond the end gives what there is.
pub fn ranges_are_cut_at_the_end(blobs: &Arc<dyn BlobStore>) {
    let _ = put(blobs, "a", b"0123456789", PutMode::Create);
    let range = |range| blobs.get_range(&path("a"), range).expect("get_range");
    for (wanted, expected) in [
        (0..10, &b"0123456789"[..]),
        (3..5, b"34"),
        (8..100, b"89"),
        (10..20, b""),
        (50..60, b""),
        (4..4, b""),
    ] {
        assert_eq!(range(wanted).as_deref(), Some(expected));
    }
    clear(blobs);
}

/// Lists whole segments, at any depth, in order, with sizes.
pub fn lists_below_a_prefix_in_order(blobs: &Arc<dyn BlobStore>) {
    for at in ["b/2", "a", "b/1/x", "bb/1", "b/10"] {
        let _ = put(blobs, at, at.as_bytes(), PutMode::Create);
    }
    let list = |prefix: &str| -> Vec<(String, u64)> {
        let listing = blobs.list(&path(prefix)).expect("list");
        listing
            .into_iter()
            .map(|blob| (blob.path.to_string(), blob.size))
            .collect()
    };
    let expected = |names: &[&str]| -> Vec<(String, u64)> {
        names
            .iter()
            .map(|name| ((*name).to_owned(), name.len() as u64))
            .collect()
    };
    assert_eq!(list(""), expected(&["a", "b/1/x", "b/10", "b/2", "bb/1"]));
    assert_eq!(list("b"), expected(&["b/1/x", "b/10", "b/2"]));
    assert_eq!(list("b/1"), expected(&["b/1/x"]));
    assert_eq!(list("none"), []);
    clear(blobs);
}

/// What is deleted is gone; what is not there can be deleted.
pub fn deletes_and_forgives(blobs: &Arc<dyn BlobStore>) {
    for at in ["x/a", "x/b"] {
        let _ = put(blobs, at, b"1", PutMode::Create);
    }
    blobs.delete(&path("x/a")).expect("delete");
    blobs.delete(&path("x/a")).expect("delete again");
    blobs.delete(&path("never/was")).expect("delete of nothing");
    assert_eq!(get(blobs, "x/a"), None);
    assert_eq!(get(blobs, "x/b").as_deref(), Some(&b"1"[..]));
    assert_eq!(
        put(blobs, "x/a", b"2", PutMode::Create),
        PutOutcome::Written
    );
    clear(blobs);
}

/// Of several writers that create the same blob at once one succeeds, and its bytes are there.
pub fn exactly_one_creates(blobs: &Arc<dyn BlobStore>) {
    for round in 0..10 {
        let at = path(&format!("race/{round}"));
        let winners: Vec<u8> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..4_u8)
                .map(|racer| {
                    let at = &at;
                    scope.spawn(move || {
                        let bytes = Bytes::from(vec![racer; 1000]);
                        let outcome = blobs.put(at, bytes, PutMode::Create).expect("put");
                        (outcome == PutOutcome::Written).then_some(racer)
                    })
                })
                .collect();
            racers
                .into_iter()
                .filter_map(|racer| racer.join().expect("no panic"))
                .collect()
        });
        let [winner] = winners[..] else {
            panic!("{} writers created the same blob", winners.len());
        };
        assert_eq!(
            get(blobs, at.as_str()),
            Some(Bytes::from(vec![winner; 1000]))
        );
    }
    clear(blobs);
}

/// A prefix whose last blob was deleted can be used again, also while others delete in it.
pub fn a_directory_can_come_back(blobs: &Arc<dyn BlobStore>) {
    std::thread::scope(|scope| {
        for worker in 0..2 {
            scope.spawn(move || {
                for _ in 0..50 {
                    let at = path(&format!("shared/dir/{worker}"));
                    let bytes = Bytes::from_static(b"x");
                    let outcome = blobs.put(&at, bytes, PutMode::Create).expect("put");
                    assert_eq!(outcome, PutOutcome::Written);
                    blobs.delete(&at).expect("delete");
                }
            });
        }
    });
    clear(blobs);
}
