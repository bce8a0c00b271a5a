//! `ls` and `show`.

use super::super::output::{Format, instant, table};
use super::{At, CliError, CliResult, ShowArgs, place, size};
use checkpoint_store::{BlobPath, CheckpointStore, Damage, Error, Manifest, StateSummary};
use serde_json::{Value, json};
use state_backend::{KeyGroupRange, MaxParallelism};

fn line(manifest: Option<&Manifest>, id: u64, damage: &[Damage]) -> Value {
    let damage: Vec<String> = damage.iter().map(ToString::to_string).collect();
    let mut line = json!({ "id": id, "usable": damage.is_empty(), "damage": damage });
    if let Some(manifest) = manifest {
        let stats = &manifest.stats;
        line["created_ms"] = json!(manifest.created_ms);
        line["duration_ms"] = json!(stats.duration_ms);
        line["rows_written"] = json!(stats.rows_written);
        line["bytes_written"] = json!(stats.bytes_written);
        line["bytes_total"] = json!(stats.bytes_total);
        line["files"] = json!(manifest.files().count());
        line["parent"] = json!(manifest.parent);
    }
    line
}

pub(super) fn checkpoints(args: &At) -> CliResult {
    let listed = place::open(&args.dir)?.checkpoints()?;
    if args.format == Format::Json {
        for one in &listed {
            let id = one.checkpoint.id.get();
            println!("{}", line(one.manifest.as_ref(), id, &one.damage));
        }
        return Ok(());
    }
    let mut rows = table(&[
        "id", "created", "took", "written", "total", "files", "status",
    ]);
    for one in &listed {
        let id = one.checkpoint.id.to_string();
        let status = match one.damage.first() {
            None => "usable".to_owned(),
            Some(damage) => format!("damaged: {damage}"),
        };
        rows.add_row(match &one.manifest {
            Some(manifest) => [
                id,
                instant(manifest.created_ms),
                format!("{} ms", manifest.stats.duration_ms),
                size(manifest.stats.bytes_written),
                size(manifest.stats.bytes_total),
                manifest.files().count().to_string(),
                status,
            ],
            None => {
                let unknown = String::new;
                [
                    id,
                    unknown(),
                    unknown(),
                    unknown(),
                    unknown(),
                    unknown(),
                    status,
                ]
            }
        });
    }
    println!("{rows}");
    let usable = listed.iter().filter(|one| one.damage.is_empty());
    let times: Vec<u64> = usable
        .filter_map(|one| Some(one.manifest.as_ref()?.stats.duration_ms))
        .collect();
    if let (Some(least), Some(most)) = (times.iter().min(), times.iter().max()) {
        let mean = times.iter().sum::<u64>() / times.len() as u64;
        println!(
            "{} usable; they took {mean} ms on average, {least} to {most}",
            times.len()
        );
    }
    Ok(())
}

pub(super) fn savepoints(args: &At) -> CliResult {
    let found = place::open(&args.dir)?.savepoints(&BlobPath::root())?;
    let name = |dir: &BlobPath| match dir.as_str() {
        "" => ".".to_owned(),
        dir => dir.to_owned(),
    };
    let mut rows = table(&["directory", "checkpoint", "created", "size", "status"]);
    for (dir, manifest) in &found {
        match (manifest, args.format) {
            (Ok(manifest), Format::Json) => {
                let mut line = line(Some(manifest), manifest.id.get(), &[]);
                line["directory"] = json!(name(dir));
                println!("{line}");
            }
            (Err(error), Format::Json) => {
                println!(
                    "{}",
                    json!({ "directory": name(dir), "error": error.to_string() })
                );
            }
            (Ok(manifest), Format::Table) => {
                rows.add_row([
                    name(dir),
                    manifest.id.to_string(),
                    instant(manifest.created_ms),
                    size(manifest.stats.bytes_total),
                    "readable".to_owned(),
                ]);
            }
            (Err(error), Format::Table) => {
                let nothing = String::new;
                rows.add_row([
                    name(dir),
                    nothing(),
                    nothing(),
                    nothing(),
                    error.to_string(),
                ]);
            }
        }
    }
    if args.format == Format::Table {
        println!("{rows}");
    }
    Ok(())
}

/// Entries of a state: what the manifest alone says, unless the files are to be read.
fn entries(
    args: &ShowArgs,
    store: &CheckpointStore,
    manifest: &Manifest,
    state: &StateSummary,
) -> Result<Option<u64>, CliError> {
    if state.layers <= 1 {
        return Ok(Some(state.rows - state.deletions));
    }
    if !args.count {
        return Ok(None);
    }
    let max = manifest.operator(&state.operator);
    let max = max.map_or(1, |operator| operator.max_parallelism);
    let max = MaxParallelism::new(max).map_err(Error::from)?;
    let all = KeyGroupRange::all(max);
    let visit = |_, _: &[u8], _: &[u8]| Ok::<_, Error>(());
    let count = store.for_each_row(manifest, &state.operator, &state.state, all, visit)?;
    Ok(Some(count))
}

pub(super) fn show(args: &ShowArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let mut summary = Vec::new();
    for state in manifest.summary() {
        let entries = entries(args, &store, &manifest, &state)?;
        summary.push((state, entries));
    }
    if args.one.at.format == Format::Json {
        let states = summary.iter().map(|(state, entries)| {
            let mut state = json!(state);
            state["entries"] = json!(entries);
            state
        });
        let states: Vec<Value> = states.collect();
        let mut shown = line(Some(&manifest), manifest.id.get(), &[]);
        shown["kind"] = json!(manifest.kind);
        shown["states"] = json!(states);
        shown["phases_ms"] = json!(manifest.stats.phases_ms);
        shown["sources"] = json!(manifest.sources);
        shown["properties"] = json!(manifest.properties);
        println!("{shown}");
        return Ok(());
    }
    let stats = &manifest.stats;
    println!(
        "checkpoint {} of {}, taken in {} ms, {} written, {} in all",
        manifest.id,
        instant(manifest.created_ms),
        stats.duration_ms,
        size(stats.bytes_written),
        size(stats.bytes_total),
    );
    if !stats.phases_ms.is_empty() {
        let phases = stats.phases_ms.iter();
        let phases: Vec<String> = phases.map(|(name, ms)| format!("{name} {ms} ms")).collect();
        println!("phases: {}", phases.join(", "));
    }
    for (source, splits) in &manifest.sources {
        for split in splits {
            println!("source {source}, split {}: {}", split.split, split.position);
        }
    }
    for (name, value) in &manifest.properties {
        println!("{name}: {value}");
    }
    let header = [
        "operator",
        "state",
        "kind",
        "type",
        "entries",
        "rows in files",
        "size",
        "files",
        "chain",
        "groups",
    ];
    let mut rows = table(&header);
    for (state, entries) in summary {
        let groups = state
            .key_groups
            .map(|(start, end)| format!("{start}-{end}"));
        rows.add_row([
            state.operator.to_string(),
            state.state,
            state.kind.map(|kind| kind.to_string()).unwrap_or_default(),
            state.type_name.unwrap_or_default(),
            entries.map_or_else(|| "?".to_owned(), |count| count.to_string()),
            state.rows.to_string(),
            size(state.bytes),
            state.files.to_string(),
            state.layers.to_string(),
            groups.unwrap_or_default(),
        ]);
    }
    println!("{rows}");
    Ok(())
}
