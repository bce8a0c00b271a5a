//! Restored, and spread over other numbers of subtasks, the operator emits what one that never
//! stopped emits: for several recommenders under keys of their own.

use operators::{HarnessOptions, HarnessSnapshot, KeyByValue, KeySelector, OperatorHarness};
use state_backend::{MaxParallelism, StateKey, key_group_of, subtask_of};
use time_engine::Timestamp;

use super::*;
use crate::event::EventType;
use crate::serve::Rules;

const TENANTS: u64 = 7;

fn tenant(command: &Command) -> String {
    let id = match command {
        Command::Event(event) => event.user_id.as_str(),
        Command::Upsert(item) => item.item_id.as_str(),
        Command::Remove(item) => item.as_str(),
        _ => "t0",
    };
    id.split('-').next().unwrap_or_default().to_owned()
}

fn selector() -> impl KeySelector<Command, Key = String> {
    KeyByValue::new(tenant)
}

fn operator() -> RecommendOperator {
    let options = Options::default().with_capacity(40, 30);
    RecommendOperator::new(options).with_listening(Arc::new(|_| Some(5)))
}

fn log(count: usize) -> Vec<Command> {
    let mut x = 9_u64;
    let mut next = |below: u64| {
        x = x
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (x >> 33) % below
    };
    (0..count)
        .map(|n| {
            let (tenant, user) = (next(TENANTS), next(50));
            let item = (user % 5) * 8 + next(12);
            let kind = EventType::ALL[next(4) as usize];
            if n == count / 3 {
                return Command::Rules(Rules {
                    diversity: 0.3,
                    ..Rules::default()
                });
            }
            let (user, item) = (format!("t{tenant}-u{user}"), format!("t{tenant}-i{item}"));
            Command::Event(UserEvent::new(&user, &item, kind, n as i64 * 30_000).unwrap())
        })
        .collect()
}

/// The subtasks of one run.
struct Run<S> {
    subtasks: Vec<OperatorHarness<RecommendOperator, S>>,
}

fn start(parallelism: u16, from: &[HarnessSnapshot]) -> Run<impl KeySelector<Command>> {
    let subtasks = (0..parallelism)
        .map(|subtask| {
            let options = HarnessOptions {
                subtask,
                parallelism,
                ..HarnessOptions::default()
            };
            OperatorHarness::restore(operator(), selector(), &options, from).unwrap()
        })
        .collect();
    Run { subtasks }
}

impl<S: KeySelector<Command>> Run<S> {
    fn feed(&mut self, log: &[Command]) -> Vec<Vec<Recommendation>> {
        let mut lists = Vec::new();
        for command in log {
            let max = MaxParallelism::DEFAULT;
            let group = key_group_of(tenant(command).java_hash(), max);
            let parallelism = self.subtasks.len() as u16;
            let subtask = subtask_of(group, max, parallelism).unwrap();
            let harness = &mut self.subtasks[usize::from(subtask)];
            harness
                .element(command.clone(), Timestamp::from_millis(0))
                .unwrap();
            lists.extend(harness.take().into_iter().map(|list| list.value));
        }
        lists
    }

    fn snapshots(&mut self) -> Vec<HarnessSnapshot> {
        let taken = self.subtasks.iter_mut().map(|s| s.snapshot());
        taken.collect::<Result<_, _>>().unwrap()
    }
}

#[test]
fn rescaled_it_emits_what_one_that_never_stopped_emits() {
    let log = log(1500);
    let mut never_stopped = start(1, &[]);
    let expected = never_stopped.feed(&log);
    assert!(expected.iter().filter(|list| list.len() == 5).count() > 1000);

    let mut one = start(1, &[]);
    let mut lists = one.feed(&log[..500]);
    let mut three = start(3, &one.snapshots());
    lists.extend(three.feed(&log[500..1000]));
    let mut two = start(2, &three.snapshots());
    lists.extend(two.feed(&log[1000..]));
    assert_eq!(lists, expected);
}
