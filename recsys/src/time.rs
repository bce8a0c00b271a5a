//! Time as the tutorial's JSON has it: seconds since the epoch. In memory and in state it is
//! milliseconds.

use serde::{Deserialize, Deserializer, Serializer};

/// Numbers from here on cannot be meant as seconds (year 5138) and are read as milliseconds.
const MILLISECONDS_FROM: f64 = 1e11;
/// The year 9999: beyond it a time is nonsense rather than late.
pub(crate) const MAX_TIME_MS: i64 = 253_402_300_799_999;

/// Milliseconds of a JSON number of seconds, or of one so large that it must be milliseconds.
pub(crate) fn from_json_number(number: &serde_json::Number) -> Option<i64> {
    let value = number.as_f64()?;
    let ms = match number.as_i64() {
        Some(whole) if value.abs() >= MILLISECONDS_FROM => whole as f64,
        _ if value.abs() >= MILLISECONDS_FROM => value,
        _ => (value * 1000.0).round(),
    };
    // Both bounds are exact in f64.
    (ms.abs() <= MAX_TIME_MS as f64).then_some(ms as i64)
}

/// Whole seconds as an integer, anything finer as a decimal number.
pub(crate) fn to_json_number(ms: i64) -> serde_json::Number {
    if ms % 1000 == 0 {
        (ms / 1000).into()
    } else {
        serde_json::Number::from_f64(ms as f64 / 1000.0).unwrap_or_else(|| (ms / 1000).into())
    }
}

pub(crate) fn serialize<S: Serializer>(ms: &i64, to: S) -> Result<S::Ok, S::Error> {
    if !to.is_human_readable() {
        to.serialize_i64(*ms)
    } else if ms % 1000 == 0 {
        to.serialize_i64(ms / 1000)
    } else {
        to.serialize_f64(*ms as f64 / 1000.0)
    }
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    if from.is_human_readable() {
        let number = serde_json::Number::deserialize(from)?;
        from_json_number(&number)
            .ok_or_else(|| serde::de::Error::custom("time outside of any sense"))
    } else {
        i64::deserialize(from)
    }
}
