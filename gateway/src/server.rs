//! A gateway from its start to its orderly end.

use crate::{
    catalogue::ItemCatalogue,
    config::Config,
    data_dir::DataDir,
    dead_letters::DeadLetters,
    error::{Error, Result, chain},
    gateway::Gateway,
    hub::Hub,
    job::Job,
    log::{IngestLog, LogOptions},
    proto::{
        DESCRIPTORS,
        v1::{
            Status, admin_server::AdminServer, catalog_server::CatalogServer,
            ingest_server::IngestServer, recommendations_server::RecommendationsServer,
            steering_server::SteeringServer,
        },
    },
    service::{AdminService, CatalogService, IngestService, RecommendService, SteeringService},
};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use time_engine::{Clock, SystemClock};
use tokio::{net::TcpListener, task::JoinHandle};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::server::TcpIncoming;

/// How long open calls may take to end once everything is safe.
const LAST_CALLS: Duration = Duration::from_secs(2);

/// A running gateway. [`Server::run_until`] ends it in good order; dropping it is as good as a kill,
/// after which the next start goes on from the log and the newest checkpoint.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    address: SocketAddr,
    /// Ends the listener and the connections.
    hang_up: CancellationToken,
    serving: JoinHandle<Result<()>>,
    letters: std::thread::JoinHandle<()>,
    health: tonic_health::server::HealthReporter,
    _dir: DataDir,
}

impl Server {
    /// Opens the data directory, restores the job from the newest checkpoint and listens on
    /// `config.listen`.
    ///
    /// # Errors
    /// [`Error::Config`]; [`Error::Locked`] when another process has the directory; what the log, the
    /// checkpoints or the job cannot be opened for.
    pub async fn start(config: Config) -> Result<Self> {
        let listener = TcpListener::bind(config.listen)
            .await
            .map_err(Error::io("listen on", config.listen.to_string()))?;
        Self::start_on(config, listener).await
    }

    /// [`Server::start`] on a listener that is there already.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub async fn start_on(config: Config, listener: TcpListener) -> Result<Self> {
        config.validate()?;
        let address = listener
            .local_addr()
            .map_err(Error::io("listen on", config.listen.to_string()))?;
        let opened = tokio::task::spawn_blocking(move || open(config)).await;
        let (gateway, dir, letters) =
            opened.map_err(|_| Error::Config("the start panicked".to_owned()))??;
        let gateway = Arc::new(gateway);
        gateway.job.runs().await?;
        if let Some(file) = gateway.config.catalog.file.clone() {
            let catalogue = gateway.catalogue.clone();
            let news = tokio::task::spawn_blocking(move || catalogue.news_in(&file)).await;
            let news = news.map_err(|_| Error::ShuttingDown)??;
            for part in news.chunks(1_000) {
                gateway.upsert_items(part.to_vec()).await?;
            }
        }
        let hang_up = CancellationToken::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let reflection_alpha = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let described = |error: tonic_reflection::server::Error| Error::Config(error.to_string());
        let limits = &gateway.config.limits;
        let message = usize::try_from(limits.message.0).unwrap_or(usize::MAX);
        let router = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(Duration::from_secs(30)))
            .http2_keepalive_timeout(Some(Duration::from_secs(20)))
            .initial_stream_window_size(1 << 20)
            .initial_connection_window_size(4 << 20)
            .max_concurrent_streams(limits.streams_per_connection)
            .add_service(health_service)
            .add_service(reflection.build_v1().map_err(described)?)
            .add_service(reflection_alpha.build_v1alpha().map_err(described)?)
            .add_service(
                IngestServer::new(IngestService(Arc::clone(&gateway)))
                    .max_decoding_message_size(message),
            )
            .add_service(
                CatalogServer::new(CatalogService(Arc::clone(&gateway)))
                    .max_decoding_message_size(message),
            )
            .add_service(RecommendationsServer::new(RecommendService(Arc::clone(
                &gateway,
            ))))
            .add_service(
                SteeringServer::new(SteeringService(Arc::clone(&gateway)))
                    .max_decoding_message_size(message),
            )
            .add_service(
                AdminServer::new(AdminService(Arc::clone(&gateway)))
                    .max_decoding_message_size(message),
            );
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let ends = hang_up.clone().cancelled_owned();
        let serving = tokio::spawn(async move {
            router
                .serve_with_incoming_shutdown(incoming, ends)
                .await
                .map_err(Error::from)
        });
        report(&health, tonic_health::ServingStatus::Serving).await;
        Ok(Self {
            gateway,
            address,
            hang_up,
            serving,
            letters,
            health,
            _dir: dir,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How it is doing.
    pub fn status(&self) -> Status {
        self.gateway.status()
    }

    /// Serves until `shutdown` is ready, then stops in good order: takes nothing more, processes what it
    /// took, takes a final checkpoint, tells the streams why they end.
    ///
    /// # Errors
    /// What ended it early: a log that can no longer be written, a job that failed for good; or that
    /// the orderly end did not succeed within the deadline. What was acknowledged is safe in each case.
    pub async fn run_until(self, shutdown: impl Future<Output = ()>) -> Result<()> {
        let mut log_stopped = self.gateway.log.watch_stopped();
        let job = tokio::task::spawn_blocking(self.gateway.job.waiter());
        let mut early = None;
        tokio::select! {
            () = shutdown => {}
            Ok(reason) = log_stopped.wait_for(Option::is_some) => {
                early = Some(Error::LogStopped(reason.clone().unwrap_or_default()));
            }
            ended = job => {
                early = Some(match ended {
                    Ok(Err(error)) => error,
                    _ => Error::Config("the job ended by itself".to_owned()),
                });
            }
        }
        if let Some(error) = &early {
            tracing::error!(error = %chain(error), "stopping");
        }
        let deadline = self.gateway.config.shutdown_deadline;
        let detached = self.gateway.job.detacher();
        let mut stopping = std::pin::pin!(self.stop());
        let stopped = tokio::select! {
            stopped = &mut stopping => stopped,
            () = tokio::time::sleep(deadline) => {
                // Nothing here waits for its threads any more.
                detached();
                Err(Error::ShutdownDeadline(deadline))
            }
        };
        early.map_or(stopped, Err)
    }

    async fn stop(self) -> Result<()> {
        let Self {
            gateway,
            hang_up,
            mut serving,
            letters,
            health,
            ..
        } = self;
        report(&health, tonic_health::ServingStatus::NotServing).await;
        gateway.closing.cancel();
        gateway.tasks.close();
        gateway.tasks.wait().await;
        gateway.log.close().await;
        let end = gateway.log.stats().end;
        tracing::info!(
            position = end,
            "taking nothing more; finishing what was taken"
        );
        // The other half is for the final checkpoint and the last calls.
        let patience = gateway.config.shutdown_deadline / 2;
        let finished = gateway.job.finish(end, patience).await;
        gateway.hub.close("the gateway is shutting down");
        hang_up.cancel();
        if tokio::time::timeout(LAST_CALLS, &mut serving)
            .await
            .is_err()
        {
            // A client that does not hang up must not keep the process.
            serving.abort();
        }
        drop(gateway);
        // Ends with the last sender, which the aborted calls may still hold for a moment.
        if letters.is_finished() {
            let _panicked = letters.join();
        }
        finished
    }
}

/// Serves on a listener until `shutdown` is ready.
///
/// # Errors
/// As for [`Server::start`] and [`Server::run_until`].
pub async fn serve(
    config: Config,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    Server::start_on(config, listener)
        .await?
        .run_until(shutdown)
        .await
}

fn open(config: Config) -> Result<(Gateway, DataDir, std::thread::JoinHandle<()>)> {
    let dir = DataDir::open(&config.data_dir)?;
    let options = LogOptions::default()
        .with_segment_bytes(config.log.segment.0)
        .with_max_producers(config.log.max_producers);
    let log = IngestLog::open(&dir.log(), options)?;
    let catalogue = ItemCatalogue::open(dir.catalogue())?;
    let (letters, letters_thread) =
        DeadLetters::open(dir.dead_letters(), config.limits.dead_letters.0)?;
    let limits = &config.limits;
    let hub = Arc::new(Hub::new(limits.subscribers, limits.subscriber_queue));
    let job = Job::start(&config, &dir, &log, &catalogue, &hub)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
    let gateway = Gateway {
        started: clock.elapsed(),
        clock,
        config,
        log,
        letters,
        catalogue,
        hub,
        job,
        closing: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    Ok((gateway, dir, letters_thread))
}

async fn report(
    health: &tonic_health::server::HealthReporter,
    status: tonic_health::ServingStatus,
) {
    for service in [
        "",
        "weir.v1.Ingest",
        "weir.v1.Recommendations",
        "weir.v1.Catalog",
        "weir.v1.Steering",
        "weir.v1.Admin",
    ] {
        health.set_service_status(service, status).await;
    }
}
