//! Checkpoints an application's own map, without any runtime: run it twice, and the second run
//! goes on where the first ended.
//!
//! `cargo run -p checkpoint-store --example own_map -- /tmp/visits`

use checkpoint_store::*;
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism};
use std::{collections::BTreeMap, error::Error, sync::Arc};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = std::env::temp_dir().join(format!("own_map-{}", std::process::id()));
    let dir = std::env::args_os().nth(1).map_or(scratch, Into::into);
    let blobs = Arc::new(LocalBlobs::open(dir)?);
    let store = CheckpointStore::open(blobs, StoreOptions::default())?;
    let operator = OperatorUid::new("visits")?;
    let groups = KeyGroupRange::all(MaxParallelism::new(1)?);

    let mut visits: BTreeMap<String, u64> = BTreeMap::new();
    let latest = store.latest()?;
    for damaged in &latest.passed_over {
        eprintln!("{damaged}");
    }
    if let Some(manifest) = &latest.manifest {
        store.for_each_row(manifest, &operator, "visits", groups, |_, key, value| {
            let count = u64::from_be_bytes(value.try_into()?);
            visits.insert(String::from_utf8(key.to_vec())?, count);
            Ok::<_, Box<dyn Error>>(())
        })?;
    }

    for name in ["ada", "grace", "ada"] {
        *visits.entry(name.to_owned()).or_default() += 1;
    }

    let id = latest.next_id;
    let mut writer = store.shard_writer(id, &operator, 0, groups, WriteKind::Full)?;
    for (name, count) in &visits {
        let value = count.to_be_bytes();
        writer.put("visits", KeyGroup::new(0), name.as_bytes(), Some(&value))?;
    }
    let update = OperatorUpdate::new(operator, 1, 1).with_shard(writer.finish()?);
    let draft = ManifestDraft::new(id, 0, latest.manifest.as_ref()).with_operator(update);
    store.commit(draft.build())?;
    store.collect_garbage(&Retention::default(), GcMode::Delete)?;
    println!("checkpoint {id}: {visits:?}");
    Ok(())
}
