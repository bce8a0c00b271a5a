//! What rises: the last hour against the day before.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::handle::Handle;
use crate::model::records::{HALF_LIVES_MS, Records};

/// Length of a window of event time.
const WINDOW_MS: i64 = 3_600_000;
/// Items counted in a window.
const ITEMS: usize = 256;
/// Items that rise most.
const RISING: usize = 50;
/// Which of the half-lives stands for the day before.
const DAY: usize = 2;
/// After so many events, or half a minute and fewer of them, it is found out anew what rises.
const EVENTS: u32 = 128;
const FEW_EVENTS: u32 = 64;
const HALF_A_MINUTE_MS: i64 = 30_000;

/// Counts of one window: at most [`ITEMS`], by the rule of Misra and Gries (1982), so that what is
/// there is never counted too high, and what is frequent is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Window {
    /// By handle.
    counts: Vec<(Handle, f32)>,
}

impl Window {
    fn add(&mut self, item: Handle, weight: f32) {
        let mut at = match self.counts.binary_search_by_key(&item, |(known, _)| *known) {
            Ok(known) => {
                self.counts[known].1 += weight;
                return;
            }
            Err(at) => at,
        };
        if self.counts.len() < ITEMS {
            self.counts.insert(at, (item, weight));
            return;
        }
        let counts = self.counts.iter().map(|(_, count)| *count);
        let least = counts.fold(weight, f32::min);
        for (_, count) in &mut self.counts {
            *count -= least;
        }
        self.counts.retain(|(_, count)| *count > 0.0);
        if weight > least && self.counts.len() < ITEMS {
            at = self.counts.partition_point(|(known, _)| *known < item);
            self.counts.insert(at, (item, weight - least));
        }
    }
}

/// Two windows of event time, the running one and the one before: the share of the latter that an
/// hour back from now still covers counts with the former. An event older than both counts in neither.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trending {
    /// Where the running window begins.
    start_ms: i64,
    running: Window,
    last: Window,
    /// What rises most, most first: by how many standard deviations of a Poisson process the last
    /// hour lies above what the day before lets one expect.
    rising: Vec<(f32, Handle)>,
    found_ms: i64,
    events_since: u32,
}

impl Trending {
    /// Counts an event; true when it is time to [`refresh`].
    pub(crate) fn count(&mut self, item: Handle, weight: f32, at_ms: i64) -> bool {
        let start = at_ms.div_euclid(WINDOW_MS).saturating_mul(WINDOW_MS);
        if start > self.start_ms {
            let running = std::mem::take(&mut self.running);
            self.last = match start.saturating_sub(self.start_ms) <= WINDOW_MS {
                true => running,
                false => Window::default(),
            };
            self.start_ms = start;
        }
        if start == self.start_ms {
            self.running.add(item, weight);
        } else if self.start_ms.saturating_sub(start) <= WINDOW_MS {
            self.last.add(item, weight);
        }
        self.events_since = self.events_since.saturating_add(1);
        let waited = at_ms.saturating_sub(self.found_ms) >= HALF_A_MINUTE_MS;
        self.events_since >= EVENTS || (waited && self.events_since >= FEW_EVENTS)
    }

    /// What rises most, most first.
    pub(crate) fn rising(&self) -> &[(f32, Handle)] {
        &self.rising
    }

    /// Forgets an item that is no more.
    pub(crate) fn remove(&mut self, item: Handle) {
        for window in [&mut self.running, &mut self.last] {
            window.counts.retain(|(known, _)| *known != item);
        }
        self.rising.retain(|(_, known)| *known != item);
    }

    fn last_hour(&self, now_ms: i64) -> Vec<(Handle, f32)> {
        let into = now_ms.saturating_sub(self.start_ms) as f32 / WINDOW_MS as f32;
        let share = (1.0 - into).clamp(0.0, 1.0);
        let mut hour = self.running.counts.clone();
        let mut at = 0;
        let mut only_before = Vec::new();
        for (item, count) in &self.last.counts {
            while hour.get(at).is_some_and(|(known, _)| known < item) {
                at += 1;
            }
            match hour.get_mut(at).filter(|(known, _)| known == item) {
                Some((_, sum)) => *sum += share * count,
                None => only_before.push((*item, share * count)),
            }
        }
        hour.append(&mut only_before);
        hour
    }
}

/// Finds out anew what rises.
pub(crate) fn refresh<R: Records>(r: &mut R) -> Result<()> {
    let Some((now_ms, counts)) = r
        .global()?
        .map(|g| (g.now_ms, g.trending.last_hour(g.now_ms)))
    else {
        return Ok(());
    };
    let half_life = HALF_LIVES_MS[DAY];
    let an_hour = std::f64::consts::LN_2 * WINDOW_MS as f64 / half_life;
    let mut rising = Vec::new();
    for (item, count) in counts {
        let Some(record) = r.item(item.slot())? else {
            continue;
        };
        if record.generation != item.generation() || record.id.is_empty() {
            continue;
        }
        // The decayed count of a steady stream is what comes in half a life over ln 2.
        let day = (record.popularity[DAY] - now_ms as f64 / half_life).exp2();
        let expected = ((day - f64::from(count)).max(0.0) * an_hour) as f32;
        let above = (count - expected) / (expected + 1.0).sqrt();
        if above > 0.0 {
            rising.push((above, item));
        }
    }
    rising.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    rising.truncate(RISING);
    r.update_global(|g| {
        g.trending.rising = rising;
        g.trending.found_ms = now_ms;
        g.trending.events_since = 0;
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Interaction, MemoryRecords, Model, Options};

    const MINUTE: i64 = 60_000;

    /// A stream in which every event is another user's.
    struct Stream {
        r: MemoryRecords,
        model: Model,
        users: u32,
    }

    impl Stream {
        fn new() -> Self {
            let mut r = MemoryRecords::default();
            let model = Model::open(&mut r, Options::default()).unwrap();
            Self { r, model, users: 0 }
        }

        fn touch(&mut self, item: &str, at_ms: i64) {
            self.users += 1;
            let (weight, positive) = (1.0, true);
            let user = &format!("u{}", self.users);
            let event = Interaction {
                user,
                item,
                weight,
                positive,
                at_ms,
            };
            self.model.observe(&mut self.r, event).unwrap();
        }

        /// What rises, most first.
        fn rising(&mut self) -> Vec<(f32, String)> {
            refresh(&mut self.r).unwrap();
            let rising = self.r.global().unwrap().unwrap().trending.rising().to_vec();
            let mut id = |item: Handle| self.r.item(item.slot()).unwrap().unwrap().id.to_string();
            rising
                .into_iter()
                .map(|(above, item)| (above, id(item)))
                .collect()
        }

        fn now_ms(&mut self) -> i64 {
            self.model.now_ms(&mut self.r).unwrap()
        }
    }

    #[test]
    fn what_was_as_popular_yesterday_does_not_rise() {
        let mut stream = Stream::new();
        for minute in 0..2 * 24 * 60 {
            stream.touch("evergreen", minute * MINUTE);
        }
        for minute in 2 * 24 * 60..2 * 24 * 60 + 60 {
            stream.touch("evergreen", minute * MINUTE);
            if minute % 2 == 0 {
                stream.touch("news", minute * MINUTE);
            }
        }
        let rising = stream.rising();
        assert_eq!(rising[0].1, "news");
        assert!(rising[0].0 > 4.0, "{rising:?}");
        assert!(
            rising.iter().skip(1).all(|(above, _)| *above < 3.0),
            "{rising:?}"
        );
        // Two hours later nothing of it is left.
        for minute in 52 * 60..52 * 60 + 20 {
            stream.touch("other", minute * MINUTE);
        }
        assert_eq!(stream.rising().len(), 1);
    }

    #[test]
    fn one_wrong_clock_does_not_silence_what_rises() {
        let mut stream = Stream::new();
        for minute in 0..24 * 60 {
            stream.touch("evergreen", minute * MINUTE);
        }
        let ten_years = 87_600 * 60 * MINUTE;
        stream.touch("wrong", ten_years);
        for minute in 24 * 60..26 * 60 {
            stream.touch("evergreen", minute * MINUTE);
            stream.touch("news", minute * MINUTE);
            if minute == 25 * 60 {
                stream.touch("wrong", i64::MAX);
            }
        }
        assert_eq!(stream.rising()[0].1, "news");
    }

    #[test]
    fn after_a_gap_time_is_right_from_the_second_event_on() {
        let mut stream = Stream::new();
        let week = 7 * 24 * 60 * MINUTE;
        stream.touch("a", 1_000);
        stream.touch("b", week);
        assert_eq!(stream.now_ms(), 1_000 + 60 * MINUTE);
        stream.touch("c", week + MINUTE);
        assert_eq!(stream.now_ms(), week);
        stream.touch("d", week + 2 * MINUTE);
        assert_eq!(stream.now_ms(), week + 2 * MINUTE);
    }

    #[test]
    fn a_window_is_bounded_and_keeps_what_is_frequent() {
        let mut trending = Trending::default();
        for n in 0..50_000_u32 {
            // Time runs backwards and jumps.
            let at = i64::from(n % 3) * -1_000 + i64::from(n) * 50;
            trending.count(Handle::new(10 + n, 0), 1.0, at);
            trending.count(Handle::new(n % 2, 0), 1.0, at);
            assert!(trending.running.counts.len() <= ITEMS && trending.last.counts.len() <= ITEMS);
        }
        let counts = trending.last_hour(50_000 * 50);
        for slot in 0..2 {
            let found = counts.iter().find(|(item, _)| item.slot() == slot);
            assert!(
                found.is_some_and(|(_, count)| *count > 10_000.0),
                "{found:?}"
            );
        }
        trending.count(Handle::new(0, 0), f32::MAX, i64::MAX);
        trending.count(Handle::new(0, 0), 1.0, i64::MIN);
    }
}
