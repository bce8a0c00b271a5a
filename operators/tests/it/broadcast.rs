//! Promise: broadcast state is the same in every subtask, over failures and rescalings.

use crate::support::{checkpointed, memory_store};
use operators::{
    Barriers, BroadcastContext, BroadcastDef, BroadcastProcessFunction, BroadcastState,
    BroadcastStates, CheckpointConfig, Collector, Element, ExchangeOptions, FunctionContext,
    Generator, JobConfig, KeyedBroadcastProcessFunction, OperatorContext, RestartStrategy, Result,
    SimulationOptions, StreamEnvironment, simulate,
};
use state_backend::{StateStore, ValueDef, ValueState};
use std::collections::BTreeMap;
use std::time::Duration;

const RULES: BroadcastDef<u64, u64> = BroadcastDef::new("rules");
const SUM: ValueDef<u64> = ValueDef::new("sum");

/// Sums the elements of each key, times the factor that a rule has for the key when the element comes.
#[derive(Default)]
struct Factors {
    /// Where there is no rule.
    default: u64,
    rules: BroadcastState<u64, u64>,
    sum: ValueState<u64>,
}

impl KeyedBroadcastProcessFunction for Factors {
    type In = (u64, u64);
    type Broadcast = (u64, u64);
    type Out = (u64, u64, usize);

    fn open(&mut self, store: &mut StateStore, broadcast: &mut BroadcastStates) -> Result<()> {
        self.sum = store.value(&SUM)?;
        self.rules = broadcast.register(&RULES)?;
        Ok(())
    }

    fn process_element(
        &mut self,
        element: Element<(u64, u64)>,
        broadcast: &BroadcastStates,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()> {
        let (key, n) = element.value;
        let factor = self
            .rules
            .get(broadcast, &key)
            .copied()
            .unwrap_or(self.default);
        let sum = self.sum.get(&mut cx.state)?.copied().unwrap_or(0) + n * factor;
        self.sum.set(&mut cx.state, sum)?;
        out.collect((key, sum, self.rules.iter(broadcast).count()));
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        element: Element<(u64, u64)>,
        cx: &mut BroadcastContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()> {
        let (key, factor) = element.value;
        self.rules.put(cx.broadcast, key, factor);
        // a factor of 0 takes back what has been summed so far, of all keys of this subtask
        if factor == 0 {
            let sum = self.sum;
            cx.apply_to_keyed_state(&sum, |key: &u64, scope| {
                out.collect((*key, 0, 0));
                Ok(sum.clear(scope)?)
            })?;
        }
        Ok(())
    }
}

#[test]
fn keyed_elements_read_what_was_broadcast_before_them() {
    let store = memory_store();
    // the rules first, all by themselves; then two jobs with elements, at other parallelisms
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    for (round, parallelism) in [3, 1, 4].into_iter().enumerate() {
        let env = StreamEnvironment::new();
        let elements = if round == 0 { 0 } else { 1_000 * round as u64 };
        let rules = env.source("rules", Generator::new(10, |n| (n, n + 1)));
        let results = env
            .source("numbers", Generator::new(elements, |n| (n % 10, 1)))
            .key_by(|(key, _)| *key)
            .connect_broadcast(rules)
            .process("factors", Factors::default)
            .parallelism(parallelism)
            .collect("out");
        let job = env.execute(checkpointed(&store, 2)).unwrap();
        job.wait().unwrap();
        for (key, sum, rules) in results.take() {
            assert_eq!(rules, 10, "round {round}");
            let known = last.entry(key).or_insert(0);
            *known = sum.max(*known);
        }
    }
    let expected: BTreeMap<u64, u64> = (0..10).map(|key| (key, 200 * (key + 1))).collect();
    assert_eq!(last, expected);
}

#[test]
fn a_broadcast_element_can_change_the_state_of_every_key() {
    let store = memory_store();
    for round in 0..2 {
        let env = StreamEnvironment::new();
        // the second job brings a factor of 0, before which it has no elements
        let rules = env.source("rules", Generator::new(1 + round, move |n| (n, 1 - round)));
        let results = env
            .source("numbers", Generator::new(40, |n| (n % 7, 1)))
            .key_by(|(key, _)| *key)
            .connect_broadcast(rules)
            .process("factors", Factors::default)
            .parallelism(2)
            .collect("out");
        env.execute(checkpointed(&store, 2))
            .unwrap()
            .wait()
            .unwrap();
        if round == 1 {
            let mut cleared: Vec<u64> = results.take().into_iter().map(|(key, ..)| key).collect();
            cleared.sort_unstable();
            assert_eq!(cleared, (0..7).collect::<Vec<_>>());
        }
    }
}

/// Passes what no rule forbids.
#[derive(Default)]
struct Allowed {
    forbidden: BroadcastState<u64, bool>,
}

impl BroadcastProcessFunction for Allowed {
    type In = u64;
    type Broadcast = u64;
    type Out = u64;

    fn open(&mut self, broadcast: &mut BroadcastStates) -> Result<()> {
        self.forbidden = broadcast.register(&BroadcastDef::new("forbidden"))?;
        Ok(())
    }

    fn process_element(
        &mut self,
        element: Element<u64>,
        broadcast: &BroadcastStates,
        _: &mut FunctionContext<'_>,
        out: &mut dyn Collector<u64>,
    ) -> Result<()> {
        if !self.forbidden.contains(broadcast, &element.value) {
            out.collect(element.value);
        }
        Ok(())
    }

    fn process_broadcast_element(
        &mut self,
        element: Element<u64>,
        cx: &mut BroadcastContext<'_>,
        _: &mut dyn Collector<u64>,
    ) -> Result<()> {
        self.forbidden.put(cx.broadcast, element.value, true);
        Ok(())
    }
}

#[test]
fn streams_without_keys_read_broadcast_state_too() {
    let store = memory_store();
    for (elements, parallelism) in [(0, 2), (30, 3)] {
        let env = StreamEnvironment::new();
        let forbidden = env.source("forbidden", Generator::new(5, |n| n * 2));
        let results = env
            .source("numbers", Generator::new(elements, |n| n))
            .connect_broadcast(forbidden)
            .process("allowed", Allowed::default)
            .parallelism(parallelism)
            .collect("out");
        env.execute(checkpointed(&store, 1))
            .unwrap()
            .wait()
            .unwrap();
        let mut left = results.take();
        left.sort_unstable();
        let expected = (0..elements).filter(|n| *n > 8 || n % 2 == 1);
        assert_eq!(left, expected.collect::<Vec<_>>());
    }
}

/// With barriers that overtake the keyed side only, too.
#[test]
fn copies_agree_and_counts_are_exact_whatever_crashes() {
    for seed in 0..16 {
        let store = memory_store();
        let barriers = match seed % 2 {
            0 => Barriers::Aligned,
            _ => Barriers::Unaligned,
        };
        let checkpoints = CheckpointConfig::new(store.clone())
            .with_interval(Duration::from_millis(3))
            .with_barriers(barriers)
            .with_tolerable_failures(None);
        let config = JobConfig::default()
            .with_checkpoints(checkpoints)
            .with_source_batch(5)
            .with_exchange(
                ExchangeOptions::default()
                    .with_batch_size(2)
                    .with_queue_batches(2),
            )
            .with_restart(RestartStrategy::fixed_delay(1_000_000, Duration::ZERO));
        let mut counts = BTreeMap::new();
        for (round, parallelism) in [2, 3, 1, 4].into_iter().enumerate() {
            let env = StreamEnvironment::new();
            // each rule comes several times; the last one counts
            let rules = env.source("rules", Generator::new(50, |n| (100 + n % 10, n + 1)));
            let results = env
                .source("numbers", Generator::new(300, |n| (n % 10, 1)))
                .with_codec()
                .key_by(|(key, _)| *key)
                .connect_broadcast(rules)
                .process("factors", || Factors {
                    default: 1,
                    ..Factors::default()
                })
                .parallelism(parallelism)
                .collect("out");
            let mut options = SimulationOptions::new(seed * 8 + round as u64).with_crash_every(500);
            if round < 3 {
                options = options.with_stop_after(250);
            }
            simulate(&env, config.clone(), &options).unwrap();
            for (key, count, _) in results.take() {
                let known = counts.entry(key).or_insert(0);
                *known = count.max(*known);
            }
        }
        let expected: BTreeMap<u64, u64> = (0..10).map(|key| (key, 30)).collect();
        assert_eq!(counts, expected, "seed {seed}");
        let manifest = store.latest().unwrap().manifest.unwrap();
        let mut operators = manifest.operators.iter();
        let subtasks = &operators
            .find(|o| o.uid.as_str() == "factors")
            .unwrap()
            .subtasks;
        assert_eq!(subtasks.len(), 4);
        for subtask in subtasks {
            let rules = &subtask.operator_state["rules"];
            assert_eq!(*rules, subtasks[0].operator_state["rules"], "seed {seed}");
            assert_eq!(rules.items.len(), 10);
            // the key, then the value: the last of each is 41 to 50
            let values = rules.items.iter().map(|item| u64::from(item.0[8]));
            assert!(values.eq(41..51), "seed {seed}");
        }
    }
}
