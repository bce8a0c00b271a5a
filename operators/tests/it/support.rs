//! Operators and stores that several tests use.

use checkpoint_store::{
    BlobInfo, BlobPath, BlobStore, CheckpointStore, MemoryBlobs, PutMode, PutOutcome, Retry,
    StoreOptions,
};
use operators::{
    CheckpointConfig, CheckpointedFunction, Collector, Element, Error, JobConfig, Operator,
    OperatorContext, OperatorState, QueryOperator, RestartStrategy, Result,
};
use state_backend::{StateStore, ValueDef, ValueState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;
use time_engine::{TimeDomain, Timestamp};

/// Numbers the elements of each key, and fails when the trap says so.
pub(crate) struct Count {
    pub(crate) seen: ValueState<u64>,
    pub(crate) trap: Arc<Trap>,
    /// Set when it takes a snapshot.
    pub(crate) snapshot: Arc<AtomicBool>,
}

/// Fails once each time it has counted down.
#[derive(Debug, Default)]
pub(crate) struct Trap {
    pub(crate) left: AtomicU64,
    pub(crate) panics: bool,
}

impl Trap {
    pub(crate) fn after(elements: u64) -> Arc<Self> {
        Arc::new(Self {
            left: AtomicU64::new(elements),
            panics: false,
        })
    }

    fn step(&self) -> Result<()> {
        // two subtasks step at once, and it springs for one of them
        let count_down = |left: u64| left.checked_sub(1);
        let before = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, count_down);
        if before == Ok(1) {
            assert!(!self.panics, "the trap is sprung");
            return Err(Error::user("the trap is sprung"));
        }
        Ok(())
    }
}

impl Count {
    pub(crate) fn new(trap: &Arc<Trap>) -> Self {
        Self {
            seen: ValueState::default(),
            trap: Arc::clone(trap),
            snapshot: Arc::default(),
        }
    }
}

impl Operator for Count {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.seen = store.value(&ValueDef::new("seen"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<(u64, u64)>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        self.trap.step()?;
        let seen = &self.seen;
        let n = seen.get(&mut cx.state)?.copied().unwrap_or(0) + 1;
        seen.set(&mut cx.state, n)?;
        out.collect((element.value.0, n));
        Ok(())
    }

    fn checkpointed(&mut self) -> Option<&mut dyn CheckpointedFunction> {
        Some(self)
    }
}

impl CheckpointedFunction for Count {
    fn initialize_state(&mut self, _: &OperatorState) -> Result<()> {
        Ok(())
    }

    fn snapshot_state(&mut self, _: &mut OperatorState) -> Result<()> {
        self.snapshot.store(true, Ordering::Release);
        Ok(())
    }
}

impl QueryOperator for Count {
    type Request = ();
    type Reply = Option<u64>;

    fn on_query(&mut self, (): (), cx: &mut OperatorContext<'_>) -> Result<Option<u64>> {
        let seen = &self.seen;
        Ok(seen.get(&mut cx.state)?.copied())
    }
}

/// Counts a key's elements until none has come for a time, then emits the count.
#[derive(Default)]
pub(crate) struct Sessions {
    count: ValueState<u64>,
    last: ValueState<i64>,
}

pub(crate) const GAP_MS: i64 = 100;

impl Operator for Sessions {
    type In = (u64, u64);
    type Out = (u64, u64);

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.count = store.value(&ValueDef::new("count"))?;
        self.last = store.value(&ValueDef::new("last"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<(u64, u64)>,
        cx: &mut OperatorContext<'_>,
        _: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        let (count, last) = (&self.count, &self.last);
        let n = count.get(&mut cx.state)?.copied().unwrap_or(0) + 1;
        count.set(&mut cx.state, n)?;
        let at = element.timestamp.as_millis();
        if let Some(last) = last.get(&mut cx.state)?.copied() {
            cx.timers
                .delete(TimeDomain::Event, Timestamp::from_millis(last + GAP_MS));
        }
        last.set(&mut cx.state, at)?;
        cx.timers
            .register_event(Timestamp::from_millis(at + GAP_MS));
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: TimeDomain,
        _: Timestamp,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<(u64, u64)>,
    ) -> Result<()> {
        let count = &self.count;
        let n = count.get(&mut cx.state)?.copied().unwrap_or(0);
        count.clear(&mut cx.state)?;
        self.last.clear(&mut cx.state)?;
        out.collect((cx.key()?, n));
        Ok(())
    }
}

pub(crate) fn memory_store() -> CheckpointStore {
    CheckpointStore::open(Arc::new(MemoryBlobs::new()), StoreOptions::default())
        .expect("memory does not fail")
}

pub(crate) fn checkpointed(store: &CheckpointStore, parallelism: usize) -> JobConfig {
    let checkpoints = CheckpointConfig::new(store.clone()).with_interval(Duration::from_millis(5));
    JobConfig::default()
        .with_parallelism(parallelism)
        .with_checkpoints(checkpoints)
        .with_source_batch(64)
        .with_restart(RestartStrategy::fixed_delay(100, Duration::ZERO))
}

/// Holds threads up until it is open.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    open: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    pub(crate) fn pass(&self) {
        let open = self.open.lock().expect("the test goes on");
        drop(
            self.changed
                .wait_while(open, |open| !*open)
                .expect("the test goes on"),
        );
    }

    pub(crate) fn open(&self) {
        *self.open.lock().expect("the test goes on") = true;
        self.changed.notify_all();
    }
}

/// Storage whose writes of state wait at a gate.
#[derive(Debug)]
pub(crate) struct HangingBlobs {
    inner: MemoryBlobs,
    gate: Arc<Gate>,
    /// A write has come to the gate.
    pub(crate) waits: AtomicBool,
}

impl HangingBlobs {
    pub(crate) fn new(gate: &Arc<Gate>) -> Self {
        Self {
            inner: MemoryBlobs::new(),
            gate: Arc::clone(gate),
            waits: AtomicBool::new(false),
        }
    }
}

impl BlobStore for HangingBlobs {
    fn get(&self, path: &BlobPath) -> checkpoint_store::Result<Option<bytes::Bytes>> {
        self.inner.get(path)
    }

    fn get_range(
        &self,
        path: &BlobPath,
        range: std::ops::Range<u64>,
    ) -> checkpoint_store::Result<Option<bytes::Bytes>> {
        self.inner.get_range(path, range)
    }

    fn put(
        &self,
        path: &BlobPath,
        bytes: bytes::Bytes,
        mode: PutMode,
    ) -> checkpoint_store::Result<PutOutcome> {
        if path.as_str().ends_with(".parquet") {
            self.waits.store(true, Ordering::Release);
            self.gate.pass();
        }
        self.inner.put(path, bytes, mode)
    }

    fn list(&self, prefix: &BlobPath) -> checkpoint_store::Result<Vec<BlobInfo>> {
        self.inner.list(prefix)
    }

    fn delete(&self, path: &BlobPath) -> checkpoint_store::Result<()> {
        self.inner.delete(path)
    }
}

/// Storage that fails now and then: before it has done anything, or after it has written.
#[derive(Debug)]
pub(crate) struct FlakyBlobs {
    inner: MemoryBlobs,
    /// Of so many calls one fails.
    every: u64,
    calls: AtomicU64,
    seed: u64,
    refused: AtomicU64,
}

impl FlakyBlobs {
    pub(crate) fn new(seed: u64, every: u64) -> Self {
        Self {
            inner: MemoryBlobs::new(),
            every: every.max(2),
            calls: AtomicU64::new(0),
            seed,
            refused: AtomicU64::new(0),
        }
    }

    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    fn draw(&self) -> u64 {
        let call = self.calls.fetch_add(1, Ordering::Relaxed);
        let z = (self.seed ^ call.wrapping_mul(0x9E37_79B9_7F4A_7C15)).wrapping_add(call);
        let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        (z ^ (z >> 27)) >> 8
    }

    fn fails(&self) -> bool {
        self.draw().is_multiple_of(self.every)
    }

    fn error(&self, operation: &'static str, path: &BlobPath) -> checkpoint_store::Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        checkpoint_store::Error::Blob {
            operation,
            path: path.to_string(),
            retry: Retry::MayHelp,
            source: "injected".into(),
        }
    }
}

impl BlobStore for FlakyBlobs {
    fn get(&self, path: &BlobPath) -> checkpoint_store::Result<Option<bytes::Bytes>> {
        if self.fails() {
            return Err(self.error("read", path));
        }
        self.inner.get(path)
    }

    fn get_range(
        &self,
        path: &BlobPath,
        range: std::ops::Range<u64>,
    ) -> checkpoint_store::Result<Option<bytes::Bytes>> {
        if self.fails() {
            return Err(self.error("read", path));
        }
        self.inner.get_range(path, range)
    }

    fn put(
        &self,
        path: &BlobPath,
        bytes: bytes::Bytes,
        mode: PutMode,
    ) -> checkpoint_store::Result<PutOutcome> {
        if self.fails() {
            return Err(self.error("write", path));
        }
        let outcome = self.inner.put(path, bytes, mode)?;
        // written, and nobody hears of it
        if self.fails() {
            return Err(self.error("write", path));
        }
        Ok(outcome)
    }

    fn list(&self, prefix: &BlobPath) -> checkpoint_store::Result<Vec<BlobInfo>> {
        if self.fails() {
            return Err(self.error("list", prefix));
        }
        self.inner.list(prefix)
    }

    fn delete(&self, path: &BlobPath) -> checkpoint_store::Result<()> {
        if self.fails() {
            return Err(self.error("delete", path));
        }
        self.inner.delete(path)
    }
}
