//! The tutorial's system as a job: events in, event time with 10 s of disorder, profiles keyed by
//! user, recommendations out, a checkpoint a second.

use std::sync::Arc;
use std::time::Duration;

use checkpoint_store::{CheckpointStore, MemoryBlobs, StoreOptions};
use operators::{CheckpointConfig, JobConfig, StreamEnvironment, VecSource};
use recsys::model::Options;
use recsys::{Catalogue, Command, ProfileOperator, RecommendOperator, UserEvent};
use time_engine::Timestamp;
use time_engine::watermark::BoundedOutOfOrderness;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lines = [
        r#"{"user_id":"ann","item_id":"lamp","event_type":"view","timestamp":1700000000}"#,
        r#"{"user_id":"ann","item_id":"desk","event_type":"like","timestamp":1700000020}"#,
        r#"{"user_id":"bob","item_id":"lamp","event_type":"click","timestamp":1700000015}"#,
        r#"not an event"#,
        r#"{"user_id":"bob","item_id":"desk","event_type":"purchase","timestamp":1700000042}"#,
        r#"{"user_id":"cleo","item_id":"lamp","event_type":"view","timestamp":1700000050}"#,
    ];
    let (events, bad): (Vec<_>, Vec<_>) = lines
        .iter()
        .map(|line| UserEvent::from_json(line))
        .partition(Result::is_ok);
    println!("{} events, {} set aside", events.len(), bad.len());
    let catalogue = Arc::new(Catalogue::default());

    let job = StreamEnvironment::new();
    let events = job
        .source("events", VecSource::new(events.into_iter().flatten()))
        .assign_timestamps(
            |event| Timestamp::from_millis(event.timestamp_ms),
            || BoundedOutOfOrderness::new(Duration::from_secs(10)),
        );
    let profiles = events
        .clone()
        .map(move |event| {
            let category = catalogue.category(event.item_id.as_str()).to_owned();
            (event, category)
        })
        .key_by(|(event, _)| event.user_id.as_str().to_owned())
        .process("profile", ProfileOperator::default)
        .collect("profiles");
    let lists = events
        .map(Command::Event)
        .key_by(|_| 0_u32)
        .process("recommend", || {
            RecommendOperator::new(Options::default()).with_listening(Arc::new(|_| Some(5)))
        })
        .collect("lists");

    let store = CheckpointStore::open(Arc::new(MemoryBlobs::default()), StoreOptions::default())?;
    let checkpoints = CheckpointConfig::new(store).with_interval(Duration::from_secs(1));
    job.execute(JobConfig::default().with_checkpoints(checkpoints))?
        .wait()?;
    for profile in profiles.take() {
        println!("{}", profile.to_json()?);
    }
    for recommendation in lists.take().into_iter().flatten() {
        println!("{}", recommendation.to_json());
    }
    Ok(())
}
