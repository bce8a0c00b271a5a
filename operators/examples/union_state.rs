//! State in partitions of the operator's own, kept as a union list: each subtask is given all of it.

use operators::{
    CheckpointedFunction, Collector, Element, HarnessOptions, KeyByValue, ListMode, Operator,
    OperatorContext, OperatorHarness, OperatorState, Result,
};
use serde::{Deserialize, Serialize};
use state_backend::StateStore;
use std::collections::BTreeMap;
use time_engine::Timestamp;

/// What waits in one partition.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Partition {
    number: u64,
    /// Elements so far. After a restore several subtasks have a copy, but only the one that the
    /// partition's elements go to moves on: of several copies the one that has seen most is right.
    seen: u64,
    values: Vec<u64>,
}

/// Sums up the elements of each of four partitions, by five.
#[derive(Default)]
struct Partitions {
    partitions: BTreeMap<u64, Partition>,
}

impl Operator for Partitions {
    type In = u64;
    type Out = (u64, u64);

    fn open(&mut self, _: &mut StateStore) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<u64>,
        _: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        let number = element.value % 4;
        let partition = self.partitions.entry(number).or_default();
        partition.number = number;
        partition.seen += 1;
        partition.values.push(element.value);
        if partition.values.len() >= 5 {
            out.collect((number, partition.values.drain(..).sum()));
        }
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl CheckpointedFunction for Partitions {
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()> {
        for copy in state.list::<Partition>("partitioned-data")? {
            let known = self.partitions.entry(copy.number).or_default();
            if copy.seen > known.seen {
                *known = copy;
            }
        }
        Ok(())
    }

    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()> {
        state.put(
            "partitioned-data",
            ListMode::Union,
            self.partitions.values(),
        )
    }
}

fn main() -> Result<()> {
    let by_partition = || KeyByValue::new(|n: &u64| n % 4);
    let at = Timestamp::from_millis(0);
    let options = HarnessOptions::default();
    let mut before = OperatorHarness::new(Partitions::default(), by_partition(), &options)?;
    for n in 0..12 {
        before.element(n, at)?;
    }
    assert!(before.take().is_empty(), "three in each partition");
    let snapshots = [before.snapshot()?];
    let mut after =
        OperatorHarness::restore(Partitions::default(), by_partition(), &options, &snapshots)?;
    for n in 12..20 {
        after.element(n, at)?;
    }
    let sums: Vec<(u64, u64)> = after.take().into_iter().map(|e| e.value).collect();
    println!("{sums:?}");
    assert_eq!(sums, [(0, 40), (1, 45), (2, 50), (3, 55)]);
    Ok(())
}
