//! Comparing what was recorded with what came out, as far as Flink fixes the order.

use super::Difference;
use serde_json::Value;
use std::collections::BTreeMap;

/// How much of the order within a step is part of the contract (the case's `order`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// All of it.
    Total,
    /// That of each key, and that watermarks come last.
    PerKey,
}

impl Order {
    pub(super) fn of(case: &Value) -> Self {
        match case["order"].as_str() {
            Some("per_key") => Self::PerKey,
            _ => Self::Total,
        }
    }
}

/// The number of a step; -1 for the configuration.
fn step_of(item: &Value) -> i64 {
    item["step"].as_i64().unwrap_or(-1)
}

/// Whose subsequence an item belongs to.
fn key_of(item: &Value) -> String {
    let of = |field: &str| item[field]["key"].as_str().map(str::to_owned);
    of("result").or_else(|| of("late")).unwrap_or_default()
}

/// Whether everything recorded is there; an error's words, and fields beyond the recorded ones, do not
/// count.
fn same(expected: &Value, got: &Value) -> bool {
    match (expected, got) {
        (Value::Object(expected), Value::Object(got)) => {
            expected.iter().all(|(field, value)| match got.get(field) {
                Some(_) if field == "error" => true,
                Some(other) => same(value, other),
                None => false,
            })
        }
        _ => expected == got,
    }
}

/// Every difference between two outputs, by step.
pub(super) fn outputs(expected: &[Value], got: &[Value], order: Order) -> Vec<Difference> {
    let by_step = |items: &[Value]| {
        let mut steps: BTreeMap<i64, Vec<Value>> = BTreeMap::new();
        for item in items {
            steps.entry(step_of(item)).or_default().push(item.clone());
        }
        steps
    };
    let (mut expected, mut got) = (by_step(expected), by_step(got));
    let steps: Vec<i64> = expected.keys().chain(got.keys()).copied().collect();
    let mut differences = Vec::new();
    for step in steps {
        let (mut want, mut have) = match (expected.remove(&step), got.remove(&step)) {
            (None, None) => continue, // seen under the other list
            (want, have) => (want.unwrap_or_default(), have.unwrap_or_default()),
        };
        if order == Order::PerKey {
            let watermark_first = have
                .iter()
                .rposition(|item| item["watermark"].is_null())
                .zip(have.iter().position(|item| !item["watermark"].is_null()))
                .is_some_and(|(result, watermark)| watermark < result);
            if watermark_first {
                differences.push(Difference {
                    step,
                    expected: "results before the watermark".to_owned(),
                    got: text(&have),
                });
            }
            // Stable: keeps each key's own order.
            want.sort_by_key(key_of);
            have.sort_by_key(key_of);
        }
        let equal = want.len() == have.len() && want.iter().zip(&have).all(|(w, h)| same(w, h));
        if !equal {
            differences.push(Difference {
                step,
                expected: text(&want),
                got: text(&have),
            });
        }
    }
    differences
}

fn text(items: &[Value]) -> String {
    Value::Array(items.to_vec()).to_string()
}

/// The output list of a case.
pub(super) fn expected(case: &Value) -> Result<&[Value], String> {
    case["output"]
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| "no output".to_owned())
}

/// The steps of a case.
pub(super) fn script(case: &Value) -> Result<&[Value], String> {
    case["script"]
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| "no script".to_owned())
}

/// A number of the schema.
pub(super) fn number(value: &Value, field: &str) -> Result<i64, String> {
    value[field]
        .as_i64()
        .ok_or_else(|| format!("{field} is not a number"))
}

/// The number of the step at an index of the script.
pub(super) fn step_number(index: usize) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
