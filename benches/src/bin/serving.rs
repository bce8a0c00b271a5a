//! Measures a gateway over gRPC on loopback, its client in the same process, and prints one line of JSON.
//!
//! Four phases: events in as fast as they are acknowledged; lists asked for at a steady rate while events
//! come in at a steady rate; how long until an event shows in the next list; lists as fast as they come.

use benches::events::Event;
use clap::{Parser, ValueEnum};
use gateway::proto::v1::{
    EventBatch, EventType, InvalidEvents, Open, RecommendRequest, StreamRequest, UserEvent,
    ingest_client::IngestClient, recommendations_client::RecommendationsClient, stream_request,
    stream_response,
};
use gateway::{Backend, Config, Server};
use serde::Serialize;
use std::{collections::VecDeque, error::Error, process::ExitCode, time::Duration};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{Instant, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Streaming, transport::Channel};

/// As `weir` has it.
#[cfg(unix)]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Clone, Copy, ValueEnum)]
enum BackendName {
    Memory,
    Fs,
    Redb,
}

/// Measures a gateway over gRPC on loopback and prints its figures as one line of JSON.
#[derive(Debug, Parser)]
#[command(name = "serving")]
struct Options {
    /// Where state lives.
    #[arg(long, default_value = "redb")]
    backend: BackendName,
    /// Events sent as fast as they are acknowledged.
    #[arg(long, default_value_t = 200_000)]
    events: u64,
    /// Events in a message.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    batch: u64,
    /// Length of each of the other phases, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Events a second beside the requests.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..))]
    event_rate: u64,
    /// For how long a producer collects the events of a message beside the requests, in ms.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    linger_ms: u64,
    /// Lists asked for a second.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    request_rate: u64,
    /// Requests under way at once when as many as possible are made.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    concurrency: u64,
    /// Interval of the checkpoints, in ms; the gateway's default unless given.
    #[arg(long, value_parser = clap::value_parser!(u64).range(10..))]
    checkpoint_ms: Option<u64>,
}

/// Milliseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    backend: String,
    checkpoint_ms: u64,
    rest_rss_mb: f64,
    ingest_events: u64,
    ingest_events_per_s: f64,
    ingest_ack_ms: Latency,
    /// Until everything acknowledged was in the lists, over the time from the first event on.
    processed_events_per_s: f64,
    recommend_rate: u64,
    recommend_event_rate: u64,
    recommend_ms: Latency,
    /// What a call takes that is refused at once, at the same rate with nothing beside it: gRPC and its client alone.
    refused_ms: Latency,
    visible_ms: Latency,
    saturated_requests_per_s: f64,
    saturated_ms: Latency,
    refused_saturated_requests_per_s: f64,
    peak_rss_mb: f64,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let report = runtime.block_on(measure(&options));
    match report.and_then(|report| Ok(serde_json::to_string(&report)?)) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&*error),
    }
}

fn failed(error: &dyn Error) -> ExitCode {
    eprintln!("serving: {error}");
    ExitCode::FAILURE
}

async fn measure(options: &Options) -> Outcome<Report> {
    let dir = tempfile::tempdir()?;
    let mut config = Config::default();
    config.data_dir = dir.path().to_owned();
    config.listen = "127.0.0.1:0".parse()?;
    if let Some(ms) = options.checkpoint_ms {
        config.checkpoint.interval = Duration::from_millis(ms);
    }
    let checkpoint_ms = u64::try_from(config.checkpoint.interval.as_millis())?;
    config.backend = match options.backend {
        BackendName::Memory => Backend::Memory,
        BackendName::Fs => Backend::Fs,
        BackendName::Redb => Backend::Redb,
    };
    let server = Server::start(config).await?;
    let rest_rss_mb = memory("VmRSS:")?;
    let address = format!("http://{}", server.address());
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(server.run_until(async {
        let _stop_or_gone = stopped.await;
    }));
    let channel = Channel::from_shared(address)?.connect().await?;
    let lists = RecommendationsClient::new(channel.clone());
    let mut ingest = Ingest::open(channel, options.batch).await?;

    // 1. As fast as it is acknowledged.
    let begin = Instant::now();
    let mut acks = Vec::new();
    while ingest.sent < options.events {
        ingest
            .send(options.batch.min(options.events - ingest.sent))
            .await?;
        ingest.acknowledgements(&mut acks, Wait::ForCredits).await?;
    }
    ingest.acknowledgements(&mut acks, Wait::ForAll).await?;
    let ingest_seconds = begin.elapsed().as_secs_f64();
    list(&mut lists.clone(), 0, ingest.position).await?;
    let processed_seconds = begin.elapsed().as_secs_f64();

    // 2. Lists at a steady rate beside events at a steady rate, measured from when each was due.
    let span = Duration::from_secs(options.seconds);
    let linger = Duration::from_millis(options.linger_ms);
    let (recommend, beside) = tokio::join!(
        steady_requests(&lists, options.request_rate, span, Ask::List),
        ingest.steady(options.event_rate, linger, span, None),
    );
    beside?;
    // 3. From just before an event is sent until a list that contains it is there.
    let mut visible = Vec::new();
    ingest
        .steady(
            options.event_rate,
            linger,
            span,
            Some((&lists, &mut visible)),
        )
        .await?;
    // 4. As many as possible.
    let (saturated, requests) = saturate(&lists, options.concurrency, span, Ask::List).await?;
    // 5. The same two of a call that asks for nothing: what is left for lists.
    let refused = steady_requests(&lists, options.request_rate, span, Ask::Nothing).await?;
    let (_, refused_requests) = saturate(&lists, options.concurrency, span, Ask::Nothing).await?;

    let peak_rss_mb = memory("VmHWM:")?;
    drop((ingest, lists));
    let _ended_already = stop.send(());
    serving.await??;
    Ok(Report {
        backend: format!("{:?}", options.backend).to_lowercase(),
        checkpoint_ms,
        rest_rss_mb,
        ingest_events: options.events,
        ingest_events_per_s: options.events as f64 / ingest_seconds,
        ingest_ack_ms: percentiles(acks),
        processed_events_per_s: options.events as f64 / processed_seconds,
        recommend_rate: options.request_rate,
        recommend_event_rate: options.event_rate,
        recommend_ms: percentiles(recommend?),
        refused_ms: percentiles(refused),
        visible_ms: percentiles(visible),
        saturated_requests_per_s: requests,
        saturated_ms: percentiles(saturated),
        refused_saturated_requests_per_s: refused_requests,
        peak_rss_mb,
    })
}

enum Wait {
    /// Until another batch may be sent.
    ForCredits,
    ForAll,
}

/// One stream of events that knows when each batch went out.
struct Ingest {
    requests: mpsc::Sender<StreamRequest>,
    responses: Streaming<gateway::proto::v1::StreamResponse>,
    batch: u64,
    credits: u64,
    sent: u64,
    acknowledged: u64,
    position: u64,
    /// Last sequence number of each batch under way, and when it was sent.
    under_way: VecDeque<(u64, Instant)>,
}

impl Ingest {
    async fn open(channel: Channel, batch: u64) -> Outcome<Self> {
        let (requests, outgoing) = mpsc::channel(16);
        let open = stream_request::Kind::Open(Open {
            producer_id: "serving".to_owned(),
            invalid_events: InvalidEvents::Fail.into(),
        });
        requests.send(StreamRequest { kind: Some(open) }).await?;
        let mut responses = IngestClient::new(channel)
            .stream(ReceiverStream::new(outgoing))
            .await?
            .into_inner();
        let first = responses.message().await?.and_then(|r| r.kind);
        let Some(stream_response::Kind::Opened(opened)) = first else {
            return Err("the gateway did not open the stream".into());
        };
        Ok(Self {
            requests,
            responses,
            batch,
            credits: opened.credits,
            sent: 0,
            acknowledged: 0,
            position: 0,
            under_way: VecDeque::new(),
        })
    }

    async fn send(&mut self, count: u64) -> Outcome<()> {
        let events = (self.sent..self.sent + count).map(event).collect();
        let batch = EventBatch {
            first_sequence: self.sent + 1,
            events,
        };
        self.sent += count;
        self.under_way.push_back((self.sent, Instant::now()));
        let kind = Some(stream_request::Kind::Batch(batch));
        Ok(self.requests.send(StreamRequest { kind }).await?)
    }

    /// Takes acknowledgements and adds how long each batch took.
    async fn acknowledgements(&mut self, took: &mut Vec<Duration>, wait: Wait) -> Outcome<()> {
        loop {
            let open = self.sent - self.acknowledged;
            let enough = match wait {
                Wait::ForCredits => open + self.batch <= self.credits,
                Wait::ForAll => open == 0,
            };
            if enough {
                return Ok(());
            }
            let response = self.responses.message().await?.and_then(|r| r.kind);
            let Some(stream_response::Kind::Ack(ack)) = response else {
                return Err("the gateway ended the stream".into());
            };
            self.acknowledged = ack.last_sequence;
            self.position = ack.log_position;
            while let Some((last, at)) = self.under_way.front()
                && *last <= self.acknowledged
            {
                took.push(at.elapsed());
                self.under_way.pop_front();
            }
        }
    }

    /// Sends at `rate` for `span`, what `linger` collects in a batch; asks for a list that contains the
    /// last event after each batch, where `visible` says so.
    async fn steady(
        &mut self,
        rate: u64,
        linger: Duration,
        span: Duration,
        mut visible: Option<(&RecommendationsClient<Channel>, &mut Vec<Duration>)>,
    ) -> Outcome<()> {
        let begin = Instant::now();
        let batch = (rate as f64 * linger.as_secs_f64()).round() as u64;
        let mut due = begin;
        let mut ignored = Vec::new();
        while due < begin + span {
            sleep_until(due).await;
            let sending = Instant::now();
            self.send(batch.clamp(1, self.credits)).await?;
            self.acknowledgements(&mut ignored, Wait::ForAll).await?;
            if let Some((lists, took)) = &mut visible {
                let user = self.sent - 1;
                list(&mut (*lists).clone(), user, self.position).await?;
                took.push(sending.elapsed());
            }
            due += linger;
        }
        Ok(())
    }
}

async fn list(lists: &mut RecommendationsClient<Channel>, n: u64, after: u64) -> Outcome<usize> {
    let request = RecommendRequest {
        user_id: Event::nth(n).user.as_str().to_owned(),
        k: 20,
        min_position: after,
    };
    let list = lists.recommend(request).await?.into_inner();
    Ok(list.recommendations.len())
}

/// What the requests of a phase are.
#[derive(Debug, Clone, Copy)]
enum Ask {
    List,
    /// A list without end, which the gateway refuses before it asks anybody.
    Nothing,
}

async fn ask(lists: &mut RecommendationsClient<Channel>, n: u64, what: Ask) -> Outcome<()> {
    match what {
        Ask::List => list(lists, n, 0).await.map(drop),
        Ask::Nothing => {
            let request = RecommendRequest {
                user_id: Event::nth(n).user.as_str().to_owned(),
                k: u32::MAX,
                min_position: 0,
            };
            match lists.recommend(request).await {
                Err(refused) if refused.code() == Code::InvalidArgument => Ok(()),
                Err(error) => Err(error.into()),
                Ok(_) => Err("a list without end was not refused".into()),
            }
        }
    }
}

/// When requests are due, from a thread of its own: the runtime's timer knows whole milliseconds only,
/// and how late it is would be measured along.
#[expect(
    clippy::disallowed_methods,
    reason = "a thread that does nothing but wait for the next instant"
)]
fn due_instants(rate: u64, span: Duration) -> Outcome<mpsc::Receiver<Instant>> {
    let period = Duration::from_secs(1) / u32::try_from(rate)?;
    let (instants, due) = mpsc::channel(1_000);
    let begin = Instant::now();
    std::thread::Builder::new()
        .name("pace".to_owned())
        .spawn(move || {
            let mut next = begin;
            while next < begin + span {
                std::thread::sleep(next.saturating_duration_since(Instant::now()));
                if instants.blocking_send(next).is_err() {
                    return;
                }
                next += period;
            }
        })?;
    Ok(due)
}

/// Asks at `rate`; a request that starts late counts from when it was due.
async fn steady_requests(
    lists: &RecommendationsClient<Channel>,
    rate: u64,
    span: Duration,
    what: Ask,
) -> Outcome<Vec<Duration>> {
    let mut due_instants = due_instants(rate, span)?;
    let mut asked = JoinSet::new();
    let mut took = Vec::new();
    let mut n = 0;
    while let Some(due) = due_instants.recv().await {
        let mut lists = lists.clone();
        asked.spawn(async move {
            ask(&mut lists, n, what).await?;
            Outcome::Ok(due.elapsed())
        });
        n += 1;
        while let Some(done) = asked.try_join_next() {
            took.push(done??);
        }
    }
    while let Some(done) = asked.join_next().await {
        took.push(done??);
    }
    Ok(took)
}

/// Asks again as soon as there is an answer, `concurrency` times at once.
async fn saturate(
    lists: &RecommendationsClient<Channel>,
    concurrency: u64,
    span: Duration,
    what: Ask,
) -> Outcome<(Vec<Duration>, f64)> {
    let begin = Instant::now();
    let mut askers = JoinSet::new();
    for asker in 0..concurrency {
        let mut lists = lists.clone();
        askers.spawn(async move {
            let mut took = Vec::new();
            let mut n = asker;
            while begin.elapsed() < span {
                let asked = Instant::now();
                ask(&mut lists, n, what).await?;
                took.push(asked.elapsed());
                n += concurrency;
            }
            Outcome::Ok(took)
        });
    }
    let mut all = Vec::new();
    while let Some(asker) = askers.join_next().await {
        all.extend(asker??);
    }
    let per_second = all.len() as f64 / begin.elapsed().as_secs_f64();
    Ok((all, per_second))
}

fn event(n: u64) -> UserEvent {
    let event = Event::nth(n);
    UserEvent {
        user_id: event.user.as_str().to_owned(),
        item_id: event.item.as_str().to_owned(),
        event_type: [
            EventType::View,
            EventType::Click,
            EventType::Like,
            EventType::Purchase,
        ][event.kind as usize]
            .into(),
        timestamp_ms: event.timestamp,
        ..UserEvent::default()
    }
}

fn percentiles(mut took: Vec<Duration>) -> Latency {
    took.sort_unstable();
    let at = |share: f64| {
        let rank = (took.len() as f64 * share) as usize;
        let longest = took.len().saturating_sub(1);
        took.get(rank.min(longest))
            .map_or(0.0, Duration::as_secs_f64)
            * 1e3
    };
    Latency {
        p50: at(0.5),
        p99: at(0.99),
        p999: at(0.999),
        max: at(1.0),
    }
}

/// A figure of this process, client and gateway together, in MB; Linux only.
fn memory(name: &str) -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .and_then(|rest| rest.split_whitespace().next())
        .ok_or("no such figure")?
        .parse()?;
    Ok(kib * 1024.0 / 1e6)
}
