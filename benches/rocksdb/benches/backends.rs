//! The bench `backends` of the package `benches`, with RocksDB in it: as Flink runs it, where each operation reads and
//! writes it, and as a backend beneath Weir's store with a quarter of the state in memory.

use criterion::{Criterion, criterion_group, criterion_main};
use rocksdb::{DB, WriteOptions};
use rocksdb_comparison::{Filter, RocksDbBackend, options, without_log};
use state_backend::{StateStore, StoreOptions};
use std::path::Path;

#[path = "../../benches/backends/work.rs"]
mod work;

struct RocksDbAlone(DB, WriteOptions);

impl RocksDbAlone {
    fn filled(dir: &Path, memory: u64) -> Self {
        let db = DB::open(&options(memory, Filter::None), dir).expect("open");
        let mut subject = Self(db, without_log());
        for first in (0..work::KEYS).step_by(work::OPS as usize) {
            work::Subject::round(
                &mut subject,
                &(first..first + work::OPS).collect::<Vec<_>>(),
            );
        }
        subject
    }
}

impl work::Subject for RocksDbAlone {
    fn round(&mut self, ids: &[u64]) {
        let mut value = [0; work::VALUE];
        for id in ids {
            let (high, low) = work::key(*id);
            let row = [high.to_be_bytes(), low.to_be_bytes()].concat();
            match self.0.get_pinned(&row).expect("get") {
                Some(old) => value.copy_from_slice(&old),
                None => value = [0; work::VALUE],
            }
            value[0] = value[0].wrapping_add(1);
            self.0.put_opt(&row, value, &self.1).expect("put");
        }
    }
}

fn measure(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let mut subjects = work::subjects(dir.path());
    subjects.push((
        "rocksdb_quarter_in_memory",
        Box::new(|| {
            let backend = RocksDbBackend::open(&dir.path().join("rocksdb4"), 8 << 20);
            let options = StoreOptions::default().with_memory_budget_bytes(work::QUARTER);
            let store = StateStore::with_backend(Box::new(backend.expect("open")), options);
            Box::new(work::Stored::filled(store.expect("open")))
        }),
    ));
    subjects.push((
        "rocksdb_alone",
        Box::new(|| Box::new(RocksDbAlone::filled(&dir.path().join("rocksdb"), 20 << 20))),
    ));
    work::measure(criterion, &subjects);
}

criterion_group!(benches, measure);
criterion_main!(benches);
