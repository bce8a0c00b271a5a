use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::ids::{ItemId, SessionId, UserId};
use crate::time;

/// The most metadata one event may carry, as JSON, in bytes.
pub const MAX_METADATA_BYTES: usize = 64 * 1024;

/// What the user did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EventType {
    /// The item was shown and looked at.
    View,
    /// The item was opened.
    Click,
    /// The user said that they like it.
    Like,
    /// The user bought it.
    Purchase,
}

impl EventType {
    /// All types, weakest first.
    pub const ALL: [Self; 4] = [Self::View, Self::Click, Self::Like, Self::Purchase];

    /// The name in JSON and CSV.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::View => "view",
            Self::Click => "click",
            Self::Like => "like",
            Self::Purchase => "purchase",
        }
    }

    /// How far it moves the interest in a category (mission A2).
    pub const fn interest_weight(self) -> f64 {
        match self {
            Self::View => 0.1,
            Self::Click => 0.3,
            Self::Like => 0.5,
            Self::Purchase => 1.0,
        }
    }

    /// The rating of the tutorial's collaborative filtering (mission A4).
    pub const fn rating(self) -> f32 {
        match self {
            Self::View => 1.0,
            Self::Click => 2.0,
            Self::Like => 3.0,
            Self::Purchase => 5.0,
        }
    }

    /// The weight of the event in the models of `auto`.
    pub const fn strength(self) -> f32 {
        match self {
            Self::View => 1.0,
            Self::Click => 2.0,
            Self::Like => 3.0,
            Self::Purchase => 4.0,
        }
    }

    /// "viewed", "clicked", "liked", "bought".
    pub const fn past_tense(self) -> &'static str {
        match self {
            Self::View => "viewed",
            Self::Click => "clicked",
            Self::Like => "liked",
            Self::Purchase => "bought",
        }
    }
}

impl fmt::Display for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventType {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| {
                let shown: String = name.chars().take(40).collect();
                Error::invalid(
                    "event_type",
                    format!("{shown:?} is none of view, click, like, purchase"),
                )
            })
    }
}

/// One act of a user upon an item.
///
/// JSON is the tutorial's: `timestamp` in seconds since the epoch (whole or decimal; a number of
/// 10^11 or more can only be meant as milliseconds and is read as such). `timestamp_ms` is read as
/// well and wins. `session_id` and `metadata` may be missing.
///
/// ```
/// use recsys::{EventType, UserEvent};
/// let event = UserEvent::from_json(
///     r#"{"user_id":"u1","item_id":"i1","event_type":"view","timestamp":1700000000,
///         "session_id":"s1","metadata":{"page":2}}"#,
/// )?;
/// assert_eq!(event.event_type, EventType::View);
/// assert_eq!(event.timestamp_ms, 1_700_000_000_000);
/// assert_eq!(UserEvent::from_json(&event.to_json())?, event);
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct UserEvent {
    /// Who.
    pub user_id: UserId,
    /// Upon what.
    pub item_id: ItemId,
    /// What.
    pub event_type: EventType,
    /// When, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// In which visit, where the client says so.
    pub session_id: Option<SessionId>,
    /// Anything else; carried along, not interpreted.
    pub metadata: Map<String, Value>,
}

impl UserEvent {
    /// An event without session and metadata.
    ///
    /// # Errors
    /// [`Error::Invalid`] when an id is empty, too long or has control characters.
    pub fn new(user: &str, item: &str, event_type: EventType, timestamp_ms: i64) -> Result<Self> {
        Ok(Self {
            user_id: UserId::new(user)?,
            item_id: ItemId::new(item)?,
            event_type,
            timestamp_ms,
            session_id: None,
            metadata: Map::new(),
        })
    }

    /// Checks what the types alone do not: the time lies between the years 1 and 9999 and the
    /// metadata is at most [`MAX_METADATA_BYTES`] of JSON.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        if self.timestamp_ms.unsigned_abs() > time::MAX_TIME_MS.unsigned_abs() {
            return Err(Error::invalid(
                "timestamp",
                format!("{} ms lies outside of any sense", self.timestamp_ms),
            ));
        }
        if !self.metadata.is_empty() {
            let mut size = CountBytes(0);
            serde_json::to_writer(&mut size, &self.metadata)?;
            if size.0 > MAX_METADATA_BYTES {
                return Err(Error::invalid(
                    "metadata",
                    format!("{} bytes, at most {MAX_METADATA_BYTES} are allowed", size.0),
                ));
            }
        }
        Ok(())
    }

    /// Reads the tutorial's JSON and validates it.
    ///
    /// # Errors
    /// [`Error::Json`] for what is not such JSON, [`Error::Invalid`] for a bad field.
    pub fn from_json(json: &str) -> Result<Self> {
        let wire: Wire = serde_json::from_str(json)?;
        let event = Self::try_from(wire)?;
        event.validate()?;
        Ok(event)
    }

    /// Writes the tutorial's JSON.
    pub fn to_json(&self) -> String {
        // Keys in the tutorial's order; every part is infallible to write.
        format!(
            "{{\"user_id\":{},\"item_id\":{},\"event_type\":\"{}\",\"timestamp\":{},\"session_id\":{},\"metadata\":{}}}",
            Value::from(self.user_id.as_str()),
            Value::from(self.item_id.as_str()),
            self.event_type,
            time::to_json_number(self.timestamp_ms),
            Value::from(self.session_id.as_ref().map_or("", SessionId::as_str)),
            Value::from(self.metadata.clone()),
        )
    }
}

/// Counts what is written to it.
struct CountBytes(usize);

impl std::io::Write for CountBytes {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    user_id: Option<String>,
    #[serde(default)]
    item_id: Option<String>,
    #[serde(default)]
    event_type: Option<String>,
    #[serde(default)]
    timestamp: Option<serde_json::Number>,
    #[serde(default)]
    timestamp_ms: Option<i64>,
    #[serde(default)]
    session_id: Option<String>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
}

impl TryFrom<Wire> for UserEvent {
    type Error = Error;

    fn try_from(wire: Wire) -> Result<Self> {
        let missing = |field| Error::invalid(field, "missing");
        let timestamp_ms = match (wire.timestamp_ms, wire.timestamp) {
            (Some(ms), _) => ms,
            (None, Some(number)) => time::from_json_number(&number).ok_or_else(|| {
                Error::invalid("timestamp", format!("{number} lies outside of any sense"))
            })?,
            (None, None) => return Err(missing("timestamp")),
        };
        Ok(Self {
            user_id: UserId::new(wire.user_id.ok_or_else(|| missing("user_id"))?)?,
            item_id: ItemId::new(wire.item_id.ok_or_else(|| missing("item_id"))?)?,
            event_type: wire
                .event_type
                .ok_or_else(|| missing("event_type"))?
                .parse()?,
            timestamp_ms,
            session_id: match wire.session_id {
                Some(id) if !id.is_empty() => Some(SessionId::new(id)?),
                _ => None,
            },
            metadata: wire.metadata.unwrap_or_default(),
        })
    }
}

/// Binary formats get compact fields in order, readable ones the tutorial's JSON.
impl Serialize for UserEvent {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Readable<'a> {
            user_id: &'a UserId,
            item_id: &'a ItemId,
            event_type: EventType,
            #[serde(with = "time")]
            timestamp: i64,
            session_id: &'a str,
            metadata: &'a Map<String, Value>,
        }
        if to.is_human_readable() {
            Readable {
                user_id: &self.user_id,
                item_id: &self.item_id,
                event_type: self.event_type,
                timestamp: self.timestamp_ms,
                session_id: self.session_id.as_ref().map_or("", SessionId::as_str),
                metadata: &self.metadata,
            }
            .serialize(to)
        } else {
            let metadata = match self.metadata.is_empty() {
                true => String::new(),
                false => {
                    serde_json::to_string(&self.metadata).map_err(serde::ser::Error::custom)?
                }
            };
            (
                &self.user_id,
                &self.item_id,
                self.event_type,
                self.timestamp_ms,
                &self.session_id,
                metadata,
            )
                .serialize(to)
        }
    }
}

impl<'de> Deserialize<'de> for UserEvent {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        if from.is_human_readable() {
            return Self::try_from(Wire::deserialize(from)?).map_err(D::Error::custom);
        }
        let (user_id, item_id, event_type, timestamp_ms, session_id, metadata): (
            UserId,
            ItemId,
            EventType,
            i64,
            Option<SessionId>,
            String,
        ) = Deserialize::deserialize(from)?;
        let metadata = match metadata.is_empty() {
            true => Map::new(),
            false => serde_json::from_str(&metadata).map_err(D::Error::custom)?,
        };
        Ok(Self {
            user_id,
            item_id,
            event_type,
            timestamp_ms,
            session_id,
            metadata,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<UserEvent> {
        UserEvent::from_json(json)
    }

    #[test]
    fn times_are_seconds_unless_they_cannot_be() {
        let at = |t: &str| {
            parse(&format!(
                r#"{{"user_id":"u","item_id":"i","event_type":"click","timestamp":{t}}}"#
            ))
            .map(|e| e.timestamp_ms)
        };
        assert_eq!(at("1700000000").unwrap(), 1_700_000_000_000);
        assert_eq!(at("1700000000.5").unwrap(), 1_700_000_000_500);
        assert_eq!(at("1700000000500").unwrap(), 1_700_000_000_500);
        assert_eq!(at("-1").unwrap(), -1000);
        assert!(at("1e300").is_err());
        assert!(at("9223372036854775807").is_err());
    }

    #[test]
    fn a_bad_field_is_named() {
        for (json, field) in [
            (
                r#"{"item_id":"i","event_type":"view","timestamp":1}"#,
                "user_id",
            ),
            (
                r#"{"user_id":"u","item_id":"","event_type":"view","timestamp":1}"#,
                "item_id",
            ),
            (
                r#"{"user_id":"u","item_id":"i","event_type":"stare","timestamp":1}"#,
                "event_type",
            ),
            (
                r#"{"user_id":"u","item_id":"i","event_type":"view"}"#,
                "timestamp",
            ),
        ] {
            let error = parse(json).unwrap_err();
            assert!(
                matches!(error, Error::Invalid { field: f, .. } if f == field),
                "{error}"
            );
        }
        assert!(matches!(parse("{"), Err(Error::Json(_))));
    }

    #[test]
    fn metadata_is_bounded() {
        let mut event = UserEvent::new("u", "i", EventType::View, 0).unwrap();
        event
            .metadata
            .insert("x".into(), "y".repeat(MAX_METADATA_BYTES).into());
        assert!(matches!(
            event.validate(),
            Err(Error::Invalid {
                field: "metadata",
                ..
            })
        ));
    }

    #[test]
    fn both_ways_of_writing_json_agree() {
        let mut event = UserEvent::new("u\"", "i", EventType::Purchase, 1500).unwrap();
        event
            .metadata
            .insert("a".into(), serde_json::json!([1, {"b": null}]));
        assert_eq!(event.to_json(), serde_json::to_string(&event).unwrap());
        assert_eq!(parse(&event.to_json()).unwrap(), event);
    }
}
