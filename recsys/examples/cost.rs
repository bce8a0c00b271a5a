//! What learning and asking cost when a few users and items have most of the events, with the
//! records in keyed state as in a gateway: prints one line of JSON.
//!
//! ```text
//! cargo run --release -p recsys --example cost -- [events] [users] [items] [queries]
//! ```

use std::time::{Duration, Instant};

use recsys::model::Options;
use recsys::{Engine, EventType, RecordStates, Request, UserEvent, UserId};
use state_backend::{StateStore, StoreOptions};

/// Draws by Zipf's law with exponent 1: continuous, by the inverse of its distribution.
struct Zipf(u64);

impl Zipf {
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn below(&mut self, n: u64) -> u64 {
        ((n as f64).powf(self.uniform()) as u64).min(n) - 1
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures how long a call takes, decides nothing"
)]
fn now() -> Instant {
    Instant::now()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let numbers: Result<Vec<u64>, _> = std::env::args().skip(1).map(|a| a.parse()).collect();
    let mut numbers = numbers?.into_iter();
    let mut number = |default| numbers.next().unwrap_or(default).max(1);
    let (events, users, items) = (number(200_000), number(100_000), number(10_000));
    let queries = number(10_000);
    let mut store = StateStore::open(StoreOptions::new())?;
    let states = RecordStates::open(&mut store)?;
    let mut scope = store.scope(&());
    let mut records = states.of(&mut scope);
    let mut engine = Engine::open(&mut records, Options::default())?;

    let (mut zipf, mut learning) = (Zipf(1), Duration::ZERO);
    for n in 0..events {
        let user = format!("u{}", zipf.below(users));
        let item = format!("i{}", zipf.below(items));
        let kind = EventType::ALL[n as usize % EventType::ALL.len()];
        let event = UserEvent::new(user.as_str(), item.as_str(), kind, n as i64 * 10)?;
        let begin = now();
        engine.observe(&mut records, &event)?;
        learning += begin.elapsed();
    }
    let (mut asking, mut shown) = (Vec::new(), 0);
    for _ in 0..queries {
        let user = UserId::new(format!("u{}", zipf.below(users)))?;
        let begin = now();
        let list = engine.recommend(&mut records, &Request::new(user, 20))?;
        asking.push(begin.elapsed());
        shown += list.len();
    }
    asking.sort_unstable();
    let mean = asking.iter().sum::<Duration>().as_secs_f64() / asking.len() as f64;
    let at = |share: f64| asking[(asking.len() as f64 * share) as usize].as_secs_f64() * 1e6;
    println!(
        "{{\"events\":{events},\"users\":{users},\"items\":{items},\"learnt_per_s\":{:.0},\
         \"query_us_mean\":{:.1},\"query_us_p50\":{:.1},\"query_us_p99\":{:.1},\"shown\":{shown}}}",
        events as f64 / learning.as_secs_f64(),
        mean * 1e6,
        at(0.5),
        at(0.99),
    );
    Ok(())
}
