//! Read-modify-write of one of 200,000 keys of 16 bytes with 100-byte values: the store over each
//! backend, a plain hash table as the limit, redb alone and (feature `fjall`) an LSM tree on the same
//! work.
//!
//! `cargo bench -p benches --bench backends` (`--features fjall`); `scripts/bench-rocksdb.sh` for RocksDB. `weir
//! bench backends` measures larger state, latencies, checkpoints and memory.

use criterion::{Criterion, criterion_group, criterion_main};

mod work;

fn measure(criterion: &mut Criterion) {
    let dir = tempfile::tempdir().expect("temporary directory");
    #[cfg_attr(
        not(feature = "fjall"),
        expect(unused_mut, reason = "the feature adds one")
    )]
    let mut subjects = work::subjects(dir.path());
    #[cfg(feature = "fjall")]
    subjects.push((
        "fjall_quarter_in_memory",
        Box::new(|| {
            let at = dir.path().join("fjall");
            let backend = benches::fjall_backend::FjallBackend::open(&at, 8 << 20);
            let options =
                state_backend::StoreOptions::default().with_memory_budget_bytes(work::QUARTER);
            let backend = Box::new(backend.expect("open"));
            let store = state_backend::StateStore::with_backend(backend, options).expect("open");
            Box::new(work::Stored::filled(store))
        }),
    ));
    work::measure(criterion, &subjects);
}

criterion_group!(benches, measure);
criterion_main!(benches);
