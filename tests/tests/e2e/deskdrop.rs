//! A year of real events gives the same state on every backend.

use crate::gateway_under_test::{Gateway, config};
use gateway::{
    Backend,
    event_file::{EventFile, FileEvent},
    proto::v1::UserEvent,
};
use std::{collections::BTreeSet, path::Path};

/// An optimised build takes the whole file, a debug build its beginning.
const EVENTS: usize = if cfg!(debug_assertions) {
    6_000
} else {
    usize::MAX
};

fn events(path: &Path) -> Vec<UserEvent> {
    let mut file = EventFile::open(path).unwrap();
    let mut events = Vec::new();
    while events.len() < EVENTS {
        match file.read().unwrap() {
            Some(FileEvent::Event(event)) => events.push(event),
            Some(FileEvent::Bad(bad)) => panic!("{bad:?}"),
            None => break,
        }
    }
    events
}

#[tokio::test(flavor = "multi_thread")]
async fn every_backend_ends_in_the_same_state() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/deskdrop.csv.gz");
    if !path.exists() {
        eprintln!("skipped: {} is missing", path.display());
        return;
    }
    let events = events(&path);
    let users: BTreeSet<String> = events.iter().map(|event| event.user_id.clone()).collect();
    let users: Vec<String> = users.into_iter().collect();
    let mut states = Vec::new();
    for backend in [Backend::Memory, Backend::Fs, Backend::Redb] {
        let dir = tempfile::tempdir().unwrap();
        let gateway = Gateway::start(config(dir.path(), backend)).await;
        let mut producer = gateway.producer("deskdrop").await;
        for batch in events.chunks(500) {
            producer.send(batch.to_vec()).await.unwrap();
        }
        let stats = producer.close().await.unwrap();
        assert_eq!(
            (stats.acknowledged, stats.rejected),
            (events.len() as u64, 0)
        );
        let state = gateway.export(&users).await;
        let counted: u64 = state
            .iter()
            .flat_map(|user| &user.profile)
            .map(|p| p.events)
            .sum();
        assert_eq!(counted, events.len() as u64, "{backend}");
        assert!(state.iter().any(|user| !user.recommendations.is_empty()));
        // A restart changes nothing.
        gateway.stop().await;
        let gateway = Gateway::start(config(dir.path(), backend)).await;
        assert!(
            gateway.export(&users).await == state,
            "{backend} after a restart"
        );
        gateway.stop().await;
        states.push((backend, state));
    }
    for (backend, state) in &states[1..] {
        assert!(
            *state == states[0].1,
            "{backend} differs from {}",
            states[0].0
        );
    }
}
