//! Operator state: what each new subtask gets of the old ones' lists and broadcast maps.

use super::{Difference, Outcome};
use serde_json::{Value, json};
use state_backend::operator_state::{ListMode, ListSnapshot, OperatorSnapshot, redistribute};

/// Runs one case.
///
/// # Errors
/// A case that does not follow the schema.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let modes = &case["config"]["modes"];
    let mut old = Vec::new();
    for subtask in case["input"].as_array().ok_or("no input")? {
        old.push(snapshot(subtask, modes)?);
    }
    let mut differences = Vec::new();
    for (step, expected) in (0..).zip(case["output"].as_array().ok_or("no output")?) {
        let parallelism = expected["parallelism"].as_u64().ok_or("no parallelism")?;
        let new = redistribute(&old, parallelism as usize).map_err(|error| error.to_string())?;
        let got = json!(new.iter().map(decode).collect::<Result<Vec<_>, _>>()?);
        if got != expected["subtasks"] {
            differences.push(Difference {
                step,
                expected: expected["subtasks"].to_string(),
                got: got.to_string(),
            });
        }
    }
    Ok(Outcome::Compared(differences))
}

/// The state of one old subtask; elements and entries are kept as their JSON.
fn snapshot(subtask: &Value, modes: &Value) -> Result<OperatorSnapshot, String> {
    let mut snapshot = OperatorSnapshot::new();
    for (name, state) in subtask.as_object().ok_or("a subtask that is no object")? {
        let mode = match modes[name].as_str() {
            Some("split") => ListMode::Split,
            Some("union") => ListMode::Union,
            Some("broadcast") => ListMode::Broadcast,
            other => return Err(format!("unknown mode {other:?}")),
        };
        let items = match state {
            Value::Array(list) => list.iter().map(|item| item.to_string().into()).collect(),
            Value::Object(map) => map
                .iter()
                .map(|(key, value)| json!([key, value]).to_string().into())
                .collect(),
            other => return Err(format!("neither list nor map: {other}")),
        };
        snapshot.insert(name.clone(), ListSnapshot { mode, items });
    }
    Ok(snapshot)
}

/// As the recording shows a subtask: lists sorted, broadcast state as a map.
fn decode(subtask: &OperatorSnapshot) -> Result<Value, String> {
    let mut states = serde_json::Map::new();
    for (name, list) in subtask {
        let mut items = list
            .items
            .iter()
            .map(|item| serde_json::from_slice::<Value>(item))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| error.to_string())?;
        let state = if list.mode == ListMode::Broadcast {
            let entries = items.iter().map(|entry| {
                let key = entry[0].as_str().unwrap_or_default().to_owned();
                (key, entry[1].clone())
            });
            Value::Object(entries.collect())
        } else {
            items.sort_by_key(Value::to_string);
            Value::Array(items)
        };
        states.insert(name.clone(), state);
    }
    Ok(Value::Object(states))
}
