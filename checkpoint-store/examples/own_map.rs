//! Checkpoints an application's own map, without any runtime: run it twice, and the second run
//! goes on where the first ended.
//!
//! `cargo run -p checkpoint-store --example own_map -- /tmp/visits`

use checkpoint_store::{LocalBlobs, TableCheckpoints, WriteKind};
use std::{collections::BTreeMap, error::Error, sync::Arc};

fn main() -> Result<(), Box<dyn Error>> {
    let scratch = std::env::temp_dir().join(format!("own_map-{}", std::process::id()));
    let dir = std::env::args_os().nth(1).map_or(scratch, Into::into);
    let mut checkpoints = TableCheckpoints::open(Arc::new(LocalBlobs::open(dir)?), "visits")?;
    let mut visits = checkpoints.restore(|visits: &mut BTreeMap<String, u64>, row| {
        let count = u64::from_be_bytes(row.value.try_into()?);
        visits.insert(String::from_utf8(row.key.to_vec())?, count);
        Ok::<_, Box<dyn Error>>(())
    })?;
    for damaged in checkpoints.passed_over() {
        eprintln!("{damaged}");
    }

    for name in ["ada", "grace", "ada"] {
        *visits.entry(name.to_owned()).or_default() += 1;
    }

    let id = checkpoints.save(WriteKind::Full, 0, |rows| {
        let mut visits = visits.iter();
        visits.try_for_each(|(name, n)| rows.put("visits", name.as_bytes(), Some(&n.to_be_bytes())))
    })?;
    println!("checkpoint {id}: {visits:?}");
    Ok(())
}
