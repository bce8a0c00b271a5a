//! Key groups: hashes, groups, ranges, default max parallelism.

use super::{Difference, Outcome};
use serde_json::{Value, json};
use state_backend::{
    KeyGroup, KeyGroupRange, KeyLike, MaxParallelism, java_double_hash, java_float_hash,
    java_long_hash, key_group_of, murmur, subtask_of,
};

/// Runs one case.
///
/// # Errors
/// A case that does not follow the schema.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let config = &case["config"];
    let got = match config["type"].as_str().ok_or("no type")? {
        "keys" => each(&case["input"], |key| keys(config, key))?,
        "hashes" => each(&case["input"], |hash| hashes(config, hash))?,
        "ranges" => match (ranges(config, &case["output"]), &case["output"]["error"]) {
            (Err(_), Value::Object(_)) => return Ok(Outcome::Compared(Vec::new())),
            (got, _) => got?,
        },
        "default_max_parallelism" => each(&case["input"], |parallelism| {
            Ok(json!(MaxParallelism::default_for(int(parallelism)?).get()))
        })?,
        other => return Err(format!("unknown type {other:?}")),
    };
    Ok(Outcome::Compared(differences(&case["output"], &got)))
}

fn each(input: &Value, of: impl Fn(&Value) -> Result<Value, String>) -> Result<Value, String> {
    let input = input.as_array().ok_or("no input")?;
    input.iter().map(of).collect()
}

/// Item by item, so that a failure names its place.
fn differences(expected: &Value, got: &Value) -> Vec<Difference> {
    let differ = |step: i64, expected: &Value, got: &Value| Difference {
        step,
        expected: expected.to_string(),
        got: got.to_string(),
    };
    match (expected, got) {
        (Value::Array(expected), Value::Array(got)) if expected.len() == got.len() => (0..)
            .zip(expected.iter().zip(got))
            .filter(|(_, (expected, got))| expected != got)
            .map(|(step, (expected, got))| differ(step, expected, got))
            .collect(),
        _ if expected == got => Vec::new(),
        _ => vec![differ(0, expected, got)],
    }
}

fn int<T: TryFrom<i64>>(value: &Value) -> Result<T, String> {
    value
        .as_i64()
        .and_then(|int| T::try_from(int).ok())
        .ok_or_else(|| format!("not a number in range: {value}"))
}

fn ints<T: TryFrom<i64>>(value: &Value) -> Result<Vec<T>, String> {
    let list = value.as_array().ok_or("not a list")?;
    list.iter().map(int).collect()
}

fn max_of(value: &Value) -> Result<MaxParallelism, String> {
    MaxParallelism::new(int(value)?).map_err(|error| error.to_string())
}

fn java_hash(key_type: &str, key: &Value) -> Result<i32, String> {
    let text = || key.as_str().ok_or_else(|| format!("not text: {key}"));
    let float = || {
        text()?
            .parse::<f64>()
            .map_err(|error| format!("{key}: {error}"))
    };
    Ok(match key_type {
        "string" => text()?.key_hash(),
        "long" => java_long_hash(int(key)?),
        "int" => int::<i32>(key)?.key_hash(),
        "short" => i32::from(int::<i16>(key)?),
        "byte" => i32::from(int::<i8>(key)?),
        "boolean" => key.as_bool().ok_or("not a bool")?.key_hash(),
        "double" => java_double_hash(float()?),
        "float" => java_float_hash(
            text()?
                .parse::<f32>()
                .map_err(|error| format!("{key}: {error}"))?,
        ),
        "tuple2_string_long" => {
            let name = key[0].as_str().ok_or("not text")?.to_owned();
            (name, int::<i64>(&key[1])?).key_hash()
        }
        other => return Err(format!("unknown key type {other:?}")),
    })
}

fn keys(config: &Value, key: &Value) -> Result<Value, String> {
    let max = max_of(&config["max_parallelism"])?;
    let hash = java_hash(config["key_type"].as_str().ok_or("no key type")?, key)?;
    let group = key_group_of(hash, max);
    let subtasks = ints(&config["parallelisms"])?
        .into_iter()
        .map(|parallelism| subtask_of(group, max, parallelism))
        .collect::<Result<Vec<u16>, _>>()
        .map_err(|error| error.to_string())?;
    Ok(json!({
        "java_hash": hash,
        "murmur": murmur(hash),
        "key_group": group.get(),
        "operator_index": subtasks,
    }))
}

fn hashes(config: &Value, hash: &Value) -> Result<Value, String> {
    let hash = int(hash)?;
    let groups = config["max_parallelisms"]
        .as_array()
        .ok_or("no max parallelisms")?
        .iter()
        .map(|max| Ok(key_group_of(hash, max_of(max)?).get()))
        .collect::<Result<Vec<u16>, String>>()?;
    Ok(json!({ "murmur": murmur(hash), "key_groups": groups }))
}

fn ranges(config: &Value, expected: &Value) -> Result<Value, String> {
    let max = max_of(&config["max_parallelism"])?;
    let parallelism: u16 = int(&config["parallelism"])?;
    let ranges = (0..parallelism)
        .map(|index| {
            KeyGroupRange::for_subtask(max, parallelism, index)
                .map(|range| json!([range.start().get(), range.end().get(), range.len()]))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| error.to_string())?;
    // The groups looked at are a sample, which the recording chose.
    let owners = expected["key_group_to_operator"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|sample| {
            let group: u16 = int(&sample[0])?;
            subtask_of(KeyGroup::new(group), max, parallelism)
                .map(|subtask| json!([group, subtask]))
                .map_err(|error| error.to_string())
        })
        .collect::<Result<Vec<_>, String>>()?;
    Ok(json!({ "ranges_start_end_count": ranges, "key_group_to_operator": owners }))
}
