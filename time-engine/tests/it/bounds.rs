//! Holds: the ends of time, jumps over millions of empty windows and gaps of years cost what they hold,
//! neither time nor memory without bound.

use crate::stream::{Numbers, millis};
use std::time::Duration;
use time_engine::{
    Error, TimeDomain, Timestamp, Watermark,
    window::{
        ContinuousEventTimeTrigger, Count, KeyedWindows, Output, PlainWindows, SharedWindows, Sum,
        WindowEngine, WindowSpec,
    },
};

const YEAR_MS: i64 = 365 * 24 * 3_600 * 1_000;

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

#[test]
fn a_jump_over_millions_of_empty_windows_fires_the_full_ones() {
    let specs = vec![
        WindowSpec::tumbling(millis(1)),
        WindowSpec::sliding(millis(10), millis(1)),
        WindowSpec::session(millis(5)),
    ];
    let mut engine = WindowEngine::new(SharedWindows::new(Sum, specs).unwrap());
    for i in 0..5 {
        engine
            .on_element(&"k", at(i * YEAR_MS), &1, |_| {})
            .unwrap();
    }
    let mut fired = [0; 3];
    engine.on_watermark(Watermark::from_millis(100 * YEAR_MS), |out| {
        if let Output::Result { spec, .. } = out {
            fired[spec] += 1;
        }
    });
    assert_eq!(fired, [5, 50, 5]);
    assert_eq!(engine.keys(), 0);
    assert_eq!(engine.timers(TimeDomain::Event), 0);
}

#[test]
fn more_windows_for_an_element_than_anyone_wants_are_refused() {
    let spec = || WindowSpec::sliding(Duration::from_secs(1 << 40), millis(1));
    for refused in [
        PlainWindows::new(Sum, spec()).err(),
        SharedWindows::new(Sum, vec![spec()]).err(),
    ] {
        assert!(
            matches!(refused, Some(Error::TooManyWindows { .. })),
            "{refused:?}"
        );
    }
}

#[test]
fn specifications_that_cannot_be_are_refused() {
    for spec in [
        WindowSpec::<Sum>::tumbling(Duration::ZERO),
        WindowSpec::sliding(millis(10), Duration::ZERO),
        WindowSpec::sliding(millis(10), millis(5)).with_offset_ms(5),
        WindowSpec::tumbling(millis(10)).with_offset_ms(-10),
        WindowSpec::session(Duration::ZERO),
    ] {
        assert!(spec.check().is_err(), "{spec:?}");
    }
    assert!(ContinuousEventTimeTrigger::new(Duration::ZERO).is_err());
}

#[test]
fn a_continuous_trigger_does_not_fire_for_each_millisecond_of_eternity() {
    let spec =
        WindowSpec::global().with_trigger(ContinuousEventTimeTrigger::new(millis(1)).unwrap());
    let mut engine = WindowEngine::new(PlainWindows::new(Sum, spec).unwrap());
    engine.on_element(&"k", at(0), &1, |_| {}).unwrap();
    let mut fired = 0_u64;
    engine.on_watermark(Watermark::MAX, |_| fired += 1);
    assert!(fired < 10, "{fired}");
}

#[test]
fn an_element_without_a_timestamp_is_refused_and_leaves_nothing() {
    let mut engine =
        WindowEngine::new(SharedWindows::new(Sum, vec![WindowSpec::tumbling(millis(10))]).unwrap());
    let refused = engine.on_element(&"k", Timestamp::MIN, &1, |_| {});
    assert_eq!(refused, Err(Error::MissingTimestamp));
    assert_eq!(engine.keys(), 0);
}

#[test]
fn a_session_costs_no_timer_for_each_element() {
    let mut engine = WindowEngine::new(
        SharedWindows::new(Count::new(), vec![WindowSpec::session(millis(1_000))]).unwrap(),
    );
    for i in 0..10_000 {
        engine.on_element(&"k", at(i * 10), &(), |_| {}).unwrap();
        assert_eq!(engine.timers(TimeDomain::Event), 1);
    }
}

#[test]
fn memory_follows_slices_not_windows() {
    // 3,600 windows an element; 100 elements in 10 of the seconds.
    let spec = WindowSpec::sliding(Duration::from_secs(3_600), Duration::from_secs(1));
    let numbers = Numbers { invertible: false };
    let mut engine = WindowEngine::new(SharedWindows::new(numbers, vec![spec]).unwrap());
    for i in 0..100_i64 {
        let number = i.unsigned_abs();
        engine
            .on_element(&0_u8, at(i * 100), &number, |_| {})
            .unwrap();
    }
    let slices: Vec<usize> = engine.states().map(|(_, state)| state.slices()).collect();
    assert_eq!(slices, [10]);
    assert_eq!(engine.timers(TimeDomain::Event), 1);
}

#[test]
fn the_last_window_of_time_wraps_and_fires_at_the_next_watermark() {
    // Flink's arithmetic: its end is past the greatest long.
    let mut engine = WindowEngine::new(
        SharedWindows::new(Sum, vec![WindowSpec::tumbling(millis(1_000))]).unwrap(),
    );
    engine.on_element(&"k", Timestamp::MAX, &1, |_| {}).unwrap();
    let mut ends = Vec::new();
    engine.on_watermark(Watermark::from_millis(0), |out| {
        if let Output::Result { window, .. } = out {
            ends.push(window.end().as_millis());
        }
    });
    assert!(matches!(ends[..], [end] if end < 0), "{ends:?}");
}

#[test]
fn an_element_whose_window_is_the_grown_session_joins_it() {
    // The gap is the element's own value.
    let spec = || WindowSpec::<Sum>::session_with(|gap| *gap);
    fn sums<W: KeyedWindows<Aggregate = Sum>>(windows: W) -> Vec<i64> {
        let mut engine = WindowEngine::new(windows);
        for (ms, gap) in [(0, 10), (5, 10), (0, 15)] {
            engine.on_element(&"k", at(ms), &gap, |_| {}).unwrap();
        }
        let mut sums = Vec::new();
        engine.on_watermark(Watermark::MAX, |out| {
            if let Output::Result { contents, .. } = out {
                sums.push(*contents);
            }
        });
        sums
    }
    assert_eq!(sums(SharedWindows::new(Sum, vec![spec()]).unwrap()), [35]);
    assert_eq!(sums(PlainWindows::new(Sum, spec()).unwrap()), [35]);
}
