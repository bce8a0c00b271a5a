//! What was flushed is there again, if the backend is durable.

use super::{scans::tricky, upkeep::churn, *};

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
