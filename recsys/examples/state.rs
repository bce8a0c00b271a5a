//! The same recommender over keyed state: its records are a state store's rows, so whatever
//! checkpoints the store checkpoints the recommender.

use recsys::model::Options;
use recsys::{Command, Engine, EventType, RecordStates, Request, UserEvent, UserId};
use state_backend::{StateStore, StoreOptions};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut store = StateStore::open(StoreOptions::new())?;
    let states = RecordStates::open(&mut store)?;

    // All records of one recommender lie under one key.
    let mut scope = store.scope("shop");
    let mut engine = Engine::open(&mut states.of(&mut scope), Options::default())?;
    for (n, (user, item)) in [
        ("ann", "a"),
        ("ann", "b"),
        ("bob", "a"),
        ("bob", "b"),
        ("eve", "a"),
    ]
    .into_iter()
    .enumerate()
    {
        let event = UserEvent::new(user, item, EventType::Click, n as i64 * 1000)?;
        engine.apply(&mut states.of(&mut scope), &Command::Event(event))?;
    }
    let request = Request::new(UserId::new("eve")?, 5);
    let before = engine.recommend(&mut states.of(&mut scope), &request)?;

    // Another engine over the same records knows all that the first one knew.
    let mut again = Engine::open(&mut states.of(&mut scope), Options::default())?;
    assert_eq!(
        again.recommend(&mut states.of(&mut scope), &request)?,
        before
    );
    for item in &before {
        println!("{} {}", item.item_id, item.reason);
    }
    Ok(())
}
