//! A stream of events that is a function of a seed and a number, with some that are not valid.

use gateway::proto::v1::{CatalogItem, EventType, UserEvent};
use std::collections::BTreeMap;

/// Users of the stream.
pub const USERS: u64 = 60;
const ITEMS: u64 = 80;
/// One event in so many has no user.
const INVALID: u64 = 97;

/// The event of a number, which counts from 1.
pub fn event(seed: u64, number: u64) -> UserEvent {
    let mut random = Random(seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let user = random.below(USERS);
    // Users of one group look at the same things.
    let item = (user % 8) * 8 + random.below(24);
    let kind = match random.below(10) {
        0..=5 => EventType::View,
        6..=7 => EventType::Click,
        8 => EventType::Like,
        _ => EventType::Purchase,
    };
    let at = 1_700_000_000_000 + i64::try_from(number * 250).unwrap_or(i64::MAX);
    UserEvent {
        user_id: if is_valid(number) {
            user_id(user)
        } else {
            String::new()
        },
        item_id: format!("item-{}", item % ITEMS),
        event_type: kind.into(),
        timestamp_ms: at.saturating_sub_unsigned(random.below(8_000)),
        session_id: format!("s{}", number / 50),
        ..UserEvent::default()
    }
}

/// Whether the event of a number passes validation.
pub fn is_valid(number: u64) -> bool {
    !number.is_multiple_of(INVALID)
}

/// The id of a user.
pub fn user_id(user: u64) -> String {
    format!("user-{user}")
}

/// What the first `count` events amount to: valid ones by user.
pub fn counts(seed: u64, count: u64) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for number in (1..=count).filter(|number| is_valid(*number)) {
        *counts.entry(event(seed, number).user_id).or_default() += 1;
    }
    counts
}

/// Some of the items, so that others are unknown.
pub fn catalogue() -> Vec<CatalogItem> {
    (0..ITEMS / 2)
        .map(|item| CatalogItem {
            item_id: format!("item-{item}"),
            name: format!("Item {item}"),
            category: format!("category-{}", item % 7),
            ..CatalogItem::default()
        })
        .collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`, which is not 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
