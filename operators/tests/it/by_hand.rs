//! Promise: an operator can be driven by hand, snapshotted, and restored over other subtasks.

use crate::support::{GAP_MS, Sessions};
use operators::{HarnessOptions, KeyByValue, OperatorHarness};
use time_engine::Timestamp;

#[test]
fn timers_and_state_move_with_their_keys() {
    let at = Timestamp::from_millis;
    let selector = || KeyByValue::new(|(key, _): &(u64, u64)| *key);
    let options = HarnessOptions::default();
    let mut one = OperatorHarness::new(Sessions::default(), selector(), &options).unwrap();
    for key in 0..20 {
        for n in 0..=key {
            one.element((key, 0), at(n as i64)).unwrap();
        }
    }
    assert_eq!(one.timers(), 20);
    let snapshot = one.snapshot().unwrap();
    one.watermark(Timestamp::MAX).unwrap();
    let expected: Vec<_> = one
        .take()
        .into_iter()
        .map(|e| (e.timestamp, e.value))
        .collect();
    assert_eq!(expected.len(), 20);
    assert_eq!(expected[3], (at(3 + GAP_MS), (3, 4)));

    for parallelism in [1, 2, 3] {
        let mut results = Vec::new();
        for subtask in 0..parallelism {
            let options = HarnessOptions {
                subtask,
                parallelism,
                ..HarnessOptions::default()
            };
            let snapshots = std::slice::from_ref(&snapshot);
            let mut part =
                OperatorHarness::restore(Sessions::default(), selector(), &options, snapshots)
                    .unwrap();
            part.watermark(Timestamp::MAX).unwrap();
            results.extend(part.take().into_iter().map(|e| (e.timestamp, e.value)));
        }
        results.sort_unstable();
        assert_eq!(results, expected, "over {parallelism}");
    }
}
