//! A session that ends after 30 minutes without activity: state and a timer in event time.

use operators::{
    Collector, Element, HarnessOptions, KeyByValue, Operator, OperatorContext, OperatorHarness,
    Result,
};
use state_backend::{StateStore, ValueDef, ValueState};
use time_engine::{TimeDomain, Timestamp};

const TIMEOUT_MS: i64 = 30 * 60 * 1_000;

#[derive(Debug, PartialEq)]
enum Change {
    Started(Timestamp),
    TimedOut { started: Timestamp, events: u64 },
}

/// Follows each user's session: when it began, the last activity in it, how many events it has.
#[derive(Default)]
struct Timeouts {
    session: ValueState<(i64, i64, u64)>,
}

impl Operator for Timeouts {
    type In = String;
    type Out = Change;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.session = store.value(&ValueDef::new("user_activity"))?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<String>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Change>,
    ) -> Result<()> {
        let at = element.timestamp.as_millis();
        let known = self.session.update(&mut cx.state, |(_, last, events)| {
            *last = at.max(*last);
            *events += 1;
        })?;
        if known.is_none() {
            self.session.set(&mut cx.state, (at, at, 1))?;
            // one timer a session: it looks again when there was activity meanwhile
            cx.timers
                .register_event(Timestamp::from_millis(at + TIMEOUT_MS));
            out.collect(Change::Started(element.timestamp));
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: TimeDomain,
        at: Timestamp,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Change>,
    ) -> Result<()> {
        let Some(&(started, last, events)) = self.session.get(&mut cx.state)? else {
            return Ok(());
        };
        let end = Timestamp::from_millis(last + TIMEOUT_MS);
        if end > at {
            cx.timers.register_event(end);
            return Ok(());
        }
        self.session.clear(&mut cx.state)?;
        let started = Timestamp::from_millis(started);
        out.collect(Change::TimedOut { started, events });
        Ok(())
    }
}

fn main() -> Result<()> {
    let by_user = KeyByValue::new(String::clone);
    let options = HarnessOptions::default();
    let mut operator = OperatorHarness::new(Timeouts::default(), by_user, &options)?;
    let minute = |n: i64| Timestamp::from_millis(n * 60_000);
    for at in [0, 20, 45, 90] {
        operator.watermark(minute(at))?;
        operator.element("ann".to_owned(), minute(at))?;
    }
    operator.watermark(Timestamp::MAX)?;
    let changes: Vec<Change> = operator.take().into_iter().map(|e| e.value).collect();
    println!("{changes:#?}");
    let ended = |at, events| Change::TimedOut {
        started: minute(at),
        events,
    };
    let (first, second) = (Change::Started(minute(0)), Change::Started(minute(90)));
    assert_eq!(changes, [first, ended(0, 3), second, ended(90, 1)]);
    assert_eq!(operator.timers(), 0);
    Ok(())
}
