//! Promise: the operators that the Flink tutorial teaches do here what they do there.

use crate::support::{checkpointed, memory_store};
use operators::{
    CheckpointedFunction, Collector, Element, FunctionContext, Generator, ListMode, OperatorState,
    ProcessFunction, Result, StopMode, StreamEnvironment,
};

/// Hands its elements on in batches of ten, and loses none over a restore.
#[derive(Default)]
struct Buffering {
    buffered: Vec<u64>,
}

impl ProcessFunction for Buffering {
    type In = u64;
    type Out = Vec<u64>;

    fn on_element(
        &mut self,
        element: Element<u64>,
        _: &mut FunctionContext<'_>,
        out: &mut dyn Collector<Vec<u64>>,
    ) -> Result<()> {
        self.buffered.push(element.value);
        if self.buffered.len() >= 10 {
            out.collect(std::mem::take(&mut self.buffered));
        }
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl CheckpointedFunction for Buffering {
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()> {
        if state.is_restored() {
            self.buffered = state.list("buffered-elements")?;
        }
        Ok(())
    }

    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()> {
        state.put("buffered-elements", ListMode::Split, &self.buffered)
    }
}

#[test]
fn a_buffering_function_loses_nothing_over_restores_and_rescaling() {
    const EVENTS: u64 = 20_000;
    let store = memory_store();
    let mut seen = Vec::new();
    for (round, parallelism) in [2, 3, 1].into_iter().enumerate() {
        let env = StreamEnvironment::new();
        let results = env
            .source("numbers", Generator::new(EVENTS, |n| n).with_splits(6))
            .rebalance()
            .parallelism(parallelism)
            .process("buffer", Buffering::default)
            .collect("out");
        let job = env.execute(checkpointed(&store, 1)).unwrap();
        if round < 2 {
            while results.len() < 300 && !job.status().state.is_terminal() {
                std::thread::yield_now();
            }
            let _ = job.stop(StopMode::Suspend).wait();
        }
        job.wait().unwrap();
        for batch in results.take() {
            assert_eq!(batch.len(), 10);
            seen.extend(batch);
        }
    }
    let emitted = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), emitted, "some came twice");
    // at parallelism 1 less than a batch is left behind, and it is in the last checkpoint
    let manifest = store.latest().unwrap().manifest.unwrap();
    let left: usize = manifest
        .operators
        .iter()
        .flat_map(|operator| &operator.subtasks)
        .flat_map(|subtask| subtask.operator_state.values())
        .map(|entry| entry.items.len())
        .sum();
    assert_eq!(emitted + left, EVENTS as usize);
}
