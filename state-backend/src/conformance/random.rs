//! Any sequence of calls leaves what a sorted map would hold.

use super::*;

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
