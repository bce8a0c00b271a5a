//! What is frozen stays, whatever becomes of the backend. One that freezes nothing passes.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use super::{A, B, Target, delete, finish, put, upkeep::churn};
use crate::{Durability, FrozenRows, StateId};

type Model = BTreeMap<(StateId, Vec<u8>), Vec<u8>>;

fn assert_frozen(frozen: &dyn FrozenRows, model: &Model) {
    for state in [A, B] {
        let expected = |prefix: &[u8], after: Option<&[u8]>| -> Vec<(Vec<u8>, Vec<u8>)> {
            let rows = model.iter().filter(|((of, key), _)| {
                *of == state
                    && key.starts_with(prefix)
                    && after.is_none_or(|after| key.as_slice() > after)
            });
            rows.map(|((_, key), value)| (key.clone(), value.clone()))
                .collect()
        };
        for (prefix, after) in [
            (&b""[..], None),
            (&[0, 1], None),
            (&[0, 1], Some(&[0u8, 1, 40][..])),
            (&[0, 2], Some(&[0, 1][..])),
        ] {
            let mut rows = Vec::new();
            let scanned = frozen.scan(state, prefix, after, &mut |key, value| {
                rows.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            });
            scanned.expect("scan");
            assert_eq!(rows, expected(prefix, after));
        }
        for key in (0..110u8).map(|i| vec![0, i % 4, i]) {
            let mut found = None;
            let there = frozen
                .read(state, &key, &mut |value| found = Some(value.to_vec()))
                .expect("read");
            assert_eq!(there, found.is_some());
            assert_eq!(found.as_ref(), model.get(&(state, key)));
        }
    }
}

/// Frozen rows are read on another thread, while the backend goes on, clears and ends, as they were.
pub fn frozen_rows_stay_as_they_were<T: Target>(target: &mut T) {
    let mut backend = target.open();
    let mut model = churn(&mut backend);
    let mut frozen = Vec::new();
    for round in 0..8u8 {
        if let Some(rows) = backend.freeze().expect("freeze") {
            frozen.push((rows, model.clone()));
        }
        for i in 0..100u8 {
            let key = vec![0, i % 4, i];
            if i % 3 == round % 3 {
                delete(&mut backend, A, &key);
                model.remove(&(A, key));
            } else {
                put(&mut backend, B, &key, &[round; 90]);
                model.insert((B, key), vec![round; 90]);
            }
        }
        match round {
            2 => backend.flush(Durability::Buffered).expect("flush"),
            4 => {
                backend.clear().expect("clear");
                model.clear();
            }
            _ => drop(backend.maintain(1 << 20).expect("maintain")),
        }
    }
    let check = move || {
        for (frozen, model) in &frozen {
            assert_frozen(&**frozen, model);
        }
        frozen
    };
    let frozen = std::thread::spawn(check).join().expect("a reader");
    finish(backend);
    for (frozen, model) in frozen {
        assert_frozen(&*frozen, &model);
    }
}
