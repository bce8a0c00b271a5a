//! Promise: every pair within the interval comes once, and nothing waits longer than it must.

use super::*;
use crate::harness::{HarnessOptions, OperatorHarness};
use crate::key::KeyByValue;
use proptest::prelude::*;

type Event = (u8, u32);

fn key(event: &Either<Event, Event>) -> u64 {
    match event {
        Either::Left((key, _)) | Either::Right((key, _)) => u64::from(*key),
    }
}

fn pair(a: &Event, b: &Event) -> (u8, u32, u32) {
    (a.0, a.1, b.1)
}

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

/// Left or right, key, time: even, so that none is the watermark's, which is odd. (At the watermark itself an
/// element is not late, but what waited for it alone is gone: as in Flink.)
fn events() -> impl Strategy<Value = Vec<(bool, u8, i64)>> {
    proptest::collection::vec((any::<bool>(), 0_u8..3, 0_i64..30), 0..60).prop_map(|events| {
        events
            .into_iter()
            .map(|(left, key, at)| (left, key, 2 * at))
            .collect()
    })
}

proptest! {
    #[test]
    fn every_pair_comes_once(
        events in events(), bounds in (-20_i64..20, 0_i64..20), delay in 0_i64..15, restore: prop::sample::Index,
    ) {
        let (lower, upper) = (bounds.0, bounds.0 + bounds.1);
        let options = HarnessOptions::default();
        let operator = || IntervalJoin::new(lower, upper, pair);
        let mut join = OperatorHarness::new(operator(), KeyByValue::new(key), &options).unwrap();
        let mut watermark = i64::MIN;
        let mut taken: Vec<(bool, u8, i64, u32)> = Vec::new();
        let mut results = Vec::new();
        let restored_after = restore.index(events.len().max(1));
        for (n, &(left, k, ms)) in (0_u32..).zip(&events) {
            let event = if left { Either::Left((k, n)) } else { Either::Right((k, n)) };
            join.element(event, at(ms)).unwrap();
            if ms >= watermark {
                taken.push((left, k, ms, n));
            }
            watermark = watermark.max(ms - 2 * delay - 1);
            join.watermark(at(watermark)).unwrap();
            results.extend(join.take().into_iter().map(|e| (e.value, e.timestamp.as_millis())));
            if n as usize == restored_after {
                let snapshot = join.snapshot().unwrap();
                join = OperatorHarness::restore(operator(), KeyByValue::new(key), &options, &[snapshot]).unwrap();
                join.watermark(at(watermark)).unwrap();
            }
        }
        let mut expected = Vec::new();
        for &(_, k, ms, n) in taken.iter().filter(|event| event.0) {
            for &(_, _, other, m) in taken.iter().filter(|event| !event.0 && event.1 == k) {
                if (lower..=upper).contains(&(other - ms)) {
                    expected.push(((k, n, m), ms.max(other)));
                }
            }
        }
        expected.sort_unstable();
        results.sort_unstable();
        prop_assert_eq!(results, expected);
        join.watermark(at(200)).unwrap();
        prop_assert_eq!(join.timers(), 0);
        for side in ["left", "right"] {
            let waiting = join.state().map(&MapDef::<i64, Vec<Event>>::new(side)).unwrap();
            for k in 0..3_u64 {
                prop_assert!(waiting.is_empty(&mut join.state().scope(&k)).unwrap());
            }
        }
    }
}

#[test]
fn what_is_behind_the_watermark_goes_to_the_side() {
    let options = HarnessOptions::default();
    let mut join = OperatorHarness::new(
        IntervalJoin::new(0, 10, pair),
        KeyByValue::new(key),
        &options,
    )
    .unwrap();
    let left = join.side_output(late_left::<Event>());
    let right = join.side_output(late_right::<Event>());
    join.watermark(at(100)).unwrap();
    join.element(Either::Left((1, 1)), at(99)).unwrap();
    join.element(Either::Right((1, 2)), at(99)).unwrap();
    join.element(Either::Left((1, 3)), at(100)).unwrap();
    join.element(Either::Right((1, 4)), at(110)).unwrap();
    let values =
        |taken: Vec<Element<Event>>| taken.into_iter().map(|e| e.value.1).collect::<Vec<_>>();
    assert_eq!(values(left.take()), [1]);
    assert_eq!(values(right.take()), [2]);
    let results = join.take();
    assert_eq!(results.len(), 1);
    assert_eq!(
        (results[0].value, results[0].timestamp),
        ((1, 3, 4), at(110))
    );
}

#[test]
fn an_interval_that_holds_nothing_and_elements_without_time_are_refused() {
    let options = HarnessOptions::default();
    let make = |lower, upper| {
        OperatorHarness::new(
            IntervalJoin::new(lower, upper, pair),
            KeyByValue::new(key),
            &options,
        )
    };
    let error = make(2, 1).unwrap_err().to_string();
    assert!(error.contains("from 2 ms to 1 ms"), "{error}");
    let mut join = make(1, 2).unwrap();
    let error = join.element(Either::Left((1, 1)), Element::<Event>::NO_TIMESTAMP);
    assert!(error.is_err());
}
