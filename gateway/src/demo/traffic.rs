//! Visitors of the demo's shop: each likes two categories, comes in visits, looks at things that go
//! together, and sometimes buys.

use super::goods::{SHELVES, item_id};
use crate::proto::v1::{EventType, UserEvent};

/// The visitors whose lists the demo prints; there are many more.
pub(crate) const VISITORS: [&str; 6] = ["ada", "ben", "cleo", "dan", "eve", "finn"];

const OTHERS: u64 = 400;

/// An endless stream of events, the same for the same seed.
#[derive(Debug)]
pub(crate) struct Traffic {
    random: u64,
    visits: Vec<Visit>,
}

#[derive(Debug)]
struct Visit {
    user: u64,
    number: u64,
    shelf: usize,
    place: usize,
    left: u64,
}

impl Traffic {
    pub(crate) fn new(seed: u64) -> Self {
        let mut traffic = Self {
            random: seed,
            visits: Vec::new(),
        };
        for _ in 0..24 {
            let visit = traffic.visit();
            traffic.visits.push(visit);
        }
        traffic
    }

    /// The next event, which happened within the three seconds before `now_ms`.
    pub(crate) fn next(&mut self, now_ms: i64) -> UserEvent {
        let slot = self.below(self.visits.len() as u64) as usize;
        if self.visits[slot].left == 0 {
            self.visits[slot] = self.visit();
        }
        let (step, near, kind, late) = (
            self.below(3),
            self.below(10),
            self.below(100),
            self.below(3_000),
        );
        let visit = &mut self.visits[slot];
        visit.left -= 1;
        // The next thing stands near the last one, on this shelf or its neighbour's.
        visit.place += 1 + step as usize;
        if near == 0 {
            visit.shelf ^= 1;
        }
        let event_type = match kind {
            0..60 => EventType::View,
            60..85 => EventType::Click,
            85..94 => EventType::Like,
            _ => EventType::Purchase,
        };
        UserEvent {
            user_id: name(visit.user),
            item_id: item_id(visit.shelf, visit.place),
            event_type: event_type.into(),
            timestamp_ms: now_ms.saturating_sub_unsigned(late),
            session_id: format!("visit-{}", visit.number),
            ..UserEvent::default()
        }
    }

    fn visit(&mut self) -> Visit {
        let user = self.below(VISITORS.len() as u64 * 8 + OTHERS);
        // Two favourite shelves a user.
        let favourite = (user * 7 + self.below(2) * 3) as usize % SHELVES.len();
        Visit {
            user,
            number: self.below(u64::from(u32::MAX)),
            shelf: favourite,
            place: self.below(10) as usize,
            left: 3 + self.below(10),
        }
    }

    /// SplitMix64 (Steele, Lea, Flood 2014).
    fn below(&mut self, bound: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// The first visitors come eight times as often as the others.
fn name(user: u64) -> String {
    let regulars = VISITORS.len() as u64 * 8;
    if user < regulars {
        VISITORS[(user % VISITORS.len() as u64) as usize].to_owned()
    } else {
        format!("visitor-{}", user - regulars)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::catalogue;
    use std::collections::BTreeSet;

    #[test]
    fn everything_that_is_looked_at_is_in_the_catalogue() {
        let known: BTreeSet<String> = catalogue().into_iter().map(|item| item.item_id).collect();
        assert_eq!(known.len(), 80);
        let mut traffic = Traffic::new(1);
        let events: Vec<_> = (0..5_000).map(|_| traffic.next(1_000_000)).collect();
        assert!(events.iter().all(|event| known.contains(&event.item_id)));
        let users: BTreeSet<_> = events.iter().map(|event| event.user_id.as_str()).collect();
        assert!(VISITORS.iter().all(|visitor| users.contains(visitor)));
        let mut again = Traffic::new(1);
        assert_eq!(events[0], again.next(1_000_000));
    }
}
