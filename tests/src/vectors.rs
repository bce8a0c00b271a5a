//! Recorded Flink behaviour, replayed: one module for each family of cases.
//!
//! A module's `check` runs one case and returns every difference it finds. The `vectors` binary is
//! the command line over this module.

mod checkpoint;
mod compare;
mod key_groups;
mod operator_state;
mod timers;
mod ttl;
mod watermarks;
mod windows;

use serde_json::Value;
use std::fmt;

/// One place where Weir did something else than the recording.
#[derive(Debug)]
pub struct Difference {
    /// The step of the script, counted from 0; -1 for the configuration itself.
    pub step: i64,
    /// What Flink did.
    pub expected: String,
    /// What Weir did.
    pub got: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "step {}: expected {}, got {}",
            self.step, self.expected, self.got
        )
    }
}

/// What became of one case.
#[derive(Debug)]
pub enum Outcome {
    /// Compared; an empty list is a pass.
    Compared(Vec<Difference>),
    /// Not compared, and why.
    Skipped(String),
}

/// Runs one case of any family.
///
/// # Errors
/// A case that does not follow the schema, or whose family is unknown.
pub fn check(case: &Value) -> Result<Outcome, String> {
    if case["order_sensitive"].as_bool() == Some(true) {
        return Ok(Outcome::Skipped("Flink leaves its order open".to_owned()));
    }
    let family = case["family"].as_str().ok_or("no family")?;
    match family {
        "tumbling" | "sliding" | "session" | "triggers" => windows::check(case),
        "timers" => timers::check(case),
        "ttl" => ttl::check(case),
        "keygroups" => key_groups::check(case),
        "operator_state" => operator_state::check(case),
        "watermarks" => watermarks::check(case),
        "checkpoint" => checkpoint::check(case),
        _ => Err(format!("unknown family {family:?}")),
    }
}

/// Replays a public file of recorded cases, or says that it is not there.
#[cfg(test)]
fn replay_public(family: &str) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join(format!("../../shared/vectors/{family}.public.jsonl"));
    let Ok(text) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: {} is not there", path.display());
        return;
    };
    let mut failures = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let case: Value = serde_json::from_str(line).expect("one JSON object a line");
        let id = &case["id"];
        match check(&case) {
            Ok(Outcome::Skipped(_)) => {}
            Ok(Outcome::Compared(differences)) => {
                failures.extend(differences.first().map(|first| format!("{id} {first}")));
            }
            Err(error) => failures.push(format!("{id} {error}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[cfg(test)]
mod tests {
    use super::replay_public;

    #[test]
    fn windows_behave_as_recorded() {
        for family in ["tumbling", "sliding", "session", "triggers"] {
            replay_public(family);
        }
    }

    #[test]
    fn timers_behave_as_recorded() {
        replay_public("timers");
    }

    #[test]
    fn checkpoint_decisions_are_as_recorded() {
        replay_public("checkpoint");
    }

    #[test]
    fn state_behaves_as_recorded() {
        for family in ["ttl", "keygroups", "operator_state"] {
            replay_public(family);
        }
    }

    #[test]
    fn watermarks_behave_as_recorded() {
        replay_public("watermarks");
    }
}
