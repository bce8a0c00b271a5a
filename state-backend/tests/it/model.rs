//! Whatever is done to a store, it holds what a plain map would, and so does every snapshot of it,
//! over the memory backend and over the others with budgets from nothing to plenty.

use proptest::prelude::*;
use state_backend::{
    BackendConfig, BackendStats, Change, DeltaChunk, Durability, FrozenRows, KeyGroupRange,
    KeyedStateBackend, ListDef, ListState, Maintenance, MapDef, MapState, MaxParallelism,
    MemoryBackend, PumpBudget, PumpStatus, Result, SnapshotKind, StateId, StateStore, StoreOptions,
    Ttl, ValueDef, ValueState, Visit, key_group_of, split_row_key, subtask_of,
};
use std::{collections::BTreeMap, ops::Bound, sync::Arc, time::Duration};

/// Few key groups, so that tables grow, shrink and are rehashed.
const GROUPS: u16 = 8;
const TTL_MS: i64 = 10;

#[derive(Clone, Debug)]
enum Op {
    Set {
        key: u16,
        ns: Option<u8>,
        value: u32,
    },
    Update {
        key: u16,
        ns: Option<u8>,
        value: u32,
    },
    Clear {
        key: u16,
        ns: Option<u8>,
    },
    Timed {
        key: u16,
        value: u32,
    },
    ClearTimed {
        key: u16,
    },
    Read {
        key: u16,
    },
    Put {
        key: u16,
        map_key: u8,
        len: u8,
    },
    Remove {
        key: u16,
        map_key: u8,
    },
    ClearMap {
        key: u16,
    },
    Add {
        key: u16,
        item: u16,
    },
    ClearList {
        key: u16,
    },
    Many {
        from: u16,
        count: u16,
    },
    ClearMany {
        from: u16,
        count: u16,
    },
    Advance {
        millis: u8,
    },
    Pump {
        entries: u8,
    },
    Begin {
        full: bool,
    },
    Acknowledge,
    Abandon {
        newest: bool,
    },
    Restore {
        parallelism: u16,
        register_first: bool,
    },
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let key = 0_u16..40;
    let ns = proptest::option::weighted(0.3, 0_u8..3);
    let op = prop_oneof![
        4 => (key.clone(), ns.clone(), any::<u32>())
            .prop_map(|(key, ns, value)| Op::Set { key, ns, value }),
        4 => (key.clone(), ns.clone(), any::<u32>())
            .prop_map(|(key, ns, value)| Op::Update { key, ns, value }),
        3 => (key.clone(), ns).prop_map(|(key, ns)| Op::Clear { key, ns }),
        4 => (key.clone(), any::<u32>()).prop_map(|(key, value)| Op::Timed { key, value }),
        1 => key.clone().prop_map(|key| Op::ClearTimed { key }),
        3 => key.clone().prop_map(|key| Op::Read { key }),
        4 => (key.clone(), 0_u8..6, 0_u8..60)
            .prop_map(|(key, map_key, len)| Op::Put { key, map_key, len }),
        2 => (key.clone(), 0_u8..6).prop_map(|(key, map_key)| Op::Remove { key, map_key }),
        1 => key.clone().prop_map(|key| Op::ClearMap { key }),
        3 => (key.clone(), any::<u16>()).prop_map(|(key, item)| Op::Add { key, item }),
        1 => key.prop_map(|key| Op::ClearList { key }),
        1 => (100_u16..300, 1_u16..200).prop_map(|(from, count)| Op::Many { from, count }),
        1 => (100_u16..300, 1_u16..200).prop_map(|(from, count)| Op::ClearMany { from, count }),
        2 => (0_u8..8).prop_map(|millis| Op::Advance { millis }),
        8 => (1_u8..40).prop_map(|entries| Op::Pump { entries }),
        3 => any::<bool>().prop_map(|full| Op::Begin { full }),
        3 => Just(Op::Acknowledge),
        1 => any::<bool>().prop_map(|newest| Op::Abandon { newest }),
        1 => (1_u16..4, any::<bool>())
            .prop_map(|(parallelism, register_first)| Op::Restore { parallelism, register_first }),
    ];
    proptest::collection::vec(op, 1..120)
}

/// What plain maps say.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    values: BTreeMap<(u16, Option<u8>), u32>,
    timed: BTreeMap<u16, (u32, i64)>,
    maps: BTreeMap<(u16, u8), String>,
    lists: BTreeMap<u16, Vec<u16>>,
}

impl Model {
    /// Without what has expired.
    fn at(&self, now: i64) -> Self {
        let mut alive = self.clone();
        alive
            .timed
            .retain(|_, (_, written)| *written + TTL_MS > now);
        alive
    }
}

/// A backend, and how much memory there is over it.
#[derive(Clone, Copy, Debug)]
enum Beneath {
    Pinned,
    Memory(u64),
    Fs(u64),
    Redb(u64),
    /// Its rows can be frozen.
    Frozen(u64),
}

/// Copies itself when it is frozen and then changes.
#[derive(Clone, Debug, Default)]
struct Copied(Arc<Rows>);

type Rows = BTreeMap<(StateId, Vec<u8>), Vec<u8>>;

impl FrozenRows for Copied {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.0.get(&(state, key.to_vec()));
        Ok(value.map(|value| found(value)).is_some())
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        let from = after.filter(|after| *after >= prefix);
        let bound = match from {
            Some(after) => Bound::Excluded((state, after.to_vec())),
            None => Bound::Included((state, prefix.to_vec())),
        };
        let rows = self.0.range((bound, Bound::Unbounded));
        for ((_, key), value) in
            rows.take_while(|((of, key), _)| *of == state && key.starts_with(prefix))
        {
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl KeyedStateBackend for Copied {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        FrozenRows::read(self, state, key, found)
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        FrozenRows::scan(self, state, prefix, after, visit)
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        let rows = Arc::make_mut(&mut self.0);
        for change in changes {
            let row = (change.state, change.key.to_vec());
            match change.value {
                Some(value) => rows.insert(row, value.to_vec()),
                None => rows.remove(&row),
            };
        }
        Ok(())
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.apply(changes)
    }

    fn clear(&mut self) -> Result<()> {
        self.0 = Arc::default();
        Ok(())
    }

    fn flush(&mut self, _: Durability) -> Result<()> {
        Ok(())
    }

    fn maintain(&mut self, _: u64) -> Result<Maintenance> {
        Ok(Maintenance::Idle)
    }

    fn freeze(&mut self) -> Result<Option<Box<dyn FrozenRows>>> {
        Ok(Some(Box::new(self.clone())))
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            rows: self.0.len() as u64,
            ..BackendStats::default()
        }
    }
}

struct Handles {
    value: ValueState<u32>,
    timed: ValueState<u32>,
    map: MapState<u8, String>,
    list: ListState<u16>,
}

struct Subtask {
    store: StateStore,
    handles: Option<Handles>,
    /// Keeps the files of the store.
    _dir: Option<tempfile::TempDir>,
}

fn open(beneath: Beneath, range: KeyGroupRange, max: MaxParallelism, now: i64) -> Subtask {
    let options = StoreOptions::new().with_key_groups(max, range);
    let dir =
        matches!(beneath, Beneath::Fs(_) | Beneath::Redb(_)).then(|| tempfile::tempdir().unwrap());
    let path = dir
        .as_ref()
        .map(|dir| dir.path().to_owned())
        .unwrap_or_default();
    let mut store = match beneath {
        Beneath::Pinned => StateStore::open(options),
        Beneath::Memory(budget) => StateStore::with_backend(
            Box::new(MemoryBackend::new()),
            options.with_memory_budget_bytes(budget),
        ),
        Beneath::Frozen(budget) => StateStore::with_backend(
            Box::new(Copied::default()),
            options.with_memory_budget_bytes(budget),
        ),
        Beneath::Fs(budget) => StateStore::open(
            options
                .with_memory_budget_bytes(budget)
                .with_backend(BackendConfig::fs(path)),
        ),
        Beneath::Redb(budget) => StateStore::open(
            options
                .with_memory_budget_bytes(budget)
                .with_backend(BackendConfig::redb(path)),
        ),
    }
    .unwrap();
    store.set_time(now);
    Subtask {
        store,
        handles: None,
        _dir: dir,
    }
}

impl Subtask {
    fn handles(&mut self) -> &Handles {
        let store = &mut self.store;
        self.handles.get_or_insert_with(|| {
            let ttl = Ttl::after_write(Duration::from_millis(TTL_MS as u64));
            Handles {
                value: store.value(&ValueDef::new("value")).unwrap(),
                timed: store.value(&ValueDef::new("timed").with_ttl(ttl)).unwrap(),
                map: store.map(&MapDef::new("map")).unwrap(),
                list: store.list(&ListDef::new("list")).unwrap(),
            }
        })
    }

    /// All that the store holds, by iteration.
    fn contents(&mut self, into: &mut Model) {
        self.handles();
        let now = self.store.time();
        let Self { store, handles, .. } = self;
        let handles = handles.as_ref().unwrap();
        let mut last = None;
        store
            .for_each(&handles.value, |row, value| {
                let (key, ns, _) = split_row_key::<u16, u8>(row).unwrap();
                into.values.insert((key, ns), *value);
                let at = (key_group(key), row.to_vec());
                assert!(last.as_ref().is_none_or(|last| *last < at), "rows in order");
                last = Some(at);
            })
            .unwrap();
        store
            .for_each(&handles.timed, |row, value| {
                let (key, _, _) = split_row_key::<u16, u8>(row).unwrap();
                into.timed.insert(key, (*value, now));
            })
            .unwrap();
        store
            .for_each(&handles.map, |row, value| {
                let (key, _, mut rest) = split_row_key::<u16, u8>(row).unwrap();
                let map_key = state_backend::StateKey::decode(&mut rest).unwrap();
                into.maps.insert((key, map_key), value.clone());
            })
            .unwrap();
        store
            .for_each_list(&handles.list, |row, items| {
                let (key, _, _) = split_row_key::<u16, u8>(row).unwrap();
                into.lists.insert(key, items.to_vec());
            })
            .unwrap();
    }
}

fn key_group(key: u16) -> u16 {
    key_group_of(i32::from(key), MaxParallelism::new(GROUPS).unwrap()).get()
}

/// Chunks go by name: the next store may number its states otherwise.
type Named = (String, DeltaChunk);

struct Pending {
    id: u64,
    full: bool,
    chunks: Vec<Named>,
    /// Subtasks that have handed out all of it.
    done: Vec<bool>,
    model: Model,
    now: i64,
    /// The chain of acknowledged snapshots when it began.
    chain: Vec<Named>,
}

struct Harness {
    beneath: Beneath,
    max: MaxParallelism,
    subtasks: Vec<Subtask>,
    model: Model,
    now: i64,
    next_id: u64,
    pending: Vec<Pending>,
    /// Acknowledged snapshots since the newest full one, and what they stand for.
    chain: Vec<Named>,
    acknowledged: (u64, Model),
}

impl Harness {
    fn new(beneath: Beneath) -> Self {
        let max = MaxParallelism::new(GROUPS).unwrap();
        let mut subtask = open(beneath, KeyGroupRange::all(max), max, 0);
        subtask.handles();
        Self {
            beneath,
            max,
            subtasks: vec![subtask],
            model: Model::default(),
            now: 0,
            next_id: 1,
            pending: Vec::new(),
            chain: Vec::new(),
            acknowledged: (0, Model::default()),
        }
    }

    fn of(&mut self, key: u16) -> &mut Subtask {
        let parallelism = self.subtasks.len() as u16;
        let group = key_group_of(i32::from(key), self.max);
        let index = subtask_of(group, self.max, parallelism).unwrap();
        let subtask = &mut self.subtasks[usize::from(index)];
        subtask.handles();
        subtask
    }

    fn set(&mut self, key: u16, ns: Option<u8>, value: Option<u32>, update: bool) {
        let old = self.model.values.get(&(key, ns)).copied();
        let Subtask { store, handles, .. } = self.of(key);
        let state = handles.as_ref().unwrap().value;
        let mut outer = store.scope(&key);
        let mut inner;
        let scope = match ns {
            Some(ns) => {
                inner = outer.in_namespace(&ns);
                &mut inner
            }
            None => &mut outer,
        };
        match value {
            None => state.clear(scope).unwrap(),
            Some(value) if update => {
                let seen = state
                    .update_or_insert_with(scope, || 0, |slot| std::mem::replace(slot, value))
                    .unwrap();
                assert_eq!(seen, old.unwrap_or(0));
            }
            Some(value) => state.set(scope, value).unwrap(),
        }
        assert_eq!(state.get(scope).unwrap().copied(), value);
        match value {
            Some(value) => self.model.values.insert((key, ns), value),
            None => self.model.values.remove(&(key, ns)),
        };
    }

    fn read(&mut self, key: u16) {
        let expected = self.model.at(self.now);
        let Subtask { store, handles, .. } = self.of(key);
        let handles = handles.as_ref().unwrap();
        let mut scope = store.scope(&key);
        let value = handles.value.get(&mut scope).unwrap().copied();
        assert_eq!(value, expected.values.get(&(key, None)).copied());
        let timed = handles.timed.get(&mut scope).unwrap().copied();
        assert_eq!(timed, expected.timed.get(&key).map(|&(value, _)| value));
        let entries: BTreeMap<_, _> = handles
            .map
            .entries(&mut scope)
            .unwrap()
            .into_iter()
            .collect();
        let wanted = expected.maps.range((key, 0)..=(key, u8::MAX));
        let wanted: BTreeMap<_, _> = wanted.map(|((_, uk), v)| (*uk, v.clone())).collect();
        assert_eq!(handles.map.is_empty(&mut scope).unwrap(), wanted.is_empty());
        assert_eq!(entries, wanted);
        let list = handles.list.get(&mut scope).unwrap().to_vec();
        assert_eq!(
            Some(list).filter(|list| !list.is_empty()).as_ref(),
            expected.lists.get(&key)
        );
    }

    fn apply(&mut self, op: &Op) {
        let now = self.now;
        match *op {
            Op::Set { key, ns, value } => self.set(key, ns, Some(value), false),
            Op::Update { key, ns, value } => self.set(key, ns, Some(value), true),
            Op::Clear { key, ns } => self.set(key, ns, None, false),
            Op::Many { from, count } => {
                for key in from..from + count {
                    self.set(key, None, Some(u32::from(key) + count as u32), false);
                }
            }
            Op::ClearMany { from, count } => {
                for key in from..from + count {
                    self.set(key, None, None, false);
                }
            }
            Op::Timed { key, value } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().timed;
                state.set(&mut store.scope(&key), value).unwrap();
                self.model.timed.insert(key, (value, now));
            }
            Op::ClearTimed { key } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().timed;
                state.clear(&mut store.scope(&key)).unwrap();
                self.model.timed.remove(&key);
            }
            Op::Read { key } => self.read(key),
            Op::Put { key, map_key, len } => {
                let value = "v".repeat(usize::from(len));
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().map;
                state
                    .put(&mut store.scope(&key), &map_key, value.clone())
                    .unwrap();
                self.model.maps.insert((key, map_key), value);
            }
            Op::Remove { key, map_key } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().map;
                state.remove(&mut store.scope(&key), &map_key).unwrap();
                self.model.maps.remove(&(key, map_key));
            }
            Op::ClearMap { key } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().map;
                state.clear(&mut store.scope(&key)).unwrap();
                self.model.maps.retain(|&(of, _), _| of != key);
            }
            Op::Add { key, item } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().list;
                state.add(&mut store.scope(&key), item).unwrap();
                self.model.lists.entry(key).or_default().push(item);
            }
            Op::ClearList { key } => {
                let Subtask { store, handles, .. } = self.of(key);
                let state = handles.as_ref().unwrap().list;
                state.clear(&mut store.scope(&key)).unwrap();
                self.model.lists.remove(&key);
            }
            Op::Advance { millis } => {
                self.now += i64::from(millis);
                for subtask in &mut self.subtasks {
                    subtask.store.set_time(self.now);
                }
            }
            Op::Pump { entries } => self.pump(u32::from(entries)),
            Op::Begin { full } => self.begin(full),
            Op::Acknowledge => self.acknowledge(),
            Op::Abandon { newest } => {
                let index = if newest { self.pending.len() } else { 1 };
                if let Some(index) = index.checked_sub(1).filter(|&i| i < self.pending.len()) {
                    let pending = self.pending.remove(index);
                    for subtask in &mut self.subtasks {
                        subtask.store.abandon(pending.id).unwrap();
                    }
                }
            }
            Op::Restore {
                parallelism,
                register_first,
            } => self.restore(parallelism, register_first),
        }
    }

    fn begin(&mut self, full: bool) {
        let id = self.next_id;
        self.next_id += 1;
        let kind = if full {
            SnapshotKind::Full
        } else {
            SnapshotKind::Delta
        };
        for subtask in &mut self.subtasks {
            subtask.store.begin_snapshot(id, kind).unwrap();
        }
        self.pending.push(Pending {
            id,
            full,
            chunks: Vec::new(),
            done: vec![false; self.subtasks.len()],
            model: self.model.clone(),
            now: self.now,
            chain: self.chain.clone(),
        });
    }

    fn pump(&mut self, entries: u32) {
        for index in 0..self.subtasks.len() {
            let mut chunks = Vec::new();
            let store = &mut self.subtasks[index].store;
            let budget = PumpBudget::entries(entries);
            let mut status = store.pump(budget, &mut chunks).unwrap();
            while status == PumpStatus::Waiting {
                std::thread::yield_now();
                status = store.pump(budget, &mut chunks).unwrap();
            }
            // Chunks are those of the oldest snapshot that this subtask has not finished.
            if let Some(pending) = self.pending.iter_mut().find(|pending| !pending.done[index]) {
                let catalog = store.catalog();
                pending.chunks.extend(
                    chunks
                        .drain(..)
                        .map(|chunk| (catalog.name_of(chunk.state).unwrap().to_owned(), chunk)),
                );
                if let PumpStatus::SnapshotDone(id) = status {
                    assert_eq!(id, pending.id);
                    pending.done[index] = true;
                }
            }
            assert!(chunks.is_empty(), "chunks without a snapshot");
        }
        let done = self.pending.iter().filter(|pending| pending.is_done());
        for pending in done.collect::<Vec<_>>() {
            for chain in [&pending.chain, &self.chain] {
                let base: &[Named] = if pending.full { &[] } else { chain };
                let mut rows = std::collections::HashSet::new();
                for (name, chunk) in &pending.chunks {
                    for (key, _) in chunk.iter() {
                        assert!(rows.insert((name, key)), "a key comes once");
                    }
                }
                self.check_snapshot(base, pending);
            }
        }
    }

    /// A snapshot over its base is the state at the time it began.
    fn check_snapshot(&self, base: &[Named], pending: &Pending) {
        let range = KeyGroupRange::all(self.max);
        let mut restored = open(Beneath::Pinned, range, self.max, pending.now);
        let catalog = self.subtasks[0].store.catalog();
        restored.store.restore_catalog(&catalog).unwrap();
        for (name, chunk) in base.iter().chain(&pending.chunks) {
            restored.store.restore_rows(name, chunk).unwrap();
        }
        let mut got = Model::default();
        restored.contents(&mut got);
        assert_same(&got, &pending.model.at(pending.now));
    }

    fn acknowledge(&mut self) {
        let Some(index) = self.pending.iter().position(|pending| pending.is_done()) else {
            return;
        };
        let pending = self.pending.remove(index);
        for subtask in &mut self.subtasks {
            subtask.store.acknowledge(pending.id).unwrap();
        }
        if pending.full {
            self.chain.clear();
        }
        self.chain.extend(pending.chunks);
        // Acknowledging an older one after a newer one would put the chain out of order.
        let older: Vec<_> = self
            .pending
            .iter()
            .filter(|p| p.id < pending.id)
            .map(|p| p.id)
            .collect();
        for id in older {
            self.pending.retain(|pending| pending.id != id);
            for subtask in &mut self.subtasks {
                subtask.store.abandon(id).unwrap();
            }
        }
        self.acknowledged = (pending.id, pending.model);
    }

    /// Everything is lost but the acknowledged chain.
    fn restore(&mut self, parallelism: u16, register_first: bool) {
        let catalog = self.subtasks[0].store.catalog();
        self.pending.clear();
        self.model = self.acknowledged.1.clone();
        self.subtasks = (0..parallelism)
            .map(|index| {
                let range = KeyGroupRange::for_subtask(self.max, parallelism, index).unwrap();
                let mut subtask = open(self.beneath, range, self.max, self.now);
                if register_first {
                    subtask.handles();
                }
                subtask.store.restore_catalog(&catalog).unwrap();
                for (name, chunk) in &self.chain {
                    subtask.store.restore_rows(name, chunk).unwrap();
                }
                subtask.handles();
                subtask
            })
            .collect();
        if self.chain.is_empty() {
            // Nothing was acknowledged, so the stores must not take the next delta for one upon it.
            self.subtasks = (0..parallelism)
                .map(|index| {
                    let range = KeyGroupRange::for_subtask(self.max, parallelism, index).unwrap();
                    let mut subtask = open(self.beneath, range, self.max, self.now);
                    subtask.handles();
                    subtask
                })
                .collect();
        }
    }

    fn check(&mut self) {
        let mut got = Model::default();
        for subtask in &mut self.subtasks {
            subtask.contents(&mut got);
        }
        assert_same(&got, &self.model.at(self.now));
    }
}

/// Write times are not shown by iteration, so only whether values are there is compared.
fn assert_same(got: &Model, expected: &Model) {
    let values = |model: &Model| -> Vec<(u16, u32)> {
        let timed = model.timed.iter();
        timed.map(|(&key, &(value, _))| (key, value)).collect()
    };
    assert_eq!(values(got), values(expected));
    assert_eq!(got.values, expected.values);
    assert_eq!(got.maps, expected.maps);
    assert_eq!(got.lists, expected.lists);
}

impl Pending {
    fn is_done(&self) -> bool {
        self.done.iter().all(|&done| done)
    }
}

fn run(beneath: Beneath, ops: &[Op]) {
    let mut harness = Harness::new(beneath);
    for op in ops {
        harness.apply(op);
        harness.check();
    }
    harness.begin(false);
    for _ in 0..10_000 {
        if harness.pending.iter().all(|pending| pending.is_done()) {
            break;
        }
        harness.pump(50);
    }
    harness.acknowledge();
    harness.restore(2, true);
    harness.check();
    for key in 0..40 {
        harness.read(key);
    }
}

fn cases(few: u32) -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES")
        .ok()
        .and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(few),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn all_state_in_memory(ops in ops()) {
        run(Beneath::Pinned, &ops);
    }

    #[test]
    fn nothing_fits(ops in ops()) {
        run(Beneath::Memory(1), &ops);
    }

    #[test]
    fn some_fits(ops in ops(), budget in 2_000_u64..60_000) {
        run(Beneath::Memory(budget), &ops);
    }

    #[test]
    fn frozen_and_nothing_fits(ops in ops()) {
        run(Beneath::Frozen(1), &ops);
    }

    #[test]
    fn frozen_and_some_fits(ops in ops(), budget in 2_000_u64..60_000) {
        run(Beneath::Frozen(budget), &ops);
    }
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn over_fs(ops in ops(), budget in 1_u64..30_000) {
        run(Beneath::Fs(budget), &ops);
    }

    #[test]
    fn over_redb(ops in ops(), budget in 1_u64..30_000) {
        run(Beneath::Redb(budget), &ops);
    }
}
