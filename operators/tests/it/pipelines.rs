//! Promise: a job computes what it says, with any parallelism.

use crate::support::{Count, GAP_MS, Sessions, Trap};
use operators::{
    Collector, Element, Generator, JobConfig, JobState, Operator, OperatorContext, QueryOperator,
    RestartStrategy, Result, StreamEnvironment, VecSource,
};
use state_backend::StateStore;
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Barrier};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;
use time_engine::Timestamp;
use time_engine::watermark::BoundedOutOfOrderness;

#[test]
fn functions_are_chained_in_order() {
    let env = StreamEnvironment::new();
    let results = env
        .source("numbers", VecSource::new(0..10_u64))
        .map(|n| n * 2)
        .filter(|n| n % 3 != 0)
        .flat_map(|n, out| {
            out.collect(n);
            out.collect(n + 1);
            Ok(())
        })
        .collect("out");
    let job = env.execute(JobConfig::default()).unwrap();
    assert_eq!(job.wait().unwrap(), JobState::Finished);
    assert_eq!(results.take(), [2, 3, 4, 5, 8, 9, 10, 11, 14, 15, 16, 17]);
}

#[test]
fn keyed_state_counts_each_key_at_any_parallelism() {
    for (sources, counters) in [(1, 1), (1, 3), (3, 2)] {
        let env = StreamEnvironment::new();
        let trap = Arc::<Trap>::default();
        let results = env
            .source("numbers", Generator::new(10_000, |n| (n % 97, n)))
            .parallelism(sources)
            .key_by(|(key, _)| *key)
            .process("count", move || Count::new(&trap))
            .parallelism(counters)
            .collect("out");
        let job = env.execute(JobConfig::default()).unwrap();
        job.wait().unwrap();
        let mut last = BTreeMap::new();
        for (key, n) in results.take() {
            let before = last.insert(key, n).unwrap_or(0);
            assert_eq!(n, before + 1, "key {key}");
        }
        let expected: BTreeMap<u64, u64> = (0..97)
            .map(|key| (key, (0..10_000).filter(|n| n % 97 == key).count() as u64))
            .collect();
        assert_eq!(last, expected);
    }
}

/// Two operators keep state, the larger of them in two subtasks: a quarter of the job's budget is for each.
#[test]
fn a_budget_of_the_job_is_shared_by_operators_and_their_subtasks() {
    let run = |budget: u64| {
        let env = StreamEnvironment::new();
        let numbers = env.source("numbers", Generator::new(20_000, |n| (n, n)));
        numbers
            .clone()
            .key_by(|(key, _)| *key)
            .reduce("many", |sum, (_, n)| sum.1 += n)
            .parallelism(2)
            .for_each("many out", |_| Ok(()));
        numbers
            .key_by(|(key, _)| key % 2)
            .aggregate("few", time_engine::window::Count::new)
            .for_each("few out", |_| Ok(()));
        let config = JobConfig::default().with_restart(RestartStrategy::None);
        env.execute(config.with_job_memory_budget_bytes(budget))
            .unwrap()
            .wait()
    };
    let error = run(1 << 20).unwrap_err();
    assert!(
        error
            .chain()
            .contains("of 262144 are in use and the backend"),
        "{}",
        error.chain()
    );
    assert_eq!(run(64 << 20).unwrap(), JobState::Finished);
}

#[test]
fn running_aggregates_tell_what_has_come_so_far_at_any_parallelism() {
    for parallelism in [1, 3] {
        let env = StreamEnvironment::new();
        let numbers = env.source("numbers", Generator::new(5_000, |n| (n % 13, n)));
        let reduced = numbers
            .clone()
            .key_by(|(key, _)| *key)
            .reduce("sum", |sum, (_, n)| sum.1 += n)
            .parallelism(parallelism)
            .collect("sums");
        let counted = numbers
            .key_by(|(key, _)| *key)
            .aggregate("count", time_engine::window::Count::new)
            .parallelism(parallelism)
            .collect("counts");
        env.execute(JobConfig::default()).unwrap().wait().unwrap();
        let (mut sums, mut counts) = (BTreeMap::new(), BTreeMap::new());
        let mut next: BTreeMap<u64, u64> = (0..13).map(|key| (key, key)).collect();
        for (key, sum) in reduced.take() {
            // each key's elements come in order: key, key + 13, key + 26, ...
            let n = next.get_mut(&key).expect("a known key");
            assert_eq!(sum, sums.get(&key).copied().unwrap_or(0) + *n);
            sums.insert(key, sum);
            *n += 13;
        }
        for (key, count) in counted.take() {
            assert_eq!(count, counts.insert(key, count).unwrap_or(0) + 1);
        }
        assert_eq!(sums.values().sum::<u64>(), (0..5_000).sum::<u64>());
        assert_eq!((counts.len(), counts.values().sum::<u64>()), (13, 5_000));
    }
}

#[test]
fn two_operators_take_the_same_stream_by_different_keys() {
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let other = Arc::clone(&trap);
    let numbers = env.source("numbers", Generator::new(5_000, |n| (n % 7, n % 11)));
    let by_first = numbers
        .clone()
        .key_by(|(a, _)| *a)
        .process("first", move || Count::new(&trap))
        .parallelism(2)
        .collect("out-first");
    let by_second = numbers
        .map(|(a, b)| (b, a))
        .key_by(|(b, _)| *b)
        .process("second", move || Count::new(&other))
        .collect("out-second");
    let job = env.execute(JobConfig::default()).unwrap();
    job.wait().unwrap();
    let totals = |results: Vec<(u64, u64)>| {
        results
            .into_iter()
            .fold(BTreeMap::new(), |mut totals, (key, n)| {
                totals.insert(key, n);
                totals
            })
    };
    let (first, second) = (totals(by_first.take()), totals(by_second.take()));
    assert_eq!((first.len(), first.values().sum::<u64>()), (7, 5_000));
    assert_eq!((second.len(), second.values().sum::<u64>()), (11, 5_000));
}

#[test]
fn event_timers_close_sessions_in_order_of_time() {
    let env = StreamEnvironment::new();
    // bursts of 50 elements of one key, 1 ms apart, then a pause
    let events = |n: u64| {
        let (burst, i) = (n / 50, n % 50);
        (burst % 5, burst * 500 + i)
    };
    let results = env
        .source("events", Generator::new(5_000, events))
        .assign_timestamps(
            |(_, at)| Timestamp::from_millis(*at as i64),
            || BoundedOutOfOrderness::new(Duration::from_millis(10)),
        )
        .key_by(|(key, _)| *key)
        .process("sessions", Sessions::default)
        .parallelism(2)
        .collect("out");
    // event time moves at the end of a batch: more than one of them in a burst
    let job = env
        .execute(JobConfig::default().with_source_batch(10))
        .unwrap();
    job.wait().unwrap();
    let results = results.take_elements();
    assert_eq!(results.len(), 100);
    for element in &results {
        assert_eq!(element.value.1, 50);
        assert_eq!((element.timestamp.as_millis() - GAP_MS) % 500, 49);
    }
}

#[test]
fn an_operator_answers_questions_between_its_elements() {
    let env = StreamEnvironment::new();
    let trap = Arc::<Trap>::default();
    let (stream, counts) = env
        .source("numbers", Generator::unbounded(|n| (n % 10, n)))
        .key_by(|(key, _)| *key)
        .process_queryable("count", move || Count::new(&trap));
    stream.parallelism(2).for_each("out", |_| Ok(()));
    let job = env.execute(JobConfig::default()).unwrap();
    let mut last = 0;
    while last <= 10_000 {
        match counts.query_blocking(&3, ()) {
            Ok(answer) => {
                let n = answer.unwrap_or(0);
                assert!(n >= last);
                last = n;
            }
            Err(operators::Error::NotRunning) => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(counts.query_blocking(&77, ()).unwrap(), None);
    job.cancel();
    assert_eq!(job.wait().unwrap(), JobState::Canceled);
    assert!(matches!(
        counts.query_blocking(&3, ()),
        Err(operators::Error::NotRunning)
    ));
}

#[test]
fn a_job_that_cannot_run_is_refused_with_the_reason() {
    let env = StreamEnvironment::new();
    assert!(
        env.execute(JobConfig::default())
            .unwrap_err()
            .to_string()
            .contains("no source")
    );
    let trap = Arc::<Trap>::default();
    let numbers = env.source("numbers", Generator::new(1, |n| (n, n)));
    let (a, b) = (Arc::clone(&trap), trap);
    let counted = numbers
        .key_by(|(k, _)| *k)
        .process("x", move || Count::new(&a));
    counted
        .key_by(|(k, _)| *k)
        .process("x", move || Count::new(&b))
        .collect("out");
    let error = env.execute(JobConfig::default()).unwrap_err().to_string();
    assert!(error.contains("used twice"), "{error}");
}

/// Meets the test twice at its first element; answers how many there were.
struct Paused {
    gate: Arc<Barrier>,
    seen: u64,
}

impl Operator for Paused {
    type In = u64;
    type Out = ();

    fn open(&mut self, _store: &mut StateStore) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &mut self,
        _element: Element<u64>,
        _cx: &mut OperatorContext<'_>,
        _out: &mut dyn Collector<()>,
    ) -> Result<()> {
        self.seen += 1;
        if self.seen == 1 {
            self.gate.wait();
            self.gate.wait();
        }
        Ok(())
    }
}

impl QueryOperator for Paused {
    type Request = ();
    type Reply = u64;

    fn on_query(&mut self, (): (), _cx: &mut OperatorContext<'_>) -> Result<u64> {
        Ok(self.seen)
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

#[test]
fn a_question_does_not_wait_for_the_rest_of_a_packet() {
    let gate = Arc::new(Barrier::new(2));
    let met = Arc::clone(&gate);
    let env = StreamEnvironment::new();
    let (stream, asked) = env
        .source("numbers", VecSource::new(0..400_u64))
        .key_by(|_| 0_u64)
        .process_queryable("paused", move || Paused {
            gate: Arc::clone(&gate),
            seen: 0,
        });
    stream.for_each("out", |_| Ok(()));
    let job = env.execute(JobConfig::default()).unwrap();
    met.wait();
    // the first poll puts the question into the queue
    let mut question = pin!(asked.query(&0, ()));
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    assert!(question.as_mut().poll(&mut cx).is_pending());
    met.wait();
    let seen = loop {
        match question.as_mut().poll(&mut cx) {
            Poll::Ready(answer) => break answer.unwrap(),
            Poll::Pending => std::thread::park(),
        }
    };
    assert!(seen <= 16, "{seen}");
    job.wait().unwrap();
}
