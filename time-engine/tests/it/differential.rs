//! Holds: shared windows give what window-by-window evaluation gives, element by element, whatever
//! happens to time: restores, watermarks that go back, jumps, the ends of `i64`.

use crate::stream::{
    Kind, Numbers, Spec, Step, by_key, other, rough, run, session, sliding, steady,
};
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

/// Windows of many slices, where the cleverer ways to put them together begin: an element each
/// millisecond, and late ones behind the watermark.
fn dense() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0_u8..8, 0_i64..120), 100..500).prop_map(|draws| {
        let mut steps = Vec::new();
        for (now, (what, back)) in (0_i64..).zip(draws) {
            let at = if what == 0 { now - back } else { now };
            steps.push(Step::Element { key: 0, at });
            if what == 1 {
                steps.push(Step::Watermark(now - 10));
            }
            if what == 2 && back == 0 {
                steps.push(Step::Restore);
            }
        }
        steps.push(Step::Watermark(i64::MAX));
        steps
    })
}

fn fewer() -> ProptestConfig {
    let usual = ProptestConfig::default();
    ProptestConfig {
        cases: (usual.cases / 8).max(1),
        ..usual
    }
}

proptest! {
    #![proptest_config(fewer())]

    #[test]
    fn shared_equals_plain_in_windows_of_many_slices(
        sizes in prop::collection::vec((20_i64..200, 1_i64..4, 0_i64..150), 1..3),
        invertible: bool,
        steps in dense(),
    ) {
        let specs: Vec<Spec> = sizes
            .into_iter()
            .map(|(size, slide, lateness)| Spec {
                kind: Kind::Sliding { size, slide, offset: 0 },
                lateness,
            })
            .collect();
        check(&specs, invertible, 0, &steps)?;
    }
}
