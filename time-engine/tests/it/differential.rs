//! Holds: shared windows give what window-by-window evaluation gives, element by element, whatever
//! happens to time: restores, watermarks that go back, jumps, the ends of `i64`.

use crate::stream::{Numbers, Spec, Step, by_key, other, rough, run, session, sliding, steady};
use proptest::prelude::*;
use time_engine::window::{PlainWindows, SharedWindows};

/// Where a stream may lie in time: around these.
fn shifts() -> impl Strategy<Value = i64> {
    prop::sample::select(vec![
        0,
        1_700_000_000_000,
        1 << 61,
        -(1 << 61),
        i64::MAX - 60,
        i64::MIN + 60,
    ])
}

fn check(
    specs: &[Spec],
    invertible: bool,
    shift: i64,
    steps: &[Step],
) -> Result<(), TestCaseError> {
    let numbers = Numbers { invertible };
    let shared = || {
        SharedWindows::new(numbers, specs.iter().map(|spec| spec.build()).collect())
            .expect("a specification that can be")
    };
    let got = run(shared, specs.len(), shift, steps);
    for (spec, got) in specs.iter().zip(got) {
        let plain =
            || PlainWindows::new(numbers, spec.build()).expect("a specification that can be");
        let expected = run(plain, 1, shift, steps).remove(0);
        prop_assert_eq!(by_key(got), by_key(expected), "{:?}", spec);
    }
    Ok(())
}

proptest! {
    #[test]
    fn shared_equals_plain(
        sliding in prop::collection::vec(sliding(), 0..4),
        session in prop::collection::vec(session(), 0..3),
        other in prop::collection::vec(other(), 0..2),
        invertible: bool,
        shift in shifts(),
        steps in prop_oneof![rough(120), steady(120)],
    ) {
        let mut specs: Vec<Spec> = sliding.into_iter().chain(session).chain(other).collect();
        if shift > 1 << 62 {
            // Flink's sum of a session's end and its lateness wraps round: the element is refused.
            specs.iter_mut().for_each(|spec| spec.lateness = 0);
        }
        check(&specs, invertible, shift, &steps)?;
    }
}
