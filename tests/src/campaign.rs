//! The crash campaign: the real binary, killed at random moments under a stream of events, must end with
//! the state of a run that nobody killed.

use crate::{
    shop::{self, Random, USERS},
    weir::{Weir, binary, free_port},
};
use gateway::{
    Backend,
    client::{Producer, ProducerOptions},
    proto::v1::{
        ExportUsersRequest, SendRequest, UpsertItemsRequest, UserState, admin_client::AdminClient,
        catalog_client::CatalogClient, ingest_client::IngestClient,
    },
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::time::Instant;

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// What a campaign does.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Campaign {
    /// How often the process is killed.
    pub kills: u64,
    /// Decides events and moments.
    pub seed: u64,
    /// Where working state lives.
    pub backend: Backend,
    /// Events a second while it runs.
    pub rate: u64,
    /// The longest life between two kills.
    pub longest_life: Duration,
}

impl Campaign {
    /// A campaign of so many kills.
    pub fn new(kills: u64, seed: u64, backend: Backend) -> Self {
        Self {
            kills,
            seed,
            backend,
            rate: 2_000,
            longest_life: Duration::from_millis(1_500),
        }
    }

    /// Sets the longest life between two kills.
    #[must_use]
    pub fn with_longest_life(mut self, life: Duration) -> Self {
        self.longest_life = life;
        self
    }
}

/// What a campaign found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// How often the process was killed.
    pub kills: u64,
    /// Events sent, counted once however often they went out.
    pub events_sent: u64,
    /// Events acknowledged.
    pub events_acked: u64,
    /// Acknowledged events that are not in the state.
    pub lost: u64,
    /// Events that are in the state twice.
    pub duplicated: u64,
    /// Whether profiles, histories, counts and recommendations are those of a run without a kill.
    pub state_equal: bool,
    /// From the start of the process until it answers with its state restored.
    pub restart_ms_p50: u64,
    /// The slowest of them.
    pub restart_ms_max: u64,
}

impl Report {
    /// Nothing lost, nothing twice, the same state.
    pub fn passed(&self) -> bool {
        self.lost == 0
            && self.duplicated == 0
            && self.state_equal
            && self.events_acked == self.events_sent
    }
}

/// How long a process may take to start.
const START: Duration = Duration::from_secs(60);
const BATCH: u64 = 40;

/// Runs a campaign in temporary directories, which are removed when it passed.
///
/// # Errors
/// The processes cannot be run, or one does not come up again.
pub async fn run(campaign: &Campaign) -> Result<Report, Failure> {
    let binary = binary()?;
    let dir = tempfile::Builder::new().prefix("weir-crash-").tempdir()?;
    let port = free_port()?;

    let config = configure(&dir.path().join("killed"), campaign.backend)?;
    let mut weir = Weir::serve(&binary, &config, port)?;
    weir.ready(START).await?;
    upsert(weir.address()).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(AtomicU64::new(0));
    let streaming = tokio::spawn(stream(
        weir.address().to_owned(),
        campaign.clone(),
        Arc::clone(&stop),
        Arc::clone(&acknowledged),
    ));
    let mut random = Random(campaign.seed.wrapping_mul(31).wrapping_add(7));
    let mut restarts = Vec::new();
    for kill in 0..campaign.kills {
        let longest = u64::try_from(campaign.longest_life.as_millis())?.max(1);
        tokio::time::sleep(Duration::from_millis(random.below(longest))).await;
        weir.kill()?;
        let started = Instant::now();
        weir = Weir::serve(&binary, &config, port)?;
        // One in four is killed while it starts, at the latest after 200 ms.
        if random.below(4) == 0 && kill + 1 < campaign.kills {
            tokio::time::sleep(Duration::from_millis(random.below(200))).await;
            continue;
        }
        weir.ready(START).await?;
        restarts.push(u64::try_from(started.elapsed().as_millis())?);
        // What was acknowledged is sent once more, as by a client that did not hear of it.
        repeat(
            weir.address(),
            campaign.seed,
            acknowledged.load(Ordering::Relaxed),
        )
        .await?;
    }
    stop.store(true, Ordering::Relaxed);
    let (sent, acked) = streaming.await??;
    let after_kills = export(weir.address()).await?;
    let ended = weir.terminate(Duration::from_secs(30)).await?;
    if !ended.success() {
        return Err(format!("weir did not stop in good order: {ended}").into());
    }

    let config = configure(&dir.path().join("reference"), campaign.backend)?;
    let mut weir = Weir::serve(&binary, &config, port)?;
    weir.ready(START).await?;
    upsert(weir.address()).await?;
    let mut producer = connect(weir.address()).await?;
    let mut next = 1;
    while next <= sent {
        let end = (next + 1_000).min(sent + 1);
        producer
            .send((next..end).map(|n| shop::event(campaign.seed, n)).collect())
            .await?;
        next = end;
    }
    producer.close().await?;
    let reference = export(weir.address()).await?;
    drop(weir);

    let (mut lost, mut duplicated) = (0, 0);
    let expected = shop::counts(campaign.seed, acked);
    for state in &after_kills {
        let has = state.profile.as_ref().map_or(0, |profile| profile.events);
        let should = expected.get(&state.user_id).copied().unwrap_or(0);
        lost += should.saturating_sub(has);
        duplicated += has.saturating_sub(should);
    }
    let state_equal = after_kills == reference;
    if !state_equal {
        explain(&after_kills, &reference);
    }
    restarts.sort_unstable();
    let report = Report {
        kills: campaign.kills,
        events_sent: sent,
        events_acked: acked,
        lost,
        duplicated,
        state_equal,
        restart_ms_p50: restarts.get(restarts.len() / 2).copied().unwrap_or(0),
        restart_ms_max: restarts.last().copied().unwrap_or(0),
    };
    if !report.passed() {
        eprintln!("kept for inspection: {}", dir.keep().display());
    }
    Ok(report)
}

/// Small segments and frequent checkpoints, so that kills meet rolling, trimming and commits.
fn configure(dir: &Path, backend: Backend) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join("weir.toml");
    let text = format!(
        "data_dir = {:?}\nbackend = \"{backend}\"\n\
         [checkpoint]\ninterval = \"200ms\"\n[log]\nsegment = \"64KiB\"\n",
        dir.join("data")
    );
    fs::write(&path, text)?;
    Ok(path)
}

async fn upsert(address: &str) -> Result<(), Failure> {
    CatalogClient::connect(address.to_owned())
        .await?
        .upsert_items(UpsertItemsRequest {
            items: shop::catalogue(),
        })
        .await?;
    Ok(())
}

async fn connect(address: &str) -> Result<Producer, Failure> {
    let options = ProducerOptions::new("campaign")
        .with_reconnect_for(START)
        .with_max_in_flight(400);
    Ok(Producer::connect(address, options).await?)
}

/// Streams until told to stop; how many events were sent and acknowledged. Now and then the client
/// itself "crashes": a new one goes on from what the gateway says it has.
async fn stream(
    address: String,
    campaign: Campaign,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> Result<(u64, u64), Failure> {
    let mut producer = connect(&address).await?;
    let mut random = Random(campaign.seed);
    let pause = Duration::from_secs(BATCH).div_f64(campaign.rate as f64);
    while !stop.load(Ordering::Relaxed) {
        let next = producer.next_sequence();
        let events = (next..next + BATCH)
            .map(|n| shop::event(campaign.seed, n))
            .collect();
        producer.send(events).await?;
        acknowledged.store(producer.stats().acknowledged, Ordering::Relaxed);
        if random.below(100) == 0 {
            drop(producer);
            producer = connect(&address).await?;
        }
        tokio::time::sleep(pause).await;
    }
    producer.flush().await?;
    Ok((producer.next_sequence() - 1, producer.stats().acknowledged))
}

/// Sends the end of what was acknowledged again.
async fn repeat(address: &str, seed: u64, acknowledged: u64) -> Result<(), Failure> {
    let first = acknowledged.saturating_sub(50).max(1);
    let events: Vec<_> = (first..=acknowledged)
        // The unary call refuses a batch with an invalid event.
        .take_while(|number| shop::is_valid(*number))
        .map(|number| shop::event(seed, number))
        .collect();
    let count = events.len();
    let request = SendRequest {
        producer_id: "campaign".to_owned(),
        first_sequence: first,
        events,
    };
    let answer = IngestClient::connect(address.to_owned())
        .await?
        .send(request)
        .await?
        .into_inner();
    if answer.duplicates as usize != count {
        return Err(format!("{count} events sent again, {answer:?}").into());
    }
    Ok(())
}

/// Everything of every user, after everything acknowledged has been processed.
async fn export(address: &str) -> Result<Vec<UserState>, Failure> {
    let mut admin = AdminClient::connect(address.to_owned()).await?;
    let status = admin
        .get_status(gateway::proto::v1::GetStatusRequest {})
        .await?
        .into_inner();
    let request = ExportUsersRequest {
        k: 20,
        min_position: status.log.unwrap_or_default().end_position,
        user_ids: (0..USERS).map(shop::user_id).collect(),
    };
    let mut stream = admin.export_users(request).await?.into_inner();
    let mut users = Vec::new();
    while let Some(user) = stream.message().await? {
        users.push(user);
    }
    Ok(users)
}

/// Names the first few users that differ.
fn explain(got: &[UserState], expected: &[UserState]) {
    for (got, expected) in got.iter().zip(expected).filter(|(a, b)| a != b).take(3) {
        if got.profile != expected.profile {
            eprintln!(
                "{}: {:?}\n  expected {:?}",
                got.user_id, got.profile, expected.profile
            );
        }
        let lists = got.recommendations.iter().zip(&expected.recommendations);
        for (got, expected) in lists.filter(|(a, b)| a != b).take(2) {
            eprintln!("{got:?}\n  expected {expected:?}");
        }
    }
}
