//! Sealed files are adopted as exactly the checkpoint they are of, or not at all: whatever was changed,
//! damaged, or cut short by a crash.

#![cfg(feature = "testing")]

use crate::disk::{DiskOptions, Work};
use crate::testing::{SimulatedFs, Unsynced};
use crate::{
    BackendConfig, DeltaChunk, KeyGroupRange, LocalState, MapDef, MapState, MaxParallelism,
    PumpBudget, PumpStatus, Result, Sealing, SnapshotKind, StateCatalog, StateStore, StoreOptions,
    ValueDef, ValueState,
};
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: ValueDef<String> = ValueDef::new("names");
const SCORES: MapDef<u32, u64> = MapDef::new("scores");

type Rows = BTreeMap<(u64, Option<u32>), String>;

fn options(fs: &SimulatedFs, redb: bool) -> StoreOptions {
    let options = DiskOptions::default()
        .with_write_buffer_bytes(4096)
        .with_write_buffer_count(2)
        .with_segment_bytes(4096)
        .with_cache_bytes(1 << 20)
        .with_work(Work::Inline)
        .with_fs(Arc::new(fs.clone()));
    let dir = "/state".into();
    let config = match redb {
        #[cfg(feature = "redb")]
        true => BackendConfig::Redb { dir, options },
        #[cfg(feature = "fs")]
        false => BackendConfig::Fs { dir, options },
        #[cfg(not(all(feature = "fs", feature = "redb")))]
        _ => BackendConfig::Memory,
    };
    StoreOptions::new()
        .with_backend(config)
        .with_memory_budget_bytes(1 << 20)
}

fn backends() -> impl Iterator<Item = bool> {
    [
        (cfg!(feature = "fs"), false),
        (cfg!(feature = "redb"), true),
    ]
    .into_iter()
    .filter_map(|(has, redb)| has.then_some(redb))
}

/// A store with its handles.
struct Job {
    store: StateStore,
    names: ValueState<String>,
    scores: MapState<u32, u64>,
}

impl Job {
    fn on(mut store: StateStore) -> Result<Self> {
        Ok(Self {
            names: store.value(&NAMES)?,
            scores: store.map(&SCORES)?,
            store,
        })
    }

    /// Writes and deletes some rows of a round; half of it is evicted in between.
    fn work(&mut self, round: u64) -> Result<()> {
        for key in 0..30 {
            let mut scope = self.store.scope(&key);
            match (key + round) % 5 {
                0 => self.names.clear(&mut scope)?,
                1 | 2 => self.names.set(&mut scope, format!("{key} of {round}"))?,
                3 => self.scores.put(&mut scope, &(round as u32), key + round)?,
                _ => self.scores.remove(&mut scope, &(round as u32 - 1))?,
            }
            if key == 15 {
                self.evict_all()?;
            }
        }
        Ok(())
    }

    fn evict_all(&mut self) -> Result<()> {
        for table in &mut self.store.tables {
            for group in 0..self.store.engine.range.len() {
                // The first pass only clears marks.
                table.evict_step(&mut self.store.engine, group)?;
                table.evict_step(&mut self.store.engine, group)?;
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, id: u64) -> Result<Vec<DeltaChunk>> {
        let mut chunks = Vec::new();
        self.store.begin_snapshot(id, SnapshotKind::Delta)?;
        while self.store.pump(PumpBudget::UNLIMITED, &mut chunks)? != PumpStatus::SnapshotDone(id) {
        }
        self.store.acknowledge(id)?;
        Ok(chunks)
    }

    fn rows(&mut self) -> Result<Rows> {
        let mut rows = Rows::new();
        for key in 0..30 {
            let mut scope = self.store.scope(&key);
            if let Some(name) = self.names.get(&mut scope)? {
                rows.insert((key, None), name.clone());
            }
            for n in 0..9 {
                if let Some(score) = self.scores.get(&mut scope, &n)? {
                    rows.insert((key, Some(n)), score.to_string());
                }
            }
        }
        Ok(rows)
    }
}

fn label(id: u64) -> Vec<u8> {
    format!("checkpoint {id}").into_bytes()
}

/// Rows and catalog as of checkpoints 1 and 2.
struct Model {
    catalog: StateCatalog,
    rows: [Rows; 3],
}

impl Model {
    fn new() -> Self {
        let store = StateStore::open(StoreOptions::new()).unwrap();
        let mut job = Job::on(store).unwrap();
        let rows = [1, 2, 3].map(|round| {
            job.work(round).unwrap();
            job.rows().unwrap()
        });
        let catalog = job.store.catalog();
        Self { catalog, rows }
    }
}

/// Three lives of a job: two end in a seal, the third is killed. Notes how far it came.
fn live(fs: &SimulatedFs, redb: bool, model: &Model, sealed: &mut Option<u64>) -> Result<()> {
    for id in 1..=3 {
        // From here on the seal may be broken.
        *sealed = None;
        let (store, local) =
            StateStore::open_sealed(options(fs, redb), &label(id - 1), &model.catalog)?;
        if id > 1 {
            assert!(
                fs.crashed() || matches!(local, LocalState::Adopted { .. }),
                "{local:?}"
            );
        }
        let mut job = Job::on(store)?;
        job.work(id)?;
        job.evict_all()?;
        job.snapshot(id)?;
        assert_eq!(job.rows()?, model.rows[id as usize - 1], "life {id}");
        if id < 3 {
            let sealing = job.store.seal(id, &label(id))?;
            assert!(matches!(sealing, Sealing::Sealed { .. }), "{sealing:?}");
            *sealed = Some(id);
        }
    }
    Ok(())
}

/// Opens what is found as each of the checkpoints; says which was adopted.
fn found(fs: &SimulatedFs, redb: bool, model: &Model) -> Option<u64> {
    let mut adopted = None;
    for id in 1..=3 {
        let fs = fs.after_crash(Unsynced::Kept);
        let (store, local) =
            StateStore::open_sealed(options(&fs, redb), &label(id), &model.catalog).unwrap();
        if matches!(local, LocalState::Adopted { .. }) {
            let mut job = Job::on(store).unwrap();
            assert_eq!(job.rows().unwrap(), model.rows[id as usize - 1]);
            assert_eq!(adopted, None);
            adopted = Some(id);
        }
    }
    adopted
}

#[test]
fn a_crash_at_any_write_leaves_the_checkpoint_or_nothing() {
    let model = Model::new();
    for redb in backends() {
        let counting = SimulatedFs::new();
        live(&counting, redb, &model, &mut None).unwrap();
        let steps = counting.steps();
        let mut adopted = BTreeMap::new();
        for step in 0..steps {
            let fs = SimulatedFs::new();
            fs.crash_at(step);
            let mut sealed = None;
            let _ = live(&fs, redb, &model, &mut sealed);
            for unsynced in [
                Unsynced::Dropped,
                Unsynced::Kept,
                Unsynced::Torn { seed: step },
            ] {
                let id = found(&fs.after_crash(unsynced), redb, &model);
                *adopted.entry(id).or_insert(0) += 1;
                // What was sealed stays so until the next start has begun.
                if sealed.is_some() {
                    assert_eq!(id, sealed, "crash at {step} of {steps}, {unsynced:?}");
                }
            }
        }
        assert!(adopted.contains_key(&Some(1)), "{adopted:?}");
        assert!(adopted.contains_key(&Some(2)), "{adopted:?}");
        assert!(!adopted.contains_key(&Some(3)), "{adopted:?}");
    }
}

fn sealed(redb: bool, model: &Model) -> SimulatedFs {
    let fs = SimulatedFs::new();
    let mut job = Job::on(StateStore::open(options(&fs, redb)).unwrap()).unwrap();
    job.work(1).unwrap();
    job.snapshot(1).unwrap();
    job.store.seal(1, &label(1)).unwrap();
    assert_eq!(job.store.catalog(), model.catalog);
    fs
}

#[test]
fn every_damaged_byte_is_noticed() {
    let model = Model::new();
    for redb in backends() {
        let fs = sealed(redb, &model);
        assert_eq!(found(&fs, redb, &model), Some(1));
        let mut noticed = 0;
        for path in fs.paths() {
            let bytes = fs.contents(&path).unwrap();
            let step = (bytes.len() / 300).max(1);
            for at in (0..bytes.len()).step_by(step) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                for damage in [flipped, bytes[..at].to_vec()] {
                    let damaged = fs.after_crash(Unsynced::Kept);
                    damaged.damage(&path, damage);
                    let options = options(&damaged, redb);
                    let (_, local) =
                        StateStore::open_sealed(options, &label(1), &model.catalog).unwrap();
                    assert!(
                        matches!(local, LocalState::Refused { .. }),
                        "{path:?} at {at}: {local:?}"
                    );
                    noticed += 1;
                }
            }
        }
        assert!(noticed > 500, "{noticed}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_cleared() {
    let model = Model::new();
    let mut other = model.catalog.clone();
    other.states[0].version += 1;
    let mut fewer = model.catalog.clone();
    fewer.states.pop();
    let half = KeyGroupRange::for_subtask(MaxParallelism::DEFAULT, 2, 0).unwrap();
    for redb in backends() {
        let refused = |options: StoreOptions, id: u64, catalog: &StateCatalog| {
            let (store, local) = StateStore::open_sealed(options, &label(id), catalog).unwrap();
            assert_eq!(store.stats().backend.rows, 0);
            match local {
                LocalState::Refused { reason } => reason,
                other => format!("{other:?}"),
            }
        };
        let opened = |of: &SimulatedFs| options(of, redb);
        let fs = sealed(redb, &model);
        let copy = || fs.after_crash(Unsynced::Kept);
        assert!(refused(opened(&copy()), 2, &model.catalog).contains("another checkpoint"));
        assert!(refused(opened(&copy()), 1, &other).contains("other states"));
        assert!(refused(opened(&copy()), 1, &fewer).contains("other states"));
        let narrow = opened(&copy()).with_key_groups(MaxParallelism::DEFAULT, half);
        assert_eq!(refused(narrow, 1, &model.catalog), "Absent");
        let more = MaxParallelism::new(256).unwrap();
        let first = KeyGroupRange::for_subtask(more, 2, 0).unwrap();
        let wider = opened(&copy()).with_key_groups(more, first);
        assert!(refused(wider, 1, &model.catalog).contains("other key groups"));
        // Adopted and not sealed again: the second start has to do without.
        let used = copy();
        assert_eq!(
            StateStore::open_sealed(opened(&used), &label(1), &model.catalog)
                .map(|(_, local)| matches!(local, LocalState::Adopted { .. }))
                .ok(),
            Some(true)
        );
        assert!(refused(opened(&used), 1, &model.catalog).contains("orderly"));
        // Opened by somebody who asks for nothing.
        let emptied = copy();
        drop(StateStore::open(opened(&emptied)).unwrap());
        assert!(refused(opened(&emptied), 1, &model.catalog).contains("orderly"));
        assert_eq!(
            refused(opened(&SimulatedFs::new()), 1, &model.catalog),
            "Absent"
        );
    }
}

#[test]
fn deltas_go_on_from_what_was_adopted() {
    let model = Model::new();
    for redb in backends() {
        let fs = sealed(redb, &model);
        let (store, _) =
            StateStore::open_sealed(options(&fs, redb), &label(1), &model.catalog).unwrap();
        let mut job = Job::on(store).unwrap();
        assert!(job.snapshot(2).unwrap().is_empty(), "nothing has changed");
        // A row that is only in the files is deleted, another changed, a third read.
        let (deleted, changed, read) = (6_u64, 5_u64, 1_u64);
        job.names.clear(&mut job.store.scope(&deleted)).unwrap();
        let mut scope = job.store.scope(&changed);
        let updated = job.names.update(&mut scope, |name| name.push('!')).unwrap();
        assert!(updated.is_some());
        let mut scope = job.store.scope(&read);
        assert!(job.names.get(&mut scope).unwrap().is_some());
        let chunks = job.snapshot(3).unwrap();
        let mut delta: Vec<bool> = chunks
            .iter()
            .flat_map(|chunk| chunk.iter().map(|(_, value)| value.is_some()))
            .collect();
        delta.sort_unstable();
        assert_eq!(delta, [false, true]);
        // A full one has what was never touched.
        let mut full = Vec::new();
        job.store.begin_snapshot(4, SnapshotKind::Full).unwrap();
        while job.store.pump(PumpBudget::UNLIMITED, &mut full).unwrap()
            != PumpStatus::SnapshotDone(4)
        {}
        let rows: usize = full.iter().map(DeltaChunk::len).sum();
        assert_eq!(rows, model.rows[0].len() - 1);
    }
}

#[test]
fn a_store_that_went_on_is_not_sealed() {
    for redb in backends() {
        let fs = SimulatedFs::new();
        let mut job = Job::on(StateStore::open(options(&fs, redb)).unwrap()).unwrap();
        job.work(1).unwrap();
        assert_eq!(job.store.seal(1, b"").unwrap(), Sealing::Changed);
        job.snapshot(1).unwrap();
        job.names
            .set(&mut job.store.scope(&7_u64), "later".to_owned())
            .unwrap();
        assert_eq!(job.store.seal(1, b"").unwrap(), Sealing::Changed);
        // Evicted, the change is remembered all the same.
        job.evict_all().unwrap();
        assert_eq!(job.store.seal(1, b"").unwrap(), Sealing::Changed);
        job.snapshot(2).unwrap();
        assert_eq!(job.store.seal(1, b"").unwrap(), Sealing::Changed);
        let sealing = job.store.seal(2, b"").unwrap();
        assert!(matches!(sealing, Sealing::Sealed { rows, .. } if rows > 0));
        // Closed: an error or nothing, never a wrong row.
        assert!(
            job.store
                .pump(PumpBudget::default(), &mut Vec::new())
                .is_ok()
        );
    }
    let mut memory = StateStore::open(StoreOptions::new()).unwrap();
    assert_eq!(memory.seal(1, b"").unwrap(), Sealing::NoFiles);
}

#[test]
fn a_full_disk_seals_nothing() {
    let model = Model::new();
    for redb in backends() {
        let fs = SimulatedFs::new();
        let mut job = Job::on(StateStore::open(options(&fs, redb)).unwrap()).unwrap();
        job.work(1).unwrap();
        job.snapshot(1).unwrap();
        fs.set_capacity(Some(0));
        let sealed = job.store.seal(1, &label(1));
        assert!(sealed.unwrap_err().is_out_of_space());
        drop(job);
        fs.set_capacity(None);
        assert_eq!(found(&fs, redb, &model), None);
    }
}
