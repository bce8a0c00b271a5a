//! Time to live: each state, update type, visibility and clean-up, through snapshots.
//!
//! Every case runs twice: with all state in memory, and with a budget so small that each access
//! finds its row evicted.

use super::{Difference, Outcome};
use serde_json::{Value, json};
use state_backend::{
    AggregateFunction, AggregatingDef, AggregatingState, ListDef, ListState, MapDef, MapState,
    MemoryBackend, PumpBudget, PumpStatus, ReducingDef, ReducingState, SnapshotKind, StateStore,
    StoreOptions, Ttl, UpdateType, ValueDef, ValueState, Visibility,
};
use std::{collections::BTreeMap, time::Duration};

/// Runs one case.
///
/// # Errors
/// A case that does not follow the schema.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let mut differences = Vec::new();
    for evicting in [false, true] {
        differences.extend(replay(case, evicting)?);
    }
    Ok(Outcome::Compared(differences))
}

fn replay(case: &Value, evicting: bool) -> Result<Vec<Difference>, String> {
    let config = &case["config"];
    let mut clock = config["initial_clock"].as_i64().unwrap_or(0);
    let (mut store, mut state) = open(config, evicting, clock)?;
    let mut key = "a".to_owned();
    let expected: BTreeMap<i64, &Value> = case["output"]
        .as_array()
        .ok_or("no output")?
        .iter()
        .filter_map(|item| Some((item["step"].as_i64()?, item)))
        .collect();
    let mut differences = Vec::new();
    for (index, step) in (0..).zip(case["script"].as_array().ok_or("no script")?) {
        if let Some(next) = step["key"].as_str() {
            next.clone_into(&mut key);
        }
        let got = match step["op"].as_str().ok_or("no op")? {
            "clock" => {
                clock = step["now"].as_i64().ok_or("no time")?;
                store.set_time(clock);
                Ok(Value::Null)
            }
            "snapshot_only" => {
                snapshot(&mut store)?;
                Ok(Value::Null)
            }
            "snapshot_restore" => {
                let chunks = snapshot(&mut store)?;
                let catalog = store.catalog();
                let mut next = open(config, evicting, clock)?;
                restore(&mut next.0, &catalog, &chunks)?;
                (store, state) = next;
                Ok(Value::Null)
            }
            op => access(&mut store, &state, &key, op, step),
        };
        let expected = expected.get(&index).ok_or("a step without output")?;
        let wanted = &expected["result"];
        let fails = expected.get("error").is_some();
        let (right, got) = match got {
            Ok(got) => (!fails && &got == wanted, got.to_string()),
            Err(error) => (fails, error),
        };
        if !right {
            differences.push(Difference {
                step: index,
                expected: wanted.to_string(),
                got: if evicting {
                    format!("{got} (evicting)")
                } else {
                    got
                },
            });
        }
        if fails {
            break;
        }
    }
    Ok(differences)
}

/// Handle of the state under test, and for lists and maps whether it has a time to live.
enum State {
    Value(ValueState<i64>),
    List(ListState<i64>, bool),
    Map(MapState<String, Option<i64>>, bool),
    Reducing(ReducingState<i64>),
    Aggregating(AggregatingState<Sum>),
}

/// The recorded aggregate: a sum, shown as `sum=n`.
#[derive(Clone, Copy, Debug)]
struct Sum;

impl AggregateFunction for Sum {
    type In = i64;
    type Acc = i64;
    type Out = String;

    fn create(&self) -> i64 {
        0
    }

    fn add(&self, acc: &mut i64, value: i64) {
        *acc = acc.wrapping_add(value);
    }

    fn result(&self, acc: &i64) -> String {
        format!("sum={acc}")
    }
}

fn ttl_of(config: &Value) -> Result<Option<Ttl>, String> {
    let Some(millis) = config["ttl_ms"].as_u64() else {
        return Ok(None);
    };
    let update = match config["update_type"].as_str() {
        Some("OnCreateAndWrite") => UpdateType::OnCreateAndWrite,
        Some("OnReadAndWrite") => UpdateType::OnReadAndWrite,
        other => return Err(format!("unknown update type {other:?}")),
    };
    let visibility = match config["visibility"].as_str() {
        Some("NeverReturnExpired") => Visibility::NeverReturnExpired,
        Some("ReturnExpiredIfNotCleanedUp") => Visibility::ReturnExpiredIfNotCleanedUp,
        other => return Err(format!("unknown visibility {other:?}")),
    };
    let mut ttl = Ttl::after_write(Duration::from_millis(millis))
        .with_update_type(update)
        .with_visibility(visibility);
    if config["cleanup_background_default"].as_bool() != Some(true) {
        ttl = ttl.without_background_cleanup();
    }
    if config["cleanup_full_snapshot"].as_bool() == Some(true) {
        ttl = ttl.with_full_snapshot_cleanup();
    }
    if let Some(entries) = config["cleanup_incremental"][0].as_u64() {
        ttl = ttl.with_incremental_cleanup(u16::try_from(entries).unwrap_or(u16::MAX));
    }
    Ok(Some(ttl))
}

fn open(config: &Value, evicting: bool, clock: i64) -> Result<(StateStore, State), String> {
    let text = |error: state_backend::Error| error.to_string();
    let mut store = if evicting {
        let options = StoreOptions::new().with_memory_budget_bytes(1);
        StateStore::with_backend(Box::new(MemoryBackend::new()), options).map_err(text)?
    } else {
        StateStore::open(StoreOptions::new()).map_err(text)?
    };
    store.set_time(clock);
    let ttl = ttl_of(config)?;
    /// Registers a definition, with the time to live if there is one.
    macro_rules! register {
        ($method:ident, $def:expr) => {
            match ttl {
                Some(ttl) => store.$method(&$def.with_ttl(ttl)),
                None => store.$method(&$def),
            }
            .map_err(text)?
        };
    }
    let state = match config["state"].as_str() {
        Some("value") => State::Value(register!(value, ValueDef::new("state"))),
        Some("list") => State::List(register!(list, ListDef::new("state")), ttl.is_some()),
        Some("map") => State::Map(register!(map, MapDef::new("state")), ttl.is_some()),
        Some("reducing") => State::Reducing(register!(
            reducing,
            ReducingDef::new("state", |sum: &mut i64, value| *sum =
                sum.wrapping_add(value))
        )),
        Some("aggregating") => {
            State::Aggregating(register!(aggregating, AggregatingDef::new("state", Sum)))
        }
        other => return Err(format!("unknown state {other:?}")),
    };
    Ok((store, state))
}

fn snapshot(store: &mut StateStore) -> Result<Vec<state_backend::DeltaChunk>, String> {
    let text = |error: state_backend::Error| error.to_string();
    let mut chunks = Vec::new();
    store.begin_snapshot(1, SnapshotKind::Full).map_err(text)?;
    let slice = PumpBudget::default();
    while store.pump(slice, &mut chunks).map_err(text)? != PumpStatus::SnapshotDone(1) {}
    store.acknowledge(1).map_err(text)?;
    Ok(chunks)
}

fn restore(
    store: &mut StateStore,
    catalog: &state_backend::StateCatalog,
    chunks: &[state_backend::DeltaChunk],
) -> Result<(), String> {
    let text = |error: state_backend::Error| error.to_string();
    store.restore_catalog(catalog).map_err(text)?;
    for chunk in chunks {
        store.restore_rows("state", chunk).map_err(text)?;
    }
    Ok(())
}

fn access(
    store: &mut StateStore,
    state: &State,
    key: &str,
    op: &str,
    step: &Value,
) -> Result<Value, String> {
    let scope = &mut store.scope(key);
    let value = step["value"].as_i64();
    let wanted = || value.ok_or("no value");
    let values = || -> Result<Vec<i64>, String> {
        let values = step["values"].as_array().ok_or("no values")?;
        let value = |value: &Value| value.as_i64().ok_or("no value".to_owned());
        values.iter().map(value).collect()
    };
    let done = match (state, op) {
        (State::Value(state), "get") => return Ok(json!(state.get(scope).map_err(text)?)),
        (State::Value(state), "update") => match value {
            Some(value) => state.set(scope, value),
            None => state.clear(scope),
        },
        (State::Value(state), "clear") => state.clear(scope),
        (State::List(state, timed), "get") => {
            let list = state.get(scope).map_err(text)?;
            return Ok(if list.is_empty() && !timed {
                Value::Null
            } else {
                json!(list.to_vec())
            });
        }
        (State::List(state, _), "add") => state.add(scope, wanted()?),
        (State::List(state, _), "add_all") => state.add_all(scope, values()?),
        (State::List(state, _), "update") => state.update(scope, values()?),
        (State::List(state, _), "clear") => state.clear(scope),
        (State::Map(state, timed), _) => return map_access(*state, *timed, scope, op, step),
        (State::Reducing(state), "get") => return Ok(json!(state.get(scope).map_err(text)?)),
        (State::Reducing(state), "add") => state.add(scope, wanted()?),
        (State::Reducing(state), "clear") => state.clear(scope),
        (State::Aggregating(state), "get") => return Ok(json!(state.get(scope).map_err(text)?)),
        (State::Aggregating(state), "add") => state.add(scope, wanted()?),
        (State::Aggregating(state), "clear") => state.clear(scope),
        _ => return Err(format!("unknown op {op:?}")),
    };
    done.map(|()| Value::Null).map_err(text)
}

fn text(error: state_backend::Error) -> String {
    error.to_string()
}

fn map_access(
    state: MapState<String, Option<i64>>,
    timed: bool,
    scope: &mut state_backend::KeyScope<'_>,
    op: &str,
    step: &Value,
) -> Result<Value, String> {
    let uk = || step["uk"].as_str().ok_or("no map key");
    let value = step["value"].as_i64();
    let done = match op {
        "get" => {
            let value = state.get(scope, uk()?).map_err(text)?;
            return Ok(json!(value.copied().flatten()));
        }
        "contains" => return Ok(json!(state.contains(scope, uk()?).map_err(text)?)),
        "put" => state.put(scope, uk()?, value),
        "put_all" => {
            for (uk, value) in step["entries"].as_object().ok_or("no entries")? {
                state
                    .put(scope, uk.as_str(), value.as_i64())
                    .map_err(text)?;
            }
            Ok(())
        }
        "remove" => state.remove(scope, uk()?),
        "clear" => state.clear(scope),
        "is_empty" => return Ok(json!(state.is_empty(scope).map_err(text)?)),
        "keys" => return Ok(json!(state.keys(scope).map_err(text)?)),
        "values" => {
            let entries = state.entries(scope).map_err(text)?;
            let mut values: Vec<_> = entries.into_iter().map(|(_, value)| value).collect();
            values.sort_unstable();
            return Ok(json!(values));
        }
        "entries" => return entries(state, scope),
        // The recorded iteration reads every entry and changes the one it is to change as it comes
        // by. An expired entry that is seen a last time is gone by then, and Java's iterator
        // refuses to remove it again.
        "iterator_remove" => {
            let seen = entries(state, scope)?;
            if seen.get(uk()?).is_some() && !state.contains(scope, uk()?).map_err(text)? {
                return Err("removed twice".to_owned());
            }
            state.remove(scope, uk()?).map_err(text)?;
            return Ok(seen);
        }
        // With a time to live Flink's iterator hands out copies: setting their value does nothing.
        "iterator_set_value" => {
            let seen = entries(state, scope)?;
            if !timed {
                state
                    .update(scope, uk()?, |old| *old = value)
                    .map_err(text)?;
            }
            return Ok(seen);
        }
        _ => return Err(format!("unknown op {op:?}")),
    };
    done.map(|()| Value::Null).map_err(text)
}

fn entries(
    state: MapState<String, Option<i64>>,
    scope: &mut state_backend::KeyScope<'_>,
) -> Result<Value, String> {
    let entries = state.entries(scope).map_err(text)?;
    let entries = entries.into_iter().map(|(uk, value)| (uk, json!(value)));
    Ok(Value::Object(entries.collect()))
}
