//! How fast checkpoints are written and read on this machine, beside Parquet's own files.
//!
//! `cargo run --release -p checkpoint-store --example throughput -- 1000000`

#![expect(
    clippy::disallowed_methods,
    reason = "it measures, so it reads the clock"
)]

use checkpoint_store::*;
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism};
use std::sync::Arc;
use std::time::Instant;

const GROUPS: u16 = 128;

/// 16 bytes of key and 100 of value, of which zstd takes about 60 % off.
fn row(n: u64) -> ([u8; 16], [u8; 100]) {
    let mut seed = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut value = [0; 100];
    for byte in value.iter_mut().step_by(2).take(35) {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        *byte = (seed >> 56) as u8;
    }
    let mut key = [0; 16];
    key[..8].copy_from_slice(&n.to_be_bytes());
    key[8..].copy_from_slice(&seed.to_be_bytes());
    (key, value)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rows: u64 = std::env::args().nth(1).map_or(Ok(100_000), |n| n.parse())?;
    let changed = rows / 100;
    let blobs: Arc<dyn BlobStore> = Arc::new(MemoryBlobs::new());
    let store = CheckpointStore::open(Arc::clone(&blobs), StoreOptions::default())?;
    let operator = OperatorUid::new("rows")?;
    let max = MaxParallelism::new(GROUPS)?;
    let all = KeyGroupRange::all(max);
    let raw = |rows: u64| rows as f64 * 116e-6;

    let mut previous: Option<Manifest> = None;
    for (kind, step) in [
        (WriteKind::Full, 1),
        (WriteKind::Delta, rows / changed.max(1)),
    ] {
        let id = store.latest()?.next_id;
        let start = Instant::now();
        let mut writer = store.shard_writer(id, &operator, 0, all, kind)?;
        let mut written = 0;
        for group in 0..GROUPS {
            for n in (u64::from(group)..rows).step_by(usize::from(GROUPS)) {
                if (n / u64::from(GROUPS)).is_multiple_of(step) {
                    let (key, value) = row(n);
                    writer.put("state", KeyGroup::new(group), &key, Some(&value))?;
                    written += 1;
                }
            }
        }
        let files = writer.finish()?;
        let took = start.elapsed().as_secs_f64();
        let (bytes, count) = (files.bytes() as f64 * 1e-6, files.files.len());
        println!(
            "write {kind:?}: {written} rows in {took:.2} s, {:.0} MB/s, {bytes:.1} MB in {count} files, {:.3} of raw",
            raw(written) / took,
            bytes / raw(written),
        );
        let update = OperatorUpdate::new(operator.clone(), 1, GROUPS).with_shard(files);
        let draft = ManifestDraft::new(id, 0, previous.as_ref()).with_operator(update);
        previous = Some(store.commit(draft.build())?.manifest.as_ref().clone());
    }
    let manifest = previous.ok_or("two checkpoints were committed")?;
    let one = KeyGroupRange::new(KeyGroup::new(64), KeyGroup::new(64))?;
    for (what, groups) in [("all", all), ("one of 128 key groups", one)] {
        let start = Instant::now();
        let mut sum = 0_usize;
        let read = store.for_each_row(&manifest, &operator, "state", groups, |_, key, value| {
            sum += key.len() + value.len();
            Ok::<_, Error>(())
        })?;
        let took = start.elapsed().as_secs_f64();
        println!(
            "read {what}: {read} rows in {took:.3} s, {:.0} MB/s",
            sum as f64 * 1e-6 / took
        );
    }
    let start = Instant::now();
    let compaction = store.compact(&manifest, &CompactionPolicy::EVERYTHING)?;
    let took = start.elapsed().as_secs_f64();
    let bytes = compaction.map_or(0, |compaction| compaction.bytes_written());
    println!(
        "compact: {took:.2} s, {:.1} MB written",
        bytes as f64 * 1e-6
    );
    Ok(())
}
