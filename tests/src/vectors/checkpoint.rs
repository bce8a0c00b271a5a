//! The `checkpoint` family: which failures fail a job, and which request is triggered next.

use super::{Difference, Outcome};
use operators::checkpoint::{
    FailureCounter, FailureReason, FailureVerdict, Observed, RequestKind, RequestLimits,
    RequestQueue,
};
use serde_json::{Value, json};
use std::time::Duration;

/// Runs one case of the family.
///
/// # Errors
/// A case that does not follow the schema.
pub(super) fn check(case: &Value) -> Result<Outcome, String> {
    let config = &case["config"];
    let got = match config["type"].as_str() {
        Some("failure_manager") => failure_manager(config, script(case)?)?,
        Some("failure_reasons") => failure_reasons(expected(case)?)?,
        Some("request_decider") => request_decider(config, script(case)?)?,
        other => return Err(format!("unknown config type {other:?}")),
    };
    Ok(Outcome::Compared(compare(expected(case)?, &got)))
}

fn script(case: &Value) -> Result<&[Value], String> {
    case["script"]
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| "no script".to_owned())
}

fn expected(case: &Value) -> Result<&[Value], String> {
    case["output"]
        .as_array()
        .map(Vec::as_slice)
        .ok_or_else(|| "no output".to_owned())
}

fn compare(expected: &[Value], got: &[Value]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for i in 0..expected.len().max(got.len()) {
        let (e, g) = (expected.get(i), got.get(i));
        if e != g {
            let step = e.or(g).and_then(|v| v["step"].as_i64()).unwrap_or(i as i64);
            let text = |v: Option<&Value>| v.map_or("nothing".to_owned(), Value::to_string);
            differences.push(Difference {
                step,
                expected: text(e),
                got: text(g),
            });
        }
    }
    differences
}

fn reason(step: &Value) -> Result<FailureReason, String> {
    let name = step["reason"].as_str().ok_or("no reason")?;
    FailureReason::from_name(name).ok_or_else(|| format!("unknown reason {name}"))
}

fn tolerable(config: &Value) -> Option<u32> {
    config["tolerable_failures"]
        .as_u64()
        .and_then(|n| u32::try_from(n).ok())
}

fn failure_manager(config: &Value, script: &[Value]) -> Result<Vec<Value>, String> {
    let mut counter = FailureCounter::new(tolerable(config));
    let mut got = Vec::new();
    for (n, step) in script.iter().enumerate() {
        if let Some(id) = step["complete"].as_u64() {
            counter.on_complete(id);
        } else if let Some(id) = step["fail"].as_u64() {
            let savepoint = step["kind"].as_str() == Some("savepoint");
            if counter.on_failure(id, reason(step)?, savepoint) == FailureVerdict::FailJob {
                got.push(json!({"step": n, "fail_job": true}));
            }
        } else {
            return Err(format!("step {n} is neither complete nor fail"));
        }
    }
    Ok(got)
}

fn failure_reasons(table: &[Value]) -> Result<Vec<Value>, String> {
    let mut got = Vec::new();
    for row in table {
        let reason = reason(row)?;
        let mut counter = FailureCounter::new(Some(0));
        let fails = counter.on_failure(1, reason, false) == FailureVerdict::FailJob;
        let output = if fails {
            json!([{"step": 0, "fail_job": true}])
        } else {
            json!([])
        };
        got.push(json!({
            "reason": reason.name(),
            "pre_flight": reason.is_pre_flight(),
            "fails_job_at_tolerable_0": fails,
            "output": output,
        }));
    }
    Ok(got)
}

fn request_decider(config: &Value, script: &[Value]) -> Result<Vec<Value>, String> {
    let number = |name: &str| config[name].as_u64().ok_or_else(|| format!("no {name}"));
    let size = |name: &str| number(name).map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let mut queue: RequestQueue<String> = RequestQueue::new(RequestLimits {
        max_concurrent: size("max_concurrent")?,
        min_pause: Duration::from_millis(number("min_pause_ms")?),
        max_queued: size("max_queued")?,
    });
    let mut seen = Observed::default();
    let mut got = Vec::new();
    for (n, step) in script.iter().enumerate() {
        let decision = if let Some(set) = step.get("set") {
            observe(set, &mut seen);
            continue;
        } else if let Some(id) = step["request"].as_str() {
            queue.request(kind(step)?, id.to_owned(), seen)
        } else if step["poll"].as_bool() == Some(true) {
            queue.poll(seen)
        } else {
            return Err(format!("step {n} is of no known kind"));
        };
        let rejected: Vec<Value> = decision
            .rejected
            .iter()
            .map(|(id, reason)| json!({"id": id, "reason": reason.name()}))
            .collect();
        got.push(json!({
            "step": n,
            "chosen": decision.chosen,
            "reschedule_now_delay": decision
                .reschedule
                .map(|delay| json!([seen.now_ms, delay.as_millis() as u64])),
            "rejected": rejected,
            "queued": queue.len(),
        }));
    }
    Ok(got)
}

fn kind(step: &Value) -> Result<RequestKind, String> {
    match step["kind"].as_str() {
        Some("periodic") => Ok(RequestKind::Periodic),
        Some("manual") => Ok(RequestKind::Manual),
        Some("savepoint") => Ok(RequestKind::Savepoint),
        Some("forced_savepoint") => Ok(RequestKind::ForcedSavepoint),
        other => Err(format!("unknown request kind {other:?}")),
    }
}

fn observe(set: &Value, seen: &mut Observed) {
    let count = |name: &str| set[name].as_u64().and_then(|n| usize::try_from(n).ok());
    if let Some(clock) = set["clock"].as_i64() {
        seen.now_ms = clock;
    }
    if let Some(last) = set["last_completion"].as_i64() {
        seen.last_completion_ms = last;
    }
    seen.pending = count("pending").unwrap_or(seen.pending);
    seen.cleaning = count("cleaning").unwrap_or(seen.cleaning);
    seen.triggering = set["triggering"].as_bool().unwrap_or(seen.triggering);
}
