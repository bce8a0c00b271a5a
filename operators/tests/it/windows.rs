//! Promise: windows over keyed streams give what their specification says, and survive restarts.

use crate::support::{checkpointed, memory_store};
use operators::{Either, Generator, JobConfig, StopMode, StreamEnvironment, VecSource, late};
use std::collections::BTreeMap;
use std::time::Duration;
use time_engine::Timestamp;
use time_engine::watermark::{BoundedOutOfOrderness, Monotonous};
use time_engine::window::{Count, SharedWindows, Stats, Sum, WindowSpec};

#[test]
fn three_windows_over_one_stream() {
    let env = StreamEnvironment::new();
    let results = env
        .source(
            "readings",
            Generator::new(600, |second| (second % 2, second)),
        )
        .assign_timestamps(
            |(_, s)| Timestamp::from_millis(*s as i64 * 1_000),
            Monotonous::new,
        )
        .key_by(|(sensor, _)| *sensor)
        .window_of(
            "stats",
            |(_, second)| *second as i64,
            || {
                let minute = Duration::from_secs(60);
                SharedWindows::new(
                    Stats,
                    vec![
                        WindowSpec::tumbling(minute),
                        WindowSpec::tumbling(5 * minute),
                        WindowSpec::sliding(minute, minute / 2),
                    ],
                )
            },
        )
        .collect("out");
    env.execute(JobConfig::default().with_parallelism(2))
        .unwrap()
        .wait()
        .unwrap();
    let mut windows = [0; 3];
    for result in results.take() {
        windows[result.spec] += 1;
        if result.spec == 0 {
            assert_eq!(result.value.count, 30);
            assert_eq!(result.value.max - result.value.min, 58);
        }
    }
    assert_eq!(windows, [20, 4, 42]);
}

#[test]
fn what_is_too_late_comes_out_at_the_side() {
    let env = StreamEnvironment::new();
    let windowed = env
        .source("events", VecSource::new([1, 5, 25, 3, 26]))
        .assign_timestamps(|at| Timestamp::from_millis(*at), Monotonous::new)
        .key_by(|_| 0_u64)
        .window("counts", || {
            SharedWindows::new(
                Count::<i64>::new(),
                vec![WindowSpec::tumbling(Duration::from_millis(10))],
            )
        });
    let late = windowed.side_output(late::<i64>()).collect("late");
    let counts = windowed.collect("out");
    env.execute(JobConfig::default().with_source_batch(1))
        .unwrap()
        .wait()
        .unwrap();
    assert_eq!(late.take(), [3]);
    let counts: Vec<_> = counts
        .take()
        .iter()
        .map(|r| (r.window.start().as_millis(), r.value))
        .collect();
    assert_eq!(counts, [(0, 2), (20, 2)]);
}

#[test]
fn open_windows_survive_a_suspension_and_rescaling() {
    let store = memory_store();
    let mut sums = BTreeMap::new();
    for parallelism in [1, 3] {
        let env = StreamEnvironment::new();
        let results = env
            .source("events", Generator::new(30_000, |n| (n % 10, n as i64)))
            .assign_timestamps(
                |(_, at)| Timestamp::from_millis(*at),
                || BoundedOutOfOrderness::new(Duration::from_millis(100)),
            )
            .key_by(|(key, _)| *key)
            .window_of(
                "sums",
                |_| 1,
                || SharedWindows::new(Sum, vec![WindowSpec::tumbling(Duration::from_secs(7))]),
            )
            .parallelism(parallelism)
            .collect("out");
        let job = env.execute(checkpointed(&store, 1)).unwrap();
        if parallelism == 1 {
            while job
                .status()
                .subtasks
                .first()
                .is_none_or(|s| s.records_in < 10_000)
            {
                std::thread::yield_now();
            }
            // it may have come to its end
            let _ = job.stop(StopMode::Suspend).wait();
        }
        job.wait().unwrap();
        for result in results.take() {
            sums.insert(
                (result.key, result.window.start().as_millis()),
                result.value,
            );
        }
    }
    assert_eq!(sums.len(), 50);
    assert_eq!(sums.values().sum::<i64>(), 30_000);
}

#[test]
fn connected_streams_share_the_state_of_a_key() {
    use operators::{Collector, Element, Operator, OperatorContext, Result};
    use state_backend::{StateStore, ValueDef, ValueState};

    /// Multiplies by the newest factor of the key.
    #[derive(Default)]
    struct Scale {
        factor: ValueState<u64>,
    }

    impl Operator for Scale {
        type In = Either<(u64, u64), (u64, u64)>;
        type Out = u64;

        fn open(&mut self, store: &mut StateStore) -> Result<()> {
            self.factor = store.value(&ValueDef::new("factor"))?;
            Ok(())
        }

        fn on_element(
            &mut self,
            element: Element<Self::In>,
            cx: &mut OperatorContext<'_>,
            out: &mut dyn Collector<u64>,
        ) -> Result<()> {
            match element.value {
                Either::Left((_, factor)) => self.factor.set(&mut cx.state, factor)?,
                Either::Right((_, n)) => {
                    out.collect(n * self.factor.get(&mut cx.state)?.copied().unwrap_or(0));
                }
            }
            Ok(())
        }
    }

    let store = memory_store();
    let mut results = Vec::new();
    // the factors first, then the numbers: state carries over
    for (factors, numbers) in [(4, 0), (4, 4)] {
        let env = StreamEnvironment::new();
        let left = env
            .source("factors", Generator::new(factors, |key| (key, key + 10)))
            .key_by(|(key, _)| *key);
        let right = env
            .source("numbers", Generator::new(numbers, |key| (key, 2)))
            .key_by(|(key, _)| *key);
        let out = left
            .connect(right)
            .process("scale", Scale::default)
            .parallelism(2)
            .collect("out");
        env.execute(checkpointed(&store, 1))
            .unwrap()
            .wait()
            .unwrap();
        results.extend(out.take());
    }
    results.sort_unstable();
    assert_eq!(results, [20, 22, 24, 26]);
}
