//! A session that is forgotten 24 hours after it was last written: state with a time to live.

use operators::{
    Collector, Element, HarnessOptions, KeyByValue, Operator, OperatorContext, OperatorHarness,
    Result,
};
use state_backend::{StateStore, Ttl, ValueDef, ValueState};
use std::time::Duration;
use time_engine::Timestamp;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, PartialEq)]
enum Session {
    New(String),
    Existing(String),
}

/// Gives each user a session; one that has expired is never seen again.
#[derive(Default)]
struct Sessions {
    session: ValueState<String>,
}

impl Operator for Sessions {
    type In = String;
    type Out = Session;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        // renewed when written, never returned once expired, cleaned up in the background
        let session = ValueDef::new("user_session").with_ttl(Ttl::after_write(DAY));
        self.session = store.value(&session)?;
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<String>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Session>,
    ) -> Result<()> {
        if let Some(session) = self.session.get(&mut cx.state)? {
            out.collect(Session::Existing(session.clone()));
            return Ok(());
        }
        let session = format!("session_{}", element.timestamp.as_millis());
        self.session.set(&mut cx.state, session.clone())?;
        out.collect(Session::New(session));
        Ok(())
    }
}

fn main() -> Result<()> {
    let by_user = KeyByValue::new(String::clone);
    let options = HarnessOptions::default();
    let mut operator = OperatorHarness::new(Sessions::default(), by_user, &options)?;
    let hour = 60 * 60 * 1_000;
    let mut seen = Vec::new();
    for (hours, user) in [(0, "ann"), (23, "ann"), (25, "ann"), (26, "bob")] {
        let now = Timestamp::from_millis(hours * hour);
        operator.processing_time(now)?;
        operator.element(user.to_owned(), now)?;
        seen.extend(operator.take().into_iter().map(|element| element.value));
    }
    println!("{seen:#?}");
    let session = |hours: i64| format!("session_{}", hours * hour);
    let expected = [
        Session::New(session(0)),
        Session::Existing(session(0)),
        Session::New(session(25)),
        Session::New(session(26)),
    ];
    assert_eq!(seen, expected);
    Ok(())
}
