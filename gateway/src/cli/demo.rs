//! `weir demo`: a gateway, a shop's traffic into it, recommendations out of it, all over gRPC.

use super::{
    CliError, CliResult,
    output::{block_on, display_name, instant, thousands},
};
use crate::{
    client::{Producer, ProducerOptions},
    config::{Backend, Config},
    demo::{Traffic, VISITORS, catalogue},
    error::{Error, Result, chain},
    proto::v1::{
        GetStatusRequest, Status, SubscribeRequest, UpsertItemsRequest, admin_client::AdminClient,
        catalog_client::CatalogClient, recommendations_client::RecommendationsClient,
        subscribe_response::Kind,
    },
    server::Server,
    shutdown,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};
use time_engine::{Clock, SystemClock};
use tokio::{net::TcpListener, sync::oneshot, time::Instant};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

/// Start a gateway, send it a shop's traffic, print live recommendations
///
/// Everything goes over gRPC, as it would from other machines. Runs until Ctrl-C, keeps its state, and
/// goes on from it when it is started again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Stop after so many seconds.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Stop after so many events.
    #[arg(long, value_name = "N")]
    events: Option<u64>,
    /// Events a second.
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Where the demo keeps its log, checkpoints and state.
    #[arg(long, value_name = "DIR", default_value = "weir-demo-data")]
    data_dir: PathBuf,
    /// Where working state lives.
    #[arg(long, value_enum, default_value_t = Backend::Redb)]
    backend: Backend,
    /// Address of the gRPC services; when it is taken, a free port is used.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7400")]
    listen: SocketAddr,
}

pub(crate) fn run(args: Args) -> CliResult {
    super::output::log_to_stderr("warn");
    block_on(demo(args))
}

async fn demo(args: Args) -> CliResult {
    let config = Config {
        data_dir: args.data_dir.clone(),
        backend: args.backend,
        ..Config::default()
    };
    let signal = shutdown::requested().map_err(Error::io("listen for", "signals"))?;
    let listener = listen(args.listen).await?;
    let server = Server::start_on(config, listener).await?;
    let to = format!("http://{}", server.address());
    println!(
        "weir is up at {to}: {} state in {}",
        args.backend,
        args.data_dir.display()
    );
    println!("In another terminal:");
    println!("  weir recommend --user ada --to {to}");
    println!("  weir profile   --user ada --to {to}");
    println!("  weir subscribe --user ada --user ben --to {to}");
    println!("Ctrl-C stops it; started again it goes on from its state.");
    println!();

    let stop = CancellationToken::new();
    let done = stop.clone();
    let (sold, closed) = oneshot::channel();
    let shopping = {
        let work = shop(to.clone(), args.rate, args.events, stop.clone());
        tokio::spawn(async move {
            let outcome = work.await;
            let _nobody = sold.send(());
            outcome
        })
    };
    let watching = tokio::spawn(watch(to.clone(), stop.clone()));
    let reporting = tokio::spawn(report(to, stop.clone()));
    let limit = args.seconds.map(Duration::from_secs);
    let over = async move {
        tokio::select! {
            () = signal => {}
            () = after(limit) => {}
            // All events are sent, or sending failed.
            () = done.cancelled() => {}
        }
    };
    let outcome = server
        .run_until(async {
            over.await;
            stop.cancel();
            println!("\nstopping: finishing what was accepted, then a final checkpoint");
            // What is under way is acknowledged before the gateway stops taking events.
            let _late = tokio::time::timeout(Duration::from_secs(5), closed).await;
        })
        .await;
    stop.cancel();
    let sent = shopping
        .await
        .map_err(|_| CliError::Failed("the shop panicked".to_owned()))?;
    for ended in [watching.await, reporting.await] {
        if let Ok(Err(error)) = ended {
            tracing::debug!(error = %chain(&error), "a stream of the demo ended");
        }
    }
    outcome?;
    println!("stopped; {} events sent and acknowledged", thousands(sent?));
    Ok(())
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            println!("{address} is taken; using a free port");
            TcpListener::bind(SocketAddr::new(address.ip(), 0)).await
        }
        other => other,
    }
    .map_err(Error::io("listen on", address.to_string()))
}

/// Sends the traffic; how many events were acknowledged.
async fn shop(to: String, rate: u64, events: Option<u64>, stop: CancellationToken) -> Result<u64> {
    let _stops = stop.clone().drop_guard();
    let clock = SystemClock::new();
    let channel = Channel::from_shared(to.clone())
        .map_err(|error| Error::Config(error.to_string()))?
        .connect()
        .await?;
    CatalogClient::new(channel)
        .upsert_items(UpsertItemsRequest { items: catalogue() })
        .await?;
    let mut producer = Producer::connect(&to, ProducerOptions::new("demo")).await?;
    let before = producer.stats().acknowledged;
    // Other visits than last time.
    let mut traffic = Traffic::new(before);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let started = Instant::now();
    let mut sent = 0;
    while !stop.is_cancelled() && events.is_none_or(|most| sent < most) {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => break,
        }
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        let due = due
            .min(events.unwrap_or(u64::MAX))
            .saturating_sub(sent)
            .min(rate);
        let now = clock.now().as_millis();
        let batch: Vec<_> = (0..due).map(|_| traffic.next(now)).collect();
        sent += batch.len() as u64;
        producer.send(batch).await?;
    }
    let stats = producer.close().await?;
    Ok(stats.acknowledged - before)
}

/// Prints some of the lists as they are streamed.
async fn watch(to: String, stop: CancellationToken) -> Result<()> {
    let channel = Channel::from_shared(to)
        .map_err(|error| Error::Config(error.to_string()))?
        .connect()
        .await?;
    let request = SubscribeRequest {
        user_ids: VISITORS.iter().map(|user| (*user).to_owned()).collect(),
        k: 3,
        after_position: 0,
    };
    let mut stream = RecommendationsClient::new(channel)
        .subscribe(request)
        .await?
        .into_inner();
    let mut next = Instant::now();
    loop {
        let message = tokio::select! {
            message = stream.message() => message?,
            () = stop.cancelled() => return Ok(()),
        };
        let Some(message) = message else {
            return Ok(());
        };
        match message.kind {
            // All of them would be too many to read.
            Some(Kind::Update(update)) if Instant::now() >= next => {
                if update.recommendations.is_empty() {
                    continue;
                }
                next = Instant::now() + Duration::from_millis(400);
                let list: Vec<String> = update
                    .recommendations
                    .iter()
                    .map(|item| format!("{} ({})", display_name(item), item.reason))
                    .collect();
                println!("  {:<5} {}", update.user_id, list.join(", "));
            }
            Some(Kind::Closing(closing)) => {
                println!("  the stream of recommendations ended: {}", closing.reason);
                return Ok(());
            }
            _ => {}
        }
    }
}

/// A line a second.
async fn report(to: String, stop: CancellationToken) -> Result<()> {
    let channel = Channel::from_shared(to)
        .map_err(|error| Error::Config(error.to_string()))?
        .connect()
        .await?;
    let mut client = AdminClient::new(channel);
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    let mut before: Option<(Instant, u64)> = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = stop.cancelled() => return Ok(()),
        }
        let status = client.get_status(GetStatusRequest {}).await?.into_inner();
        let now = Instant::now();
        if let Some((at, position)) = before {
            let events = status.processed_position.saturating_sub(position);
            let rate = events as f64 / now.duration_since(at).as_secs_f64();
            println!("{}", line(&status, rate));
        }
        before = Some((now, status.processed_position));
    }
}

fn line(status: &Status, rate: f64) -> String {
    let watermark = status
        .watermark_ms
        .map_or_else(|| "none yet".to_owned(), instant);
    let checkpoint = match &status.checkpoint {
        Some(last) if last.last_id > 0 => format!(
            "checkpoint {} ({} ms, {} KiB) at position {}",
            last.last_id,
            last.last_duration_ms,
            last.last_bytes / 1024,
            thousands(last.last_position),
        ),
        _ => "no checkpoint yet".to_owned(),
    };
    format!(
        "{rate:>7.0} events/s | {} in all | watermark {watermark} | {checkpoint}",
        thousands(status.processed_position),
    )
}
