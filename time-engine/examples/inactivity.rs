//! Timers: a user's session is closed, and its state cleared, after 30 minutes without an event.
//! `cargo run -p time-engine --example inactivity`

use std::{collections::HashMap, time::Duration};
use time_engine::{TimeDomain, Timer, TimerService, Timestamp};

const TIMEOUT: Duration = Duration::from_secs(30 * 60);

#[derive(Debug, Default)]
struct Users {
    last_activity: HashMap<&'static str, Timestamp>,
    timers: TimerService<&'static str>,
}

impl Users {
    fn on_event(&mut self, user: &'static str, at: Timestamp) {
        let last = self.last_activity.get(user).copied();
        if last.is_some_and(|last| at <= last) {
            return; // An older event does not bring the end of the session forward.
        }
        if let Some(last) = last {
            let old = Timer::new(last.saturating_add(TIMEOUT), user);
            self.timers.delete(TimeDomain::Event, &old);
        }
        self.last_activity.insert(user, at);
        let new = Timer::new(at.saturating_add(TIMEOUT), user);
        self.timers.register(TimeDomain::Event, new);
    }

    fn on_watermark(&mut self, watermark: Timestamp) -> Vec<(&'static str, Timestamp)> {
        let mut closed = Vec::new();
        while let Some(timer) = self.timers.pop_due(TimeDomain::Event, watermark) {
            self.last_activity.remove(timer.key);
            closed.push((timer.key, timer.at));
        }
        closed
    }
}

fn main() {
    let minute = |m: i64| Timestamp::from_millis(m * 60_000);
    let mut users = Users::default();
    users.on_event("ann", minute(0));
    users.on_event("bob", minute(5));
    users.on_event("ann", minute(20));

    assert_eq!(users.on_watermark(minute(34)), []);
    assert_eq!(users.on_watermark(minute(40)), [("bob", minute(35))]);
    assert_eq!(users.on_watermark(minute(50)), [("ann", minute(50))]);
    assert!(users.last_activity.is_empty() && users.timers.is_empty());
    println!("bob's session closed at minute 35, ann's at minute 50");
}
