//! A slice of background work is short whatever there is to do: work on what was evicted counts, too.

use state_backend::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, MemoryBackend, PumpBudget,
    PumpStatus, Result, SnapshotKind, StateId, StateStore, StoreOptions, ValueDef, ValueState,
    Visit,
};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// Counts rows on their way.
#[derive(Debug)]
struct Counting {
    rows: MemoryBackend,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

impl KeyedStateBackend for Counting {
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.read.fetch_add(1, Ordering::Relaxed);
        self.rows.read(state, key, found)
    }

    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()> {
        self.rows.scan(state, prefix, after, &mut |key, value| {
            self.read.fetch_add(1, Ordering::Relaxed);
            visit(key, value)
        })
    }

    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.written
            .fetch_add(changes.len() as u64, Ordering::Relaxed);
        self.rows.apply(changes)
    }

    fn load(&mut self, changes: &[Change<'_>]) -> Result<()> {
        self.rows.load(changes)
    }

    fn clear(&mut self) -> Result<()> {
        self.rows.clear()
    }

    fn flush(&mut self, durability: Durability) -> Result<()> {
        self.rows.flush(durability)
    }

    fn maintain(&mut self, budget_bytes: u64) -> Result<Maintenance> {
        self.rows.maintain(budget_bytes)
    }

    fn stats(&self) -> BackendStats {
        BackendStats {
            // Of what it has on a disk.
            memory_bytes: 0,
            ..self.rows.stats()
        }
    }
}

struct Counted {
    store: StateStore,
    values: ValueState<u64>,
    read: Arc<AtomicU64>,
    written: Arc<AtomicU64>,
}

const ROWS: u64 = 40_000;
const SLICE: PumpBudget = PumpBudget::entries(100);

/// A store of which most rows are evicted, having changed since the last snapshot.
fn evicted() -> Counted {
    let (read, written) = <(Arc<AtomicU64>, Arc<AtomicU64>)>::default();
    let backend = Counting {
        rows: MemoryBackend::new(),
        read: Arc::clone(&read),
        written: Arc::clone(&written),
    };
    let options = StoreOptions::default().with_memory_budget_bytes(1 << 20);
    let mut store = StateStore::with_backend(Box::new(backend), options).unwrap();
    let values = store.value(&ValueDef::new("values")).unwrap();
    let mut counted = Counted {
        store,
        values,
        read,
        written,
    };
    // The first snapshot is of everything; from then on what is evicted is remembered.
    counted.snapshot(1);
    for key in 0..ROWS {
        let before = counted.written.load(Ordering::Relaxed);
        let mut scope = counted.store.scope(&key);
        counted.values.set(&mut scope, key).unwrap();
        let evicted = counted.written.load(Ordering::Relaxed) - before;
        assert!(evicted < 128, "one operation evicted {evicted} rows");
    }
    assert!(counted.store.stats().remembered_rows > ROWS / 2);
    counted
}

impl Counted {
    fn snapshot(&mut self, id: u64) -> u64 {
        self.begin(id, SnapshotKind::Delta);
        let (mut most, mut chunks) = (0, Vec::new());
        loop {
            let before = self.read.load(Ordering::Relaxed);
            let status = self.store.pump(SLICE, &mut chunks).unwrap();
            most = most.max(self.read.load(Ordering::Relaxed) - before);
            if let PumpStatus::SnapshotDone(done) = status {
                assert_eq!(done, id);
                break;
            }
        }
        self.store.acknowledge(id).unwrap();
        most
    }

    fn begin(&mut self, id: u64, kind: SnapshotKind) {
        self.store.begin_snapshot(id, kind).unwrap();
    }
}

#[test]
fn what_was_evicted_is_forgotten_in_slices() {
    let mut counted = evicted();
    counted.snapshot(2);
    let mut remembered = counted.store.stats().remembered_rows;
    assert!(remembered > ROWS / 2);
    while counted.store.pump(SLICE, &mut Vec::new()).unwrap() != PumpStatus::Idle {
        let left = counted.store.stats().remembered_rows;
        // Looking at one is an eighth of an entry.
        assert!(
            remembered - left <= 800,
            "{remembered} before, {left} after a slice"
        );
        remembered = left;
    }
    assert_eq!(counted.store.stats().remembered_rows, 0);
}

/// The next snapshot begins before anything is swept.
#[test]
fn what_was_evicted_is_forgotten_by_the_next_snapshot_in_slices() {
    let mut counted = evicted();
    counted.snapshot(2);
    let mut remembered = counted.store.stats().remembered_rows;
    counted.begin(3, SnapshotKind::Delta);
    while counted.store.pump(SLICE, &mut Vec::new()).unwrap() != PumpStatus::SnapshotDone(3) {
        let left = counted.store.stats().remembered_rows;
        assert!(
            remembered - left <= 800,
            "{remembered} before, {left} after a slice"
        );
        remembered = left;
    }
    assert_eq!(counted.store.stats().remembered_rows, 0);
}

/// A read takes about five times as long as to write a row out of memory.
#[test]
fn rows_of_the_backend_are_read_in_slices() {
    let mut counted = evicted();
    assert!(counted.snapshot(2) <= 21);
    counted.begin(3, SnapshotKind::Full);
    let (mut rows, mut chunks) = (0, Vec::new());
    loop {
        let before = counted.read.load(Ordering::Relaxed);
        let status = counted.store.pump(SLICE, &mut chunks).unwrap();
        let read = counted.read.load(Ordering::Relaxed) - before;
        assert!(read <= 21, "{read} rows in a slice");
        rows += chunks.drain(..).map(|chunk| chunk.len()).sum::<usize>();
        if status == PumpStatus::SnapshotDone(3) {
            break;
        }
    }
    assert_eq!(rows as u64, ROWS);
}
