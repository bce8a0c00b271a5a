//! Exactly-once: an operator panics half way, the job restarts from its last checkpoint, and the files of
//! the sink hold each result once.

use checkpoint_store::{CheckpointStore, LocalBlobs, StoreOptions};
use operators::{
    CheckpointConfig, Collector, Element, FileSink, Generator, JobConfig, Operator,
    OperatorContext, RestartStrategy, Result, StreamEnvironment,
};
use state_backend::{StateStore, ValueDef, ValueState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

struct Count {
    count: ValueState<u64>,
    fragile: Arc<AtomicBool>,
}

impl Operator for Count {
    type In = u64;
    type Out = (u64, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.count = store.value(&ValueDef::new("count"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<u64>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        let n = self.count.get(&mut cx.state)?.copied().unwrap_or(0) + 1;
        if n == 500 && self.fragile.swap(false, Ordering::Relaxed) {
            panic!("as planned");
        }
        self.count.set(&mut cx.state, n)?;
        out.collect((element.value, n));
        Ok(())
    }
}

fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let blobs = LocalBlobs::open(place.path().join("checkpoints"))?;
    let store = CheckpointStore::open(Arc::new(blobs), StoreOptions::default())?;
    let config = JobConfig::default()
        .with_restart(RestartStrategy::fixed_delay(3, Duration::from_millis(1)))
        .with_checkpoints(CheckpointConfig::new(store).with_interval(Duration::from_millis(10)));

    let env = StreamEnvironment::new();
    let fragile = Arc::new(AtomicBool::new(true));
    let results = place.path().join("results");
    let directory = results.clone();
    env.source("numbers", Generator::new(10_000, |n| n % 10))
        .key_by(|key| *key)
        .process("count", move || Count {
            count: ValueState::default(),
            fragile: Arc::clone(&fragile),
        })
        .parallelism(2)
        .transactional_sink("files", move || {
            FileSink::new(&directory, |(key, n): &(u64, u64)| format!("{key},{n}"))
        });
    let job = env.execute(config)?;
    job.wait()?;

    let mut lines = 0;
    for entry in std::fs::read_dir(&results)? {
        lines += std::fs::read_to_string(entry?.path())?.lines().count();
    }
    println!("{} starts, {lines} lines", job.status().attempts);
    assert_eq!((job.status().attempts, lines), (2, 10_000));
    Ok(())
}
