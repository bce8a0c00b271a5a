//! The suite that every backend must pass (feature `conformance`).
//!
//! Implement [`Target`] for something that can open your backend, and write one line in a test
//! module; each behaviour becomes a test of its own:
//!
//! ```ignore
//! struct Mine(tempfile::TempDir);
//!
//! impl state_backend::conformance::Target for Mine {
//!     const DURABLE: bool = true;
//!     fn open(&mut self) -> Box<dyn KeyedStateBackend> {
//!         Box::new(MyBackend::open(self.0.path()).unwrap())
//!     }
//! }
//!
//! state_backend::conformance_tests!(Mine(tempfile::tempdir().unwrap()));
//! ```
//!
//! A wrapper around a backend runs the suite too. Everything here panics on the first
//! difference: it is meant for tests.

mod frozen;
mod random;
mod reopening;
mod scans;
mod upkeep;

pub use frozen::frozen_rows_stay_as_they_were;
pub use random::random_operations_match_a_map;
pub use reopening::{
    a_clear_survives_reopening, deletions_survive_reopening, rows_survive_reopening,
};
pub use scans::{
    scan_goes_on_after_a_key, scan_is_ordered, scan_keeps_to_its_prefix, scan_sees_every_change,
    scan_stops_when_told,
};
pub use upkeep::{
    clear_empties, load_is_read_back, maintenance_changes_nothing, maintenance_comes_to_an_end,
    rows_are_counted,
};

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::{Change, Durability, KeyedStateBackend, Maintenance, StateId};

/// Opens the backend under test.
pub trait Target {
    /// Whether what was flushed is there again when the backend is dropped and opened anew.
    const DURABLE: bool;

    /// Opens the backend: empty the first time, with what it held every later time when it is
    /// durable. The one opened before has been dropped by then.
    fn open(&mut self) -> Box<dyn KeyedStateBackend>;
}

/// Expands to one `#[test]` for each behaviour of the suite, against the target that the expression makes.
#[macro_export]
macro_rules! conformance_tests {
    ($target:expr) => {
        $crate::conformance_tests! { @each $target;
            an_empty_backend_holds_nothing
            a_row_is_read_back
            empty_keys_and_values_are_kept
            a_later_write_replaces
            a_deleted_row_is_gone
            the_later_of_two_changes_counts
            an_empty_batch_is_fine
            states_are_apart
            scan_is_ordered
            scan_keeps_to_its_prefix
            scan_goes_on_after_a_key
            scan_stops_when_told
            scan_sees_every_change
            reads_nest
            values_of_any_size
            many_rows
            load_is_read_back
            clear_empties
            rows_are_counted
            maintenance_changes_nothing
            maintenance_comes_to_an_end
            rows_survive_reopening
            deletions_survive_reopening
            a_clear_survives_reopening
            random_operations_match_a_map
            frozen_rows_stay_as_they_were
        }
    };
    (@each $target:expr; $($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                $crate::conformance::$name(&mut $target);
            }
        )*
    };
}

const A: StateId = StateId::new(1);
const B: StateId = StateId::new(2);
const LAST: StateId = StateId::new(u16::MAX);
const STATES: [StateId; 4] = [StateId::STORE, A, B, LAST];

type Backend = Box<dyn KeyedStateBackend>;
type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn put(backend: &mut Backend, state: StateId, key: &[u8], value: &[u8]) {
    let value = Some(value);
    backend
        .apply(&[Change { state, key, value }])
        .expect("apply a put");
}

fn delete(backend: &mut Backend, state: StateId, key: &[u8]) {
    backend
        .apply(&[Change {
            state,
            key,
            value: None,
        }])
        .expect("apply a deletion");
}

fn get(backend: &Backend, state: StateId, key: &[u8]) -> Option<Vec<u8>> {
    let mut values = Vec::new();
    let found = backend
        .read(state, key, &mut |value| values.push(value.to_vec()))
        .expect("read");
    assert_eq!(
        values.len(),
        usize::from(found),
        "`found` is called once for a row"
    );
    values.pop()
}

fn scan(backend: &Backend, state: StateId, prefix: &[u8], after: Option<&[u8]>) -> Rows {
    let mut rows = Vec::new();
    backend
        .scan(state, prefix, after, &mut |key, value| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        })
        .expect("scan");
    rows
}

fn keys(rows: &Rows) -> Vec<&[u8]> {
    rows.iter().map(|(key, _)| key.as_slice()).collect()
}

/// The rows counted, which is exact after a flush.
fn rows(backend: &mut Backend) -> u64 {
    backend.flush(Durability::Buffered).expect("flush");
    backend.stats().rows
}

/// Clears, and finds nothing left.
fn finish(mut backend: Backend) {
    backend.clear().expect("clear");
    assert_holds(&backend, &BTreeMap::new());
    assert_eq!(rows(&mut backend), 0, "rows after clear");
}

fn assert_holds(backend: &Backend, model: &BTreeMap<(StateId, Vec<u8>), Vec<u8>>) {
    for state in STATES {
        let expected: Rows = model
            .iter()
            .filter(|((of, _), _)| *of == state)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        assert_eq!(scan(backend, state, b"", None), expected, "rows of {state}");
    }
}

/// Reads and scans of an empty backend find nothing.
pub fn an_empty_backend_holds_nothing<T: Target>(target: &mut T) {
    let backend = target.open();
    for state in STATES {
        assert_eq!(get(&backend, state, b"\0\0key"), None);
        assert_eq!(scan(&backend, state, b"", None), []);
        assert_eq!(scan(&backend, state, b"\0\0", Some(b"\0\0a")), []);
    }
    finish(backend);
}

/// A written row is read back, and only under its key.
pub fn a_row_is_read_back<T: Target>(target: &mut T) {
    let mut backend = target.open();
    put(&mut backend, A, b"\0\x01key", b"value");
    assert_eq!(
        get(&backend, A, b"\0\x01key").as_deref(),
        Some(&b"value"[..])
    );
    for other in [&b"\0\x01ke"[..], b"\0\x01keys", b"\0\x02key", b"key", b""] {
        assert_eq!(get(&backend, A, other), None, "{other:?}");
    }
    finish(backend);
}

/// Empty keys and empty values are keys and values like others.
pub fn empty_keys_and_values_are_kept<T: Target>(target: &mut T) {
    let mut backend = target.open();
    put(&mut backend, A, b"", b"of the empty key");
    put(&mut backend, A, b"\0", b"");
    assert_eq!(
        get(&backend, A, b"").as_deref(),
        Some(&b"of the empty key"[..])
    );
    assert_eq!(get(&backend, A, b"\0").as_deref(), Some(&b""[..]));
    assert_eq!(keys(&scan(&backend, A, b"", None)), [&b""[..], b"\0"]);
    assert_eq!(keys(&scan(&backend, A, b"", Some(b""))), [b"\0"]);
    delete(&mut backend, A, b"");
    assert_eq!(get(&backend, A, b""), None);
    finish(backend);
}

/// A write to a key that is there replaces its value, by a longer or a shorter one.
pub fn a_later_write_replaces<T: Target>(target: &mut T) {
    let mut backend = target.open();
    for value in [&b"first"[..], b"the second, longer", b"3", b""] {
        put(&mut backend, A, b"\0\0key", value);
        assert_eq!(get(&backend, A, b"\0\0key").as_deref(), Some(value));
        assert_eq!(rows(&mut backend), 1);
    }
    finish(backend);
}

/// A deleted row is neither read nor scanned, and can be written again; deleting what is not
/// there is fine.
pub fn a_deleted_row_is_gone<T: Target>(target: &mut T) {
    let mut backend = target.open();
    delete(&mut backend, A, b"\0\0absent");
    put(&mut backend, A, b"\0\0a", b"1");
    put(&mut backend, A, b"\0\0b", b"2");
    backend.flush(Durability::Buffered).expect("flush");
    delete(&mut backend, A, b"\0\0a");
    assert_eq!(get(&backend, A, b"\0\0a"), None);
    assert_eq!(keys(&scan(&backend, A, b"", None)), [b"\0\0b"]);
    backend.flush(Durability::Synced).expect("flush");
    assert_eq!(get(&backend, A, b"\0\0a"), None);
    put(&mut backend, A, b"\0\0a", b"3");
    assert_eq!(get(&backend, A, b"\0\0a").as_deref(), Some(&b"3"[..]));
    finish(backend);
}

/// Within one batch the later of two changes to a key counts.
pub fn the_later_of_two_changes_counts<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let change = |key, value| Change {
        state: A,
        key,
        value,
    };
    backend
        .apply(&[
            change(b"\0\0twice", Some(b"1")),
            change(b"\0\0gone", Some(b"1")),
            change(b"\0\0back", None),
            change(b"\0\0twice", Some(b"2")),
            change(b"\0\0gone", None),
            change(b"\0\0back", Some(b"3")),
        ])
        .expect("apply");
    assert_eq!(get(&backend, A, b"\0\0twice").as_deref(), Some(&b"2"[..]));
    assert_eq!(get(&backend, A, b"\0\0gone"), None);
    assert_eq!(get(&backend, A, b"\0\0back").as_deref(), Some(&b"3"[..]));
    assert_eq!(rows(&mut backend), 2);
    finish(backend);
}

/// A batch without changes, or of deletions of nothing, changes nothing.
pub fn an_empty_batch_is_fine<T: Target>(target: &mut T) {
    let mut backend = target.open();
    backend.apply(&[]).expect("apply nothing");
    backend.load(&[]).expect("load nothing");
    delete(&mut backend, A, b"\0\0absent");
    backend.flush(Durability::Synced).expect("flush");
    assert_eq!(rows(&mut backend), 0);
    finish(backend);
}

/// One key in two states is two rows.
pub fn states_are_apart<T: Target>(target: &mut T) {
    let mut backend = target.open();
    for state in STATES {
        put(&mut backend, state, b"\0\0key", &state.get().to_be_bytes());
    }
    delete(&mut backend, B, b"\0\0key");
    for state in STATES {
        let expected = (state != B).then(|| state.get().to_be_bytes().to_vec());
        assert_eq!(get(&backend, state, b"\0\0key"), expected);
        assert_eq!(
            scan(&backend, state, b"", None).len(),
            usize::from(state != B)
        );
    }
    finish(backend);
}

/// A row can be read while another is being looked at.
pub fn reads_nest<T: Target>(target: &mut T) {
    let mut backend = target.open();
    put(&mut backend, A, b"\0\0a", b"of a");
    put(&mut backend, A, b"\0\0b", b"of b");
    backend.flush(Durability::Buffered).expect("flush");
    put(&mut backend, A, b"\0\0c", b"of c");
    let mut seen = 0;
    backend
        .scan(A, b"", None, &mut |key, value| {
            assert_eq!(get(&backend, A, key).as_deref(), Some(value));
            assert_eq!(scan(&backend, A, key, None).len(), 1);
            seen += 1;
            ControlFlow::Continue(())
        })
        .expect("scan");
    assert_eq!(seen, 3);
    finish(backend);
}

/// Values from nothing to megabytes, and keys of kilobytes, come back as they were.
pub fn values_of_any_size<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let sizes = [
        0usize,
        1,
        2,
        100,
        4095,
        4096,
        4097,
        65_535,
        65_536,
        1 << 20,
        3 << 20,
    ];
    let value = |size: usize| -> Vec<u8> { (0..size).map(|i| (i % 251) as u8).collect() };
    for size in sizes {
        put(
            &mut backend,
            A,
            &[&b"\0\0"[..], &size.to_be_bytes()].concat(),
            &value(size),
        );
    }
    let long_key = vec![7; 3000];
    put(&mut backend, A, &long_key, b"of a long key");
    for round in 0..2 {
        for size in sizes {
            let found = get(&backend, A, &[&b"\0\0"[..], &size.to_be_bytes()].concat());
            assert!(
                found == Some(value(size)),
                "value of {size} bytes, round {round}"
            );
        }
        assert_eq!(
            get(&backend, A, &long_key).as_deref(),
            Some(&b"of a long key"[..])
        );
        backend.flush(Durability::Synced).expect("flush");
    }
    finish(backend);
}

/// Some ten thousand rows in batches, overwritten and deleted in part.
pub fn many_rows<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model = BTreeMap::new();
    let key = |i: u32| [&[0, (i % 7) as u8][..], &i.to_be_bytes()].concat();
    for (round, step) in [(0u32, 1), (1, 3), (2, 5)] {
        let ids: Vec<u32> = (0..8000).step_by(step).collect();
        for batch in ids.chunks(500) {
            let rows: Vec<_> = batch
                .iter()
                .map(|i| (key(*i), [round.to_be_bytes(), i.to_be_bytes()].concat()))
                .collect();
            let changes: Vec<_> = rows
                .iter()
                .map(|(key, value)| Change {
                    state: A,
                    key,
                    value: (round < 2).then_some(value.as_slice()),
                })
                .collect();
            backend.apply(&changes).expect("apply");
            for (key, value) in rows {
                if round < 2 {
                    model.insert((A, key), value);
                } else {
                    model.remove(&(A, key));
                }
            }
        }
    }
    assert_eq!(rows(&mut backend), model.len() as u64);
    assert_holds(&backend, &model);
    finish(backend);
}
