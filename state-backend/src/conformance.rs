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

const TRICKY: [&[u8]; 14] = [
    b"",
    b"\0",
    b"\0\0",
    b"\0\0\0",
    b"\0\0a",
    b"\0\0a\0",
    b"\0\0aa",
    b"\0\0b",
    b"\0\x01",
    b"\0\xff",
    b"\0\xff\xff",
    b"\x01\0",
    b"\xff",
    b"\xff\xff",
];

fn tricky(backend: &mut Backend) {
    // Written out of order, and in part flushed.
    for (n, i) in [7, 2, 13, 0, 9, 4, 11]
        .into_iter()
        .chain([1, 3, 5, 6, 8, 10, 12])
        .enumerate()
    {
        put(backend, A, TRICKY[i], TRICKY[i]);
        put(backend, B, b"\0\0other", b"");
        if n == 6 {
            backend.flush(Durability::Buffered).expect("flush");
        }
    }
}

/// Keys come in ascending byte order, whatever their length.
pub fn scan_is_ordered<T: Target>(target: &mut T) {
    let mut backend = target.open();
    tricky(&mut backend);
    let rows = scan(&backend, A, b"", None);
    assert_eq!(keys(&rows), TRICKY);
    assert!(rows.iter().all(|(key, value)| key == value));
    finish(backend);
}

/// A scan visits the keys that start with its prefix and no others.
pub fn scan_keeps_to_its_prefix<T: Target>(target: &mut T) {
    let mut backend = target.open();
    tricky(&mut backend);
    for prefix in TRICKY
        .into_iter()
        .chain([&b"\0\0c"[..], b"\xff\xff\xff", b"b"])
    {
        let expected: Vec<&[u8]> = TRICKY
            .into_iter()
            .filter(|k| k.starts_with(prefix))
            .collect();
        assert_eq!(
            keys(&scan(&backend, A, prefix, None)),
            expected,
            "prefix {prefix:?}"
        );
    }
    finish(backend);
}

/// With `after`, a scan visits what is strictly greater, wherever that lies to the prefix.
pub fn scan_goes_on_after_a_key<T: Target>(target: &mut T) {
    let mut backend = target.open();
    tricky(&mut backend);
    for prefix in TRICKY {
        for after in TRICKY.into_iter().chain([&b"\0\0ab"[..], b"\xff\xff\xff"]) {
            let expected: Vec<&[u8]> = TRICKY
                .into_iter()
                .filter(|k| k.starts_with(prefix) && *k > after)
                .collect();
            let rows = scan(&backend, A, prefix, Some(after));
            assert_eq!(keys(&rows), expected, "prefix {prefix:?} after {after:?}");
        }
    }
    finish(backend);
}

/// A visitor that breaks sees no further row.
pub fn scan_stops_when_told<T: Target>(target: &mut T) {
    let mut backend = target.open();
    tricky(&mut backend);
    for limit in 1..=TRICKY.len() {
        let mut seen = 0;
        backend
            .scan(A, b"", None, &mut |key, _| {
                assert_eq!(key, TRICKY[seen]);
                seen += 1;
                if seen == limit {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .expect("scan");
        assert_eq!(seen, limit);
    }
    finish(backend);
}

/// Scans see changes before and after a flush alike, deletions and replacements included.
pub fn scan_sees_every_change<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model = BTreeMap::new();
    for round in 0..6u8 {
        for i in 0..40u8 {
            let key = vec![0, 0, i.wrapping_mul(37)];
            if (i + round) % 3 == 0 {
                delete(&mut backend, A, &key);
                model.remove(&(A, key));
            } else {
                put(&mut backend, A, &key, &[round, i]);
                model.insert((A, key), vec![round, i]);
            }
        }
        assert_holds(&backend, &model);
        match round % 3 {
            0 => {}
            1 => backend.flush(Durability::Buffered).expect("flush"),
            _ => backend.flush(Durability::Synced).expect("flush"),
        }
        assert_holds(&backend, &model);
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

/// Rows that were loaded are there like applied ones; applying goes on from there.
pub fn load_is_read_back<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model = BTreeMap::new();
    // Two states in turn, each ascending: as a restore does it, one key group after the other.
    for group in 0..8u8 {
        for state in [A, B] {
            let rows: Vec<_> = (0..200u8)
                .map(|i| (vec![0, group, i], vec![i; 20]))
                .collect();
            let changes: Vec<_> = rows
                .iter()
                .map(|(key, value)| Change {
                    state,
                    key,
                    value: Some(value),
                })
                .collect();
            backend.load(&changes).expect("load");
            model.extend(rows.into_iter().map(|(key, value)| ((state, key), value)));
        }
    }
    assert_holds(&backend, &model);
    backend.flush(Durability::Synced).expect("flush");
    put(&mut backend, A, &[0, 3, 7], b"new");
    model.insert((A, vec![0, 3, 7]), b"new".to_vec());
    // Out of order is slower, and right all the same.
    backend
        .load(&[Change {
            state: A,
            key: &[0, 0],
            value: Some(b"late"),
        }])
        .expect("load");
    model.insert((A, vec![0, 0]), b"late".to_vec());
    assert_holds(&backend, &model);
    finish(backend);
}

/// After a clear nothing is left, of no state, and writing goes on.
pub fn clear_empties<T: Target>(target: &mut T) {
    let mut backend = target.open();
    backend.clear().expect("clear the empty backend");
    for flushed in [false, true] {
        tricky(&mut backend);
        if flushed {
            backend.flush(Durability::Synced).expect("flush");
        }
        backend.clear().expect("clear");
        assert_holds(&backend, &BTreeMap::new());
        assert_eq!(get(&backend, A, b"\0\0a"), None);
    }
    put(&mut backend, A, b"\0\0a", b"again");
    assert_eq!(
        scan(&backend, A, b"", None),
        [(b"\0\0a".to_vec(), b"again".to_vec())]
    );
    finish(backend);
}

/// `stats` counts the rows and what it was given.
pub fn rows_are_counted<T: Target>(target: &mut T) {
    let mut backend = target.open();
    for i in 0..100u8 {
        put(&mut backend, A, &[0, 0, i], &[i; 10]);
        if i % 10 == 0 {
            assert_eq!(rows(&mut backend), u64::from(i) + 1);
        }
    }
    assert!(
        backend.stats().accepted_bytes >= 100 * 13,
        "{:?}",
        backend.stats()
    );
    for i in 0..50u8 {
        delete(&mut backend, A, &[0, 0, i]);
        delete(&mut backend, A, &[0, 0, i]);
    }
    assert_eq!(rows(&mut backend), 50);
    finish(backend);
}

fn churn(backend: &mut Backend) -> BTreeMap<(StateId, Vec<u8>), Vec<u8>> {
    let mut model = BTreeMap::new();
    for round in 0..30u8 {
        for i in 0..100u8 {
            if round < 29 || i % 10 == 0 {
                put(backend, A, &[0, i % 4, i], &[round; 100]);
                model.insert((A, vec![0, i % 4, i]), vec![round; 100]);
            } else {
                delete(backend, A, &[0, i % 4, i]);
                model.remove(&(A, vec![0, i % 4, i]));
            }
        }
    }
    model
}

/// Background work does not show in what is read.
pub fn maintenance_changes_nothing<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model = churn(&mut backend);
    for round in 0..50u8 {
        backend.maintain(1000).expect("maintain");
        put(&mut backend, B, &[0, 0, round], &[round]);
        model.insert((B, vec![0, 0, round]), vec![round]);
        assert_eq!(scan(&backend, A, b"", None).len(), 10);
    }
    assert_holds(&backend, &model);
    finish(backend);
}

/// Left alone, background work comes to an end.
pub fn maintenance_comes_to_an_end<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let model = churn(&mut backend);
    backend.flush(Durability::Synced).expect("flush");
    let mut slices = 0u64;
    while backend.maintain(1 << 16).expect("maintain") == Maintenance::Pending {
        slices += 1;
        assert!(slices < 1_000_000, "maintenance never comes to an end");
        std::thread::yield_now();
    }
    assert_holds(&backend, &model);
    finish(backend);
}

/// Durable backends only: what was flushed is there again after opening anew.
pub fn rows_survive_reopening<T: Target>(target: &mut T) {
    if !T::DURABLE {
        return;
    }
    let mut backend = target.open();
    let mut model = BTreeMap::new();
    for (round, durability) in [Durability::Synced, Durability::Buffered, Durability::Synced]
        .into_iter()
        .enumerate()
    {
        for i in 0..200u8 {
            let (key, value) = (vec![0, i, round as u8], vec![i; usize::from(i)]);
            put(&mut backend, A, &key, &value);
            put(&mut backend, LAST, &[0, i], &[round as u8]);
            model.insert((A, key), value);
            model.insert((LAST, vec![0, i]), vec![round as u8]);
        }
        backend.flush(durability).expect("flush");
        drop(backend);
        backend = target.open();
        assert_eq!(backend.stats().rows, model.len() as u64);
        assert_holds(&backend, &model);
    }
    finish(backend);
}

/// Durable backends only: what was deleted stays deleted, also after maintenance and a second reopening.
pub fn deletions_survive_reopening<T: Target>(target: &mut T) {
    if !T::DURABLE {
        return;
    }
    let mut backend = target.open();
    let model = churn(&mut backend);
    for _ in 0..3 {
        backend.flush(Durability::Synced).expect("flush");
        drop(backend);
        backend = target.open();
        assert_holds(&backend, &model);
        for _ in 0..1000 {
            if backend.maintain(1 << 16).expect("maintain") == Maintenance::Idle {
                break;
            }
        }
    }
    finish(backend);
}

/// Durable backends only: after a clear nothing comes back.
pub fn a_clear_survives_reopening<T: Target>(target: &mut T) {
    if !T::DURABLE {
        return;
    }
    let mut backend = target.open();
    tricky(&mut backend);
    backend.flush(Durability::Synced).expect("flush");
    backend.clear().expect("clear");
    backend.flush(Durability::Synced).expect("flush");
    drop(backend);
    let mut backend = target.open();
    assert_holds(&backend, &BTreeMap::new());
    put(&mut backend, A, b"\0\0a", b"after");
    backend.flush(Durability::Synced).expect("flush");
    drop(backend);
    let backend = target.open();
    assert_eq!(
        scan(&backend, A, b"", None),
        [(b"\0\0a".to_vec(), b"after".to_vec())]
    );
    finish(backend);
}

/// Two thousand random operations, compared with a plain map as they go.
pub fn random_operations_match_a_map<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model: BTreeMap<(StateId, Vec<u8>), Vec<u8>> = BTreeMap::new();
    let mut random = Random(0x5EED);
    for step in 0..2000 {
        match random.below(100) {
            0..60 => {
                let changes: Vec<_> = (0..=random.below(8))
                    .map(|_| (random.state(), random.key(), random.value()))
                    .collect();
                let batch: Vec<_> = changes
                    .iter()
                    .map(|(state, key, value)| Change {
                        state: *state,
                        key,
                        value: value.as_deref(),
                    })
                    .collect();
                backend.apply(&batch).expect("apply");
                for (state, key, value) in changes {
                    match value {
                        Some(value) => model.insert((state, key), value),
                        None => model.remove(&(state, key)),
                    };
                }
            }
            60..80 => {
                let (state, key) = (random.state(), random.key());
                let expected = model.get(&(state, key.clone())).cloned();
                assert_eq!(get(&backend, state, &key), expected, "step {step}");
            }
            80..92 => {
                let (state, key) = (random.state(), random.key());
                let prefix = &key[..random.below(key.len() + 1)];
                let after = (random.below(2) == 0).then(|| random.key());
                let expected: Rows = model
                    .iter()
                    .filter(|((of, key), _)| {
                        *of == state
                            && key.starts_with(prefix)
                            && after.as_ref().is_none_or(|after| key > after)
                    })
                    .map(|((_, key), value)| (key.clone(), value.clone()))
                    .collect();
                let rows = scan(&backend, state, prefix, after.as_deref());
                assert_eq!(rows, expected, "step {step}");
            }
            92..95 => backend.flush(Durability::Buffered).expect("flush"),
            95..98 => {
                backend.maintain(4096).expect("maintain");
            }
            98 if T::DURABLE => {
                backend.flush(Durability::Synced).expect("flush");
                drop(backend);
                backend = target.open();
                assert_holds(&backend, &model);
            }
            _ => {
                assert_eq!(rows(&mut backend), model.len() as u64, "step {step}");
                assert_holds(&backend, &model);
            }
        }
    }
    assert_holds(&backend, &model);
    finish(backend);
}

/// splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }

    fn state(&mut self) -> StateId {
        STATES[self.below(STATES.len())]
    }

    fn key(&mut self) -> Vec<u8> {
        let mut key = vec![0, self.below(4) as u8];
        key.extend((0..self.below(4)).map(|_| [0, 1, b'a', 0xff][self.below(4)]));
        key
    }

    fn value(&mut self) -> Option<Vec<u8>> {
        let len = [0, 1, 10, 100, 1000][self.below(5)];
        (self.below(4) > 0).then(|| vec![self.below(256) as u8; len])
    }
}
