//! `diff`.

use super::super::output::{Format, table};
use super::{CliError, CliResult, DiffArgs, place, size};
use checkpoint_store::{CheckpointStore, Manifest, diff as differences};
use serde_json::json;
use std::path::Path;

fn side(args: &DiffArgs, which: &str) -> Result<(CheckpointStore, Manifest), CliError> {
    let (store, id) = match which.parse() {
        Ok(id) => (place::open(&args.at.dir)?, Some(id)),
        Err(_) => (place::open(Path::new(which))?, None),
    };
    let manifest = place::choose(&store, id)?;
    Ok((store, manifest))
}

pub(super) fn diff(args: &DiffArgs) -> CliResult {
    let (before_store, before) = side(args, &args.before)?;
    let (after_store, after) = side(args, &args.after)?;
    let found = differences((&before_store, &before), (&after_store, &after))?;
    if args.at.format == Format::Json {
        for state in found {
            println!("{}", json!(state));
        }
        return Ok(());
    }
    let mut rows = table(&[
        "operator", "state", "added", "changed", "removed", "same", "before", "after",
    ]);
    for state in found {
        rows.add_row([
            state.operator.to_string(),
            state.state,
            state.added.to_string(),
            state.changed.to_string(),
            state.removed.to_string(),
            state.unchanged.to_string(),
            size(state.bytes_before),
            size(state.bytes_after),
        ]);
    }
    println!("{rows}");
    Ok(())
}
