//! Scans: order, prefixes, going on, stopping.

use super::*;

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

pub(super) fn tricky(backend: &mut Backend) {
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
