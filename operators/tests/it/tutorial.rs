//! Promise: the operators that the Flink tutorial teaches do here what they do there.

use crate::support::{checkpointed, memory_store};
use buffering::Buffering;
use operators::{Generator, StopMode, StreamEnvironment};

#[path = "../../examples/buffering.rs"]
#[expect(dead_code, reason = "its main is for who runs the example")]
mod buffering;

#[test]
fn a_buffering_function_loses_nothing_over_restores_and_rescaling() {
    const EVENTS: u64 = 20_000;
    let store = memory_store();
    let mut seen = Vec::new();
    for (round, parallelism) in [2, 3, 1].into_iter().enumerate() {
        let env = StreamEnvironment::new();
        let results = env
            .source("numbers", Generator::new(EVENTS, |n| n).with_splits(6))
            .key_by(|n| *n)
            .process("buffer", Buffering::default)
            .parallelism(parallelism)
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
