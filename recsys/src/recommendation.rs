use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::{ItemId, UserId};
use crate::time;

/// Where a recommendation comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Source {
    /// Items that the same users touched near the items of the user's history.
    ItemCf,
    /// What users with a similar history touched.
    UserKnn,
    /// What followed in visits like the present one.
    SessionKnn,
    /// Popular now.
    Popular,
    /// Rising: far more popular lately than before.
    Trending,
    /// Seen for the first time not long ago, or touched just now.
    Recent,
    /// The user's own items again.
    Again,
    /// Popular in the categories the user is interested in.
    Category,
    /// Shown to learn about it.
    Exploration,
}

impl Source {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 9] = [
        Self::ItemCf,
        Self::UserKnn,
        Self::SessionKnn,
        Self::Popular,
        Self::Trending,
        Self::Recent,
        Self::Again,
        Self::Category,
        Self::Exploration,
    ];

    /// The name in JSON, options and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ItemCf => "item_cf",
            Self::UserKnn => "user_knn",
            Self::SessionKnn => "session_knn",
            Self::Popular => "popular",
            Self::Trending => "trending",
            Self::Recent => "recent",
            Self::Again => "again",
            Self::Category => "category",
            Self::Exploration => "exploration",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An item for a user, with the reason.
///
/// [`to_json`](Self::to_json) writes the five fields of the tutorial; serde writes all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// For whom.
    pub user_id: UserId,
    /// What.
    pub item_id: ItemId,
    /// The higher the better; comparable within one list only.
    pub score: f64,
    /// For people: "because you viewed Lamp".
    pub reason: String,
    /// When it was made, in milliseconds since the epoch of the events' clock (JSON: seconds).
    #[serde(rename = "timestamp", with = "time")]
    pub timestamp_ms: i64,
    /// What contributed most.
    pub source: Source,
    /// The item of the user's history that it follows from.
    #[serde(default)]
    pub because: Option<ItemId>,
    /// What each source contributed to the score, largest first.
    #[serde(default)]
    pub contributions: Vec<Contribution>,
}

/// The part of a score that one source is responsible for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Contribution {
    /// The source.
    pub source: Source,
    /// Its part; parts add up to the score up to a constant.
    pub score: f32,
}

impl Recommendation {
    /// Reads JSON; the fields beyond the tutorial's may be missing except `source`.
    ///
    /// # Errors
    /// [`crate::Error::Json`].
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(serde_json::from_str(json)?)
    }

    /// Writes the tutorial's JSON: user, item, score, reason, timestamp.
    pub fn to_json(&self) -> String {
        use serde_json::Value;
        format!(
            "{{\"user_id\":{},\"item_id\":{},\"score\":{},\"reason\":{},\"timestamp\":{}}}",
            Value::from(self.user_id.as_str()),
            Value::from(self.item_id.as_str()),
            Value::from(self.score),
            Value::from(self.reason.as_str()),
            time::to_json_number(self.timestamp_ms),
        )
    }
}
