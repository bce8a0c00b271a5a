use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::event::UserEvent;
use crate::ids::UserId;
use crate::time;

/// The share of a new observation in the moving average (mission A2).
pub const INTEREST_ALPHA: f64 = 0.1;
/// The most categories a profile keeps; the weakest interest goes first.
pub const MAX_INTERESTS: usize = 128;
/// The most behaviour counters a profile keeps; the smallest goes first.
pub const MAX_PATTERNS: usize = 4 * MAX_INTERESTS;

/// What a user is interested in and what they do, kept up to date event by event.
///
/// ```
/// use recsys::{EventType, UserEvent, UserProfile};
/// let event = UserEvent::new("u1", "i1", EventType::Purchase, 1_000)?;
/// let mut profile = UserProfile::new(event.user_id.clone());
/// profile.observe(&event, "books");
/// assert_eq!(profile.interests["books"], 0.1 * 1.0);
/// assert_eq!(profile.behavior_patterns["purchase_books"], 1);
/// assert_eq!(profile.top_interests(5), [("books", 0.1)]);
/// # Ok::<(), recsys::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserProfile {
    /// Whose profile.
    pub user_id: UserId,
    /// Category to interest, an exponential moving average of event weights in 0 to 1.
    pub interests: BTreeMap<String, f64>,
    /// `{event type}_{category}` to the number of such events.
    pub behavior_patterns: BTreeMap<String, u64>,
    /// Time of the latest event in milliseconds since the epoch, 0 before the first (JSON: seconds,
    /// `last_updated`).
    #[serde(rename = "last_updated", with = "time")]
    pub last_updated_ms: i64,
}

impl UserProfile {
    /// A profile that has seen nothing.
    pub fn new(user_id: UserId) -> Self {
        Self {
            user_id,
            interests: BTreeMap::new(),
            behavior_patterns: BTreeMap::new(),
            last_updated_ms: 0,
        }
    }

    /// Learns one event upon an item of `category`.
    ///
    /// The interest in the category becomes `0.9 * old + 0.1 * weight`; the others stay as they
    /// are. An event out of order counts, but never sets the time back.
    pub fn observe(&mut self, event: &UserEvent, category: &str) {
        self.update_interest(category, event.event_type.interest_weight());
        let pattern = format!("{}_{category}", event.event_type);
        if let Some(count) = self.behavior_patterns.get_mut(&pattern) {
            *count = count.saturating_add(1);
        } else {
            if self.behavior_patterns.len() >= MAX_PATTERNS {
                remove_least(&mut self.behavior_patterns, |a, b| a.cmp(b));
            }
            self.behavior_patterns.insert(pattern, 1);
        }
        self.last_updated_ms = self.last_updated_ms.max(event.timestamp_ms);
    }

    /// One step of the moving average.
    pub fn update_interest(&mut self, category: &str, weight: f64) {
        let weight = if weight.is_finite() { weight } else { 0.0 };
        if let Some(interest) = self.interests.get_mut(category) {
            *interest = (1.0 - INTEREST_ALPHA) * *interest + INTEREST_ALPHA * weight;
            return;
        }
        if self.interests.len() >= MAX_INTERESTS {
            remove_least(&mut self.interests, f64::total_cmp);
        }
        self.interests
            .insert(category.to_owned(), INTEREST_ALPHA * weight);
    }

    /// The strongest interests, strongest first, ties by name.
    pub fn top_interests(&self, k: usize) -> Vec<(&str, f64)> {
        let mut all: Vec<_> = self
            .interests
            .iter()
            .map(|(name, x)| (name.as_str(), *x))
            .collect();
        all.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(b.0)));
        all.truncate(k);
        all
    }

    /// Reads the tutorial's JSON.
    ///
    /// # Errors
    /// [`crate::Error::Json`].
    pub fn from_json(json: &str) -> Result<Self> {
        Ok(serde_json::from_str(json)?)
    }

    /// Writes the tutorial's JSON.
    ///
    /// # Errors
    /// [`crate::Error::Json`] when an interest was set to a number that JSON does not have.
    pub fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string(self)?)
    }
}

fn remove_least<V: Clone>(
    map: &mut BTreeMap<String, V>,
    order: impl Fn(&V, &V) -> std::cmp::Ordering,
) {
    let least = map
        .iter()
        .min_by(|a, b| order(a.1, b.1))
        .map(|(name, _)| name.clone());
    if let Some(name) = least {
        map.remove(&name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventType;

    fn profile() -> UserProfile {
        UserProfile::new(UserId::new("u").unwrap())
    }

    #[test]
    fn interests_follow_the_tutorial() {
        let mut p = profile();
        for kind in [EventType::View, EventType::Click, EventType::Purchase] {
            p.observe(&UserEvent::new("u", "i", kind, 7_000).unwrap(), "books");
        }
        let expected = 0.9 * (0.9 * (0.1 * 0.1) + 0.1 * 0.3) + 0.1 * 1.0;
        assert!((p.interests["books"] - expected).abs() < 1e-12);
        assert_eq!(p.behavior_patterns["click_books"], 1);
        assert_eq!(p.last_updated_ms, 7_000);
    }

    #[test]
    fn a_profile_is_bounded() {
        let mut p = profile();
        for n in 0..10_000 {
            let event = UserEvent::new("u", "i", EventType::Like, n).unwrap();
            p.observe(&event, &format!("c{n}"));
        }
        assert_eq!(p.interests.len(), MAX_INTERESTS);
        assert_eq!(p.behavior_patterns.len(), MAX_PATTERNS);
    }

    #[test]
    fn json_is_the_tutorials() {
        let json = r#"{"user_id":"u1","interests":{"books":0.1},"behavior_patterns":{"view_books":1},"last_updated":1700000000}"#;
        let p = UserProfile::from_json(json).unwrap();
        assert_eq!(p.last_updated_ms, 1_700_000_000_000);
        assert_eq!(p.to_json().unwrap(), json);
    }
}
