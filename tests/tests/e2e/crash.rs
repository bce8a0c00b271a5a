//! `kill -9` at any moment loses nothing acknowledged, counts nothing twice, and ends in the state of a
//! run that nobody killed.

use gateway::Backend;
use std::time::Duration;
use tests::campaign::{Campaign, run};

async fn holds(kills: u64, seed: u64, backend: Backend) {
    let campaign =
        Campaign::new(kills, seed, backend).with_longest_life(Duration::from_millis(600));
    let report = run(&campaign).await.unwrap();
    assert!(report.passed(), "{campaign:?}: {report:?}");
    assert!(report.events_acked > 0, "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_kills_on_redb() {
    holds(20, 11, Backend::Redb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_on_the_other_backends() {
    holds(6, 12, Backend::Fs).await;
    holds(6, 13, Backend::Memory).await;
}
