//! Restoring, clearing, counting and background work.

use super::{scans::tricky, *};

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

pub(super) fn churn(backend: &mut Backend) -> BTreeMap<(StateId, Vec<u8>), Vec<u8>> {
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
