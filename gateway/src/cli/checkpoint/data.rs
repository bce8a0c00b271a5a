//! `cat` and `export`.

use super::super::output::{Format, table};
use super::{CatArgs, CliError, CliResult, ExportArgs, place, size};
use checkpoint_store::{
    CheckpointStore, Error, KeyDecoder, Manifest, OperatorSnapshot, StateDecoder,
};
use serde_json::{Value, json};
use state_backend::{KeyGroup, KeyGroupRange, MaxParallelism, java_string_hash, key_group_of};
use std::fs::{self, File};

/// The one operator that has the state.
fn operator_of<'a>(
    manifest: &'a Manifest,
    state: &str,
    wanted: Option<&str>,
) -> Result<&'a OperatorSnapshot, CliError> {
    let has = |operator: &&OperatorSnapshot| {
        wanted.is_none_or(|uid| operator.uid.as_str() == uid)
            && (operator.catalog.get(state).is_some()
                || operator.chain.iter().any(|file| file.state == state))
    };
    let mut found = manifest.operators.iter().filter(has);
    match (found.next(), found.next()) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => Err(CliError::Usage(format!(
            "operators {} and {} both have a state {state:?}: choose with --operator",
            one.uid, other.uid
        ))),
        (None, _) => {
            let of = wanted.map_or_else(String::new, |uid| format!("operator {uid} of "));
            let id = manifest.id;
            Err(CliError::NotFound(format!(
                "{of}checkpoint {id} has no state {state:?}"
            )))
        }
    }
}

/// Ends a scan early: not an error to anybody outside.
enum Stop {
    Enough,
    Failed(Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

struct Printed {
    group: u16,
    key: String,
    value: Value,
}

fn entries(
    args: &CatArgs,
    store: &CheckpointStore,
    manifest: &Manifest,
    operator: &OperatorSnapshot,
    groups: KeyGroupRange,
) -> Result<Vec<Printed>, CliError> {
    let decoder = operator.catalog.get(&args.state).and_then(StateDecoder::of);
    let keys = KeyDecoder::of(&operator.catalog, &args.state);
    let mut found = Vec::new();
    let scanned = store.for_each_row(
        manifest,
        &operator.uid,
        &args.state,
        groups,
        |group, key, value| {
            let parts = keys.parts(key);
            let wanted = args.key.as_deref();
            if !wanted.is_none_or(|wanted| parts.is(wanted)) {
                return Ok(());
            }
            if found.len() as u64 >= args.limit {
                return Err(Stop::Enough);
            }
            let decoded = decoder.as_ref().map(|decoder| decoder.to_json(value));
            let hex = || {
                value
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
            };
            let value = match decoded {
                Some(Ok(value)) => value,
                _ => json!(format!("0x{}", hex())),
            };
            found.push(Printed {
                group: group.get(),
                key: parts.to_string(),
                value,
            });
            Ok(())
        },
    );
    match scanned {
        Ok(_) | Err(Stop::Enough) => Ok(found),
        Err(Stop::Failed(error)) => Err(error.into()),
    }
}

pub(super) fn cat(args: &CatArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let operator = operator_of(&manifest, &args.state, args.operator.as_deref())?;
    let max = MaxParallelism::new(operator.max_parallelism).map_err(Error::from)?;
    let all = KeyGroupRange::all(max);
    let mut found = Vec::new();
    // A text key tells its key group, which is a small part of the files.
    if let Some(key) = &args.key {
        let group: KeyGroup = key_group_of(java_string_hash(key), max);
        let one = KeyGroupRange::new(group, group).map_err(Error::from)?;
        found = entries(args, &store, &manifest, operator, one)?;
    }
    if found.is_empty() {
        found = entries(args, &store, &manifest, operator, all)?;
    }
    if let (true, Some(key)) = (found.is_empty(), &args.key) {
        return Err(CliError::NotFound(format!(
            "state {:?} has no key {key:?}",
            args.state
        )));
    }
    if args.one.at.format == Format::Json {
        for Printed { group, key, value } in found {
            println!(
                "{}",
                json!({ "key_group": group, "key": key, "value": value })
            );
        }
        return Ok(());
    }
    let mut rows = table(&["group", "key", "value"]);
    for Printed { group, key, value } in found {
        rows.add_row([group.to_string(), key, value.to_string()]);
    }
    println!("{rows}");
    Ok(())
}

pub(super) fn export(args: &ExportArgs) -> CliResult {
    let (store, manifest) = place::open_one(&args.one)?;
    let cannot = |what: &str, error: std::io::Error| {
        CliError::Failed(format!("cannot {what} {}: {error}", args.out.display()))
    };
    fs::create_dir_all(&args.out).map_err(|error| cannot("create", error))?;
    let mut rows = table(&["operator", "state", "rows", "size", "file"]);
    let mut found = false;
    for state in manifest.summary() {
        if args
            .state
            .as_ref()
            .is_some_and(|wanted| *wanted != state.state)
        {
            continue;
        }
        found = true;
        let plain = |text: &str| {
            let letter = |c: char| {
                if c.is_alphanumeric() || "-_".contains(c) {
                    c
                } else {
                    '_'
                }
            };
            text.chars().map(letter).collect::<String>()
        };
        let name = format!(
            "{}.{}.parquet",
            plain(state.operator.as_str()),
            plain(&state.state)
        );
        let path = args.out.join(&name);
        // Never over a file that is there: two names may look the same once made plain.
        let file = File::create_new(&path).map_err(|error| {
            CliError::Failed(format!("cannot create {}: {error}", path.display()))
        })?;
        let mut counted = Counted { file, bytes: 0 };
        let operator = &state.operator;
        let columns = match args.typed {
            true => checkpoint_store::ValueColumn::Typed,
            false => checkpoint_store::ValueColumn::Bytes,
        };
        let exported = store
            .export_state(&manifest, operator, &state.state, columns, &mut counted)
            .map_err(CliError::from)
            .and_then(|exported| {
                let synced = counted.file.sync_all();
                synced.map_err(|error| cannot("sync", error))?;
                Ok(exported)
            });
        if exported.is_err() {
            // Half a file looks like a file.
            let _ = fs::remove_file(&path);
        }
        let exported = exported?;
        if exported.unreadable > 0 {
            let count = exported.unreadable;
            let state = &state.state;
            eprintln!("weir: {count} values of {state:?} do not have the shape of their type");
        }
        let bytes = counted.bytes;
        if args.one.at.format == Format::Json {
            println!(
                "{}",
                json!({
                    "operator": operator,
                    "state": state.state,
                    "rows": exported.rows,
                    "unreadable": exported.unreadable,
                    "bytes": bytes,
                    "file": path,
                })
            );
        } else {
            let rows_written = exported.rows.to_string();
            rows.add_row([
                operator.to_string(),
                state.state,
                rows_written,
                size(bytes),
                name,
            ]);
        }
    }
    if let (false, Some(state)) = (found, &args.state) {
        return Err(CliError::NotFound(format!("there is no state {state:?}")));
    }
    if args.one.at.format == Format::Table {
        println!("{rows}");
    }
    Ok(())
}

struct Counted {
    file: File,
    bytes: u64,
}

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}
