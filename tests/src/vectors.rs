//! Recorded Flink behaviour, replayed: one module for each family of cases.
//!
//! A module's `check` runs one case and returns every difference it finds. The `vectors` binary is
//! the command line over this module.

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
    Err(format!("unknown family {family:?}"))
}
