//! Drives one operator by hand: no threads, no queues, no job.

use crate::checkpoint::ShardKey;
use crate::element::Element;
use crate::error::{Error, Result};
use crate::key::KeySelector;
use crate::operator::{Operator, SubtaskInfo};
use crate::operator_state::OperatorState;
use crate::runtime::event::{Event, Flow, TaskContext};
use crate::runtime::inbox::Inbox;
use crate::runtime::keyed::KeyedLink;
use crate::runtime::link::Link;
use crate::runtime::slice::Slice;
use crate::runtime::snapshot::{Reporter, SnapshotPart};
use crate::runtime::timers::KeyTimers;
use crate::side_output::{OutputTag, SideOutputs};
use state_backend::operator_state::redistribute;
use state_backend::{
    BackendConfig, DeltaChunk, KeyGroupRange, MaxParallelism, PumpBudget, PumpStatus, SnapshotKind,
    StateCatalog, StateStore, StoreOptions,
};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use time_engine::{ManualClock, Timestamp, Watermark};

type Taken<T> = Arc<Mutex<Vec<Element<T>>>>;

struct Keep<T>(Taken<T>);

impl<T: Send> Link<T> for Keep<T> {
    fn element(&mut self, element: Element<T>, _: &mut TaskContext) -> Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(element);
        Ok(())
    }

    fn event(&mut self, _: &mut Event<'_>, _: &mut TaskContext) -> Result<Flow> {
        Ok(Flow::Done)
    }
}

/// The state of one subtask of an operator: keyed state, timers and its own.
#[derive(Debug, Clone)]
pub struct HarnessSnapshot {
    catalog: StateCatalog,
    rows: Vec<(String, DeltaChunk)>,
    operator_state: OperatorState,
}

/// One subtask of an operator, driven by hand: give it elements and time, take its results, snapshot it,
/// restore it over another number of subtasks or another backend.
pub struct OperatorHarness<O: Operator, S> {
    link: KeyedLink<O, S>,
    cx: TaskContext,
    results: Taken<O::Out>,
}

impl<O: Operator, S> fmt::Debug for OperatorHarness<O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OperatorHarness").finish_non_exhaustive()
    }
}

/// Which subtask a harness is, and on what.
#[derive(Debug, Clone)]
pub struct HarnessOptions {
    /// From 0.
    pub subtask: u16,
    /// How many there are.
    pub parallelism: u16,
    /// Key groups.
    pub max_parallelism: MaxParallelism,
    /// Where state lives.
    pub backend: BackendConfig,
}

impl Default for HarnessOptions {
    /// The only subtask, in memory.
    fn default() -> Self {
        Self {
            subtask: 0,
            parallelism: 1,
            max_parallelism: MaxParallelism::DEFAULT,
            backend: BackendConfig::Memory,
        }
    }
}

impl<O: Operator, S: KeySelector<O::In>> OperatorHarness<O, S> {
    /// A fresh operator. `selector` as [`crate::Stream::key_by`] makes it:
    /// `KeyByValue::new(|event: &Event| event.user)`.
    ///
    /// # Errors
    /// Those of [`Operator::open`].
    pub fn new(operator: O, selector: S, options: &HarnessOptions) -> Result<Self> {
        Self::restore(operator, selector, options, &[])
    }

    /// An operator with its share of the state of all old subtasks.
    ///
    /// # Errors
    /// State that does not fit the operator.
    pub fn restore(
        mut operator: O,
        selector: S,
        options: &HarnessOptions,
        snapshots: &[HarnessSnapshot],
    ) -> Result<Self> {
        let max = options.max_parallelism;
        let range = KeyGroupRange::for_subtask(max, options.parallelism, options.subtask)?;
        let store = StoreOptions::default()
            .with_backend(options.backend.clone())
            .with_key_groups(max, range);
        let mut store = StateStore::open(store)?;
        for snapshot in snapshots {
            store.restore_catalog(&snapshot.catalog)?;
            for (state, chunk) in &snapshot.rows {
                store.restore_rows(state, chunk)?;
            }
        }
        operator.open(&mut store)?;
        let timers = KeyTimers::open::<S::Key>(&mut store, max)?;
        if let Some(function) = operator.checkpointed() {
            let old: Vec<_> = snapshots
                .iter()
                .map(|s| s.operator_state.lists.clone())
                .collect();
            let mut new = redistribute(&old, usize::from(options.parallelism))?;
            let lists = new.swap_remove(usize::from(options.subtask));
            let restored = !snapshots.is_empty();
            function.initialize_state(&OperatorState { lists, restored })?;
        }
        let results = Taken::default();
        let uid: Arc<str> = "harness".into();
        let subtask = usize::from(options.subtask);
        let reporter = Reporter {
            inbox: Arc::new(Inbox::new(1, Arc::default())),
            attempt: 0,
            task: 0,
        };
        let clock = Arc::new(ManualClock::default());
        let part = ShardKey {
            uid: Arc::clone(&uid),
            subtask,
        };
        let link = KeyedLink {
            operator,
            selector: Arc::new(selector),
            max,
            store,
            timers,
            changes: Vec::new(),
            sides: SideOutputs::default(),
            info: SubtaskInfo {
                operator: uid.to_string(),
                subtask,
                parallelism: usize::from(options.parallelism),
            },
            watermark: Watermark::MIN,
            snapshots: SnapshotPart::new(part, reporter, clock, None, Slice::new(u32::MAX), true),
            answer: None,
            uid,
            next: Box::new(Keep(Arc::clone(&results))),
        };
        Ok(Self {
            link,
            cx: TaskContext::new(Arc::default()),
            results,
        })
    }

    /// Gives an element with a timestamp, or with [`Element::NO_TIMESTAMP`].
    ///
    /// # Errors
    /// The operator's own; also for a key of another subtask.
    pub fn element(&mut self, value: O::In, at: Timestamp) -> Result<()> {
        self.link.element(Element::at(value, at), &mut self.cx)
    }

    /// Moves event time on.
    ///
    /// # Errors
    /// The operator's own.
    pub fn watermark(&mut self, at: Timestamp) -> Result<()> {
        let _ = self.link.event(&mut Event::Watermark(at), &mut self.cx)?;
        Ok(())
    }

    /// Moves the clock; a timer is due once the clock is past it.
    ///
    /// # Errors
    /// The operator's own.
    pub fn processing_time(&mut self, now: Timestamp) -> Result<()> {
        self.cx.now = now;
        let _ = self
            .link
            .event(&mut Event::ProcessingTime(now), &mut self.cx)?;
        Ok(())
    }

    /// Takes the results so far.
    pub fn take(&mut self) -> Vec<Element<O::Out>> {
        std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Keeps what the operator emits to a side output from now on.
    pub fn side_output<T: Send + 'static>(&mut self, tag: OutputTag<T>) -> SideResults<T> {
        let results = Taken::default();
        self.link
            .sides
            .add(tag.name(), Box::new(Keep(Arc::clone(&results))));
        SideResults {
            results,
            kind: PhantomData,
        }
    }

    /// The operator.
    pub fn operator(&mut self) -> &mut O {
        &mut self.link.operator
    }

    /// Its keyed state, to look into: `harness.state().scope(&key)` with a handle of the operator's.
    pub fn state(&mut self) -> &mut StateStore {
        &mut self.link.store
    }

    /// Timers that wait.
    pub fn timers(&self) -> usize {
        self.link.timers.len()
    }

    /// All its state.
    ///
    /// # Errors
    /// A value that does not encode; those of `snapshot_state`.
    pub fn snapshot(&mut self) -> Result<HarnessSnapshot> {
        let mut operator_state = OperatorState::default();
        if let Some(function) = self.link.operator.checkpointed() {
            function.snapshot_state(&mut operator_state)?;
        }
        let store = &mut self.link.store;
        let id = u64::MAX;
        store.begin_snapshot(id, SnapshotKind::Full)?;
        let mut chunks = Vec::new();
        while store.pump(PumpBudget::UNLIMITED, &mut chunks)? != PumpStatus::SnapshotDone(id) {}
        store.abandon(id)?;
        let catalog = store.catalog();
        let rows = chunks
            .into_iter()
            .map(|chunk| match catalog.name_of(chunk.state) {
                Some(name) => Ok((name.to_owned(), chunk)),
                None => Err(Error::invalid(
                    "a snapshot of a state that is not registered",
                )),
            })
            .collect::<Result<_>>()?;
        Ok(HarnessSnapshot {
            catalog,
            rows,
            operator_state,
        })
    }
}

/// What an operator has emitted to a side output.
#[derive(Debug)]
pub struct SideResults<T> {
    results: Taken<T>,
    kind: PhantomData<T>,
}

impl<T> SideResults<T> {
    /// Takes what has come so far.
    pub fn take(&self) -> Vec<Element<T>> {
        std::mem::take(&mut *self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
