//! Streams made up to be unlike each other: guards against constants that suit a few data sets only.

use std::io::{self, Write};

use crate::error::{Error, Result};
use crate::serve::Random;

/// What a made-up stream is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Synthetic {
    /// Users with a taste for a few genres rate dozens of items in one sitting, most never come back.
    Ratings,
    /// Items come out all day, are read for some hours and forgotten.
    Articles,
    /// Short visits along chains of items that go together; a visit is a session.
    Sessions,
    /// Customers buy staples of their own every week, and what goes with them; a basket is a session
    /// whose events have one time.
    Baskets,
    /// Listeners with a taste who repeat themselves most of the time.
    Repeats,
    /// Visits that follow chains, until in the middle of the stream all chains change.
    Rewired,
    /// Visits that follow chains in the first half, articles that are read for hours in the second.
    Turning,
    /// Nothing but popularity, the same all the time: there is nothing personal to learn.
    Plain,
}

impl Synthetic {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Ratings,
        Self::Articles,
        Self::Sessions,
        Self::Baskets,
        Self::Repeats,
        Self::Rewired,
        Self::Turning,
        Self::Plain,
    ];

    /// The name on a command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ratings => "ratings",
            Self::Articles => "articles",
            Self::Sessions => "sessions",
            Self::Baskets => "baskets",
            Self::Repeats => "repeats",
            Self::Rewired => "rewired",
            Self::Turning => "turning",
            Self::Plain => "plain",
        }
    }

    /// Writes about so many events as CSV in order of time: `user,item,event_type,timestamp_ms,session`.
    /// The same seed gives the same bytes.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn write_csv(self, events: usize, seed: u64, out: &mut dyn Write) -> io::Result<()> {
        let mut world = World {
            random: Random::new(seed),
            rows: Vec::with_capacity(events),
        };
        match self {
            Self::Ratings => world.ratings(events),
            Self::Articles => world.articles(events, 0),
            Self::Sessions => world.sessions(events, events, 0),
            Self::Baskets => world.baskets(events),
            Self::Repeats => world.repeats(events),
            Self::Rewired => world.sessions(events, events / 2, 0),
            Self::Turning => {
                world.sessions(events / 2, events, 0);
                let end = world.rows.iter().map(|r| r.at_ms).max().unwrap_or(0);
                world.articles(events - events / 2, end + HOUR);
            }
            Self::Plain => world.plain(events),
        }
        world.rows.sort_by_key(|row| row.at_ms);
        writeln!(out, "user,item,event_type,timestamp_ms,session")?;
        for row in &world.rows {
            let Event {
                user,
                item,
                kind,
                at_ms,
                session,
            } = row;
            writeln!(out, "u{user},i{item},{kind},{},s{session}", EPOCH + at_ms)?;
        }
        Ok(())
    }
}

impl std::str::FromStr for Synthetic {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        known.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str).join(", ");
            Error::invalid("stream", format!("{name:?} is none of {names}"))
        })
    }
}

const EPOCH: i64 = 1_700_000_000_000;
const HOUR: i64 = 3_600_000;

struct Event {
    user: usize,
    item: usize,
    kind: &'static str,
    at_ms: i64,
    session: usize,
}

struct World {
    random: Random,
    rows: Vec<Event>,
}

impl World {
    fn below(&mut self, n: usize) -> usize {
        (self.random.uniform() * n as f64) as usize
    }

    fn chance(&mut self, p: f64) -> bool {
        self.random.uniform() < p
    }

    /// Below `n`, by Zipf's law with an exponent just below 1: the logarithm is spread evenly.
    fn zipf(&mut self, n: usize) -> usize {
        (((n as f64 + 1.0).powf(self.random.uniform()) - 1.0) as usize).min(n - 1)
    }

    fn push(&mut self, user: usize, item: usize, kind: &'static str, at_ms: i64, session: usize) {
        self.rows.push(Event {
            user,
            item,
            kind,
            at_ms,
            session,
        });
    }

    /// `n` of the genres, the first the strongest.
    fn taste(&mut self, genres: usize) -> [usize; 3] {
        [(); 3].map(|()| self.below(genres))
    }

    fn by_taste(&mut self, taste: [usize; 3]) -> usize {
        let at = self.random.uniform();
        taste[if at < 0.6 {
            0
        } else {
            usize::from(at < 0.9) + 1
        }]
    }

    fn ratings(&mut self, events: usize) {
        const GENRES: usize = 18;
        const A_GENRE: usize = 100;
        let mut at = 0;
        let mut user = 0;
        while self.rows.len() < events {
            user += 1;
            at += self.below(2 * HOUR as usize) as i64;
            let taste = self.taste(GENRES);
            let sittings = 1 + self.zipf(4);
            let mut had = std::collections::BTreeSet::new();
            for sitting in 0..sittings {
                let mut now = at + sitting as i64 * 48 * HOUR;
                for _ in 0..10 + self.zipf(120) {
                    now += 1_000 + self.below(60_000) as i64;
                    let own = self.chance(0.7);
                    let genre = if own {
                        self.by_taste(taste)
                    } else {
                        self.below(GENRES)
                    };
                    let item = genre * A_GENRE + self.zipf(A_GENRE);
                    if !had.insert(item) {
                        continue;
                    }
                    let quality = 1.0 - (item * 7 % 11) as f64 / 11.0;
                    let liked = 0.5 * quality + 0.5 * f64::from(u8::from(own));
                    let mark = liked + 0.4 * (self.random.uniform() - 0.5);
                    let kind = match mark {
                        m if m > 0.8 => "purchase",
                        m if m > 0.55 => "like",
                        m if m > 0.3 => "click",
                        _ => "view",
                    };
                    self.push(user, item, kind, now, user);
                }
            }
        }
    }

    fn articles(&mut self, events: usize, from_ms: i64) {
        const TOPICS: usize = 12;
        const AN_HOUR: usize = 4;
        let (users, first) = (events / 40 + 10, 1_000_000);
        let tastes: Vec<_> = (0..users).map(|_| self.taste(TOPICS)).collect();
        let mut had = std::collections::BTreeSet::new();
        for n in 0..events {
            let at = n as i64 * HOUR / 60 + self.below(60_000) as i64;
            let user = self.zipf(users);
            for _ in 0..20 {
                // Exponential age, mean 6 h; the better ones are found more often.
                let age = -self.random.uniform().ln() * 6.0;
                let hour = at as f64 / HOUR as f64 - age;
                if hour < 0.0 {
                    continue;
                }
                let item = hour as usize * AN_HOUR + self.below(AN_HOUR);
                let quality = (item.wrapping_mul(2_654_435_761) >> 7) % 10;
                let near = tastes[user].contains(&(item * 31 % TOPICS));
                let p = 0.02 + 0.05 * quality as f64 + if near { 0.4 } else { 0.0 };
                if self.chance(p) && had.insert((user, item)) {
                    let kind = if self.chance(0.1) { "like" } else { "view" };
                    self.push(user, first + item, kind, from_ms + at, user);
                    break;
                }
            }
        }
    }

    /// Chains change after `same` events.
    fn sessions(&mut self, events: usize, same: usize, from_ms: i64) {
        const CLUSTER: usize = 25;
        let clusters = (events / 250).clamp(20, 800);
        let items = clusters * CLUSTER;
        let (mut session, mut n) = (0, 0);
        while n < events {
            session += 1;
            let mut at = from_ms + n as i64 * 3_000;
            // Another place in the order of popularity and other neighbours, the same ids.
            let turn = if n < same { 0 } else { 1 };
            let shift = |cluster: usize| (cluster * (1 + 6 * turn) + 13 * turn) % clusters;
            let mut item = shift(self.zipf(clusters)) * CLUSTER + self.zipf(CLUSTER);
            let length = 2 + self.zipf(12);
            for _ in 0..length {
                self.push(session, item, "click", at, session);
                n += 1;
                at += 5_000 + self.below(120_000) as i64;
                let next = self.random.uniform();
                item = match next {
                    p if p < 0.45 => {
                        // One of four that follow this one.
                        let step = (item * 17 + 5 + turn * 911) % 97 + self.zipf(4) * 31;
                        let cluster = item / CLUSTER;
                        let other = if step.is_multiple_of(5) {
                            (cluster + 1) % clusters
                        } else {
                            cluster
                        };
                        other * CLUSTER + (item + step) % CLUSTER
                    }
                    p if p < 0.85 => item / CLUSTER * CLUSTER + self.zipf(CLUSTER),
                    _ => shift(self.zipf(clusters)) * CLUSTER + self.zipf(CLUSTER),
                } % items;
            }
        }
    }

    fn baskets(&mut self, events: usize) {
        const ITEMS: usize = 3_000;
        let customers = (events / 300).clamp(20, 5_000);
        let staples: Vec<Vec<usize>> = (0..customers)
            .map(|_| (0..25).map(|_| self.zipf(ITEMS)).collect())
            .collect();
        let mut basket = 0;
        while self.rows.len() < events {
            basket += 1;
            let user = self.below(customers);
            let at = self.rows.len() as i64 * 20_000;
            let mut list: Vec<usize> = Vec::new();
            for _ in 0..3 + self.zipf(15) {
                let p = self.random.uniform();
                let item = match list.last() {
                    // What goes with the last one.
                    Some(last) if p < 0.3 => (last * 37 + self.zipf(3) * 101) % ITEMS,
                    _ if p < 0.8 => {
                        let at = self.zipf(25);
                        staples[user][at]
                    }
                    _ => self.zipf(ITEMS),
                };
                if !list.contains(&item) {
                    list.push(item);
                }
            }
            for item in list {
                self.push(user, item, "purchase", at, basket);
            }
        }
    }

    fn repeats(&mut self, events: usize) {
        const GENRES: usize = 40;
        const A_GENRE: usize = 200;
        let listeners = (events / 400).clamp(10, 5_000);
        let tastes: Vec<_> = (0..listeners).map(|_| self.taste(GENRES)).collect();
        let mut played: Vec<Vec<usize>> = vec![Vec::new(); listeners];
        let mut session = 0;
        while self.rows.len() < events {
            session += 1;
            let user = self.below(listeners);
            let mut at = self.rows.len() as i64 * 60_000;
            for _ in 0..5 + self.zipf(20) {
                at += 180_000;
                let again = self.chance(0.7);
                let item = match played[user].len() {
                    len if len > 5 && again => played[user][len - 1 - self.zipf(len.min(60))],
                    _ => self.by_taste(tastes[user]) * A_GENRE + self.zipf(A_GENRE),
                };
                played[user].push(item);
                self.push(user, item, "click", at, session);
            }
        }
    }

    fn plain(&mut self, events: usize) {
        for n in 0..events {
            let (user, item) = (self.below(events / 20 + 1), self.zipf(2_000));
            self.push(user, item, "view", n as i64 * 10_000, user);
        }
    }
}
