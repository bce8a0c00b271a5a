//! A function that hands its elements on by ten, and loses none when it is restored over more subtasks.

use operators::{
    CheckpointedFunction, Collector, Element, HarnessOptions, KeyByValue, ListMode, Operator,
    OperatorContext, OperatorHarness, OperatorState, Result,
};
use state_backend::StateStore;
use time_engine::Timestamp;

/// The buffer belongs to no key: it is state of the operator.
#[derive(Default)]
pub(crate) struct Buffering {
    buffered: Vec<u64>,
}

impl Operator for Buffering {
    type In = u64;
    type Out = Vec<u64>;

    fn open(&mut self, _: &mut StateStore) -> Result<()> {
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<u64>,
        _: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Vec<u64>>,
    ) -> Result<()> {
        self.buffered.push(element.value);
        // restored over fewer subtasks it may have several batches at once
        while self.buffered.len() >= 10 {
            out.collect(self.buffered.drain(..10).collect());
        }
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl CheckpointedFunction for Buffering {
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()> {
        self.buffered = state.list("buffered-elements")?;
        Ok(())
    }

    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()> {
        // dealt out over the subtasks there are when it is restored
        state.put("buffered-elements", ListMode::Split, &self.buffered)
    }
}

fn main() -> Result<()> {
    let by_number = || KeyByValue::new(|n: &u64| *n);
    let at = Timestamp::from_millis(0);
    let options = HarnessOptions::default();
    let mut one = OperatorHarness::new(Buffering::default(), by_number(), &options)?;
    for n in 0..27 {
        one.element(n, at)?;
    }
    let mut seen: Vec<u64> = one.take().into_iter().flat_map(|e| e.value).collect();
    assert_eq!(seen.len(), 20);
    // seven are in the buffer; the operator goes on as two
    let snapshot = one.snapshot()?;
    for subtask in 0..2 {
        let options = HarnessOptions {
            subtask,
            parallelism: 2,
            ..options.clone()
        };
        let snapshots = std::slice::from_ref(&snapshot);
        let mut part =
            OperatorHarness::restore(Buffering::default(), by_number(), &options, snapshots)?;
        println!("subtask {subtask} has {:?}", part.operator().buffered);
        seen.append(&mut part.operator().buffered);
    }
    seen.sort_unstable();
    assert!(seen.into_iter().eq(0..27));
    Ok(())
}
