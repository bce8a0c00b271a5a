use crate::{
    error::{Error, Result, chain, is_transient},
    proto::v1::{
        Ack, EventBatch, InvalidEvents, Open, Rejection, StreamRequest, StreamResponse, UserEvent,
        ingest_client::IngestClient, stream_request, stream_response,
    },
};
use prost::Message;
use std::{collections::VecDeque, time::Duration};
use tokio::{sync::mpsc, time::Instant};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Endpoint};

/// How a [`Producer`] behaves.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ProducerOptions {
    /// Names the producer to the gateway, which remembers how far it came. No two clients may use the
    /// same at one time.
    pub producer_id: String,
    /// Whether a bad event is set aside or ends the stream.
    pub invalid_events: InvalidEvents,
    /// Events under way without acknowledgement, at most; the gateway may grant fewer.
    pub max_in_flight: u64,
    /// How long to try again after the connection broke.
    pub reconnect_for: Duration,
    /// How long an answer may take before the connection counts as broken.
    pub silence: Duration,
}

impl ProducerOptions {
    /// The defaults for a producer of this name.
    pub fn new(producer_id: impl Into<String>) -> Self {
        Self {
            producer_id: producer_id.into(),
            invalid_events: InvalidEvents::DeadLetter,
            max_in_flight: 16_384,
            reconnect_for: Duration::from_secs(30),
            silence: Duration::from_secs(30),
        }
    }

    /// Sets what becomes of bad events.
    #[must_use]
    pub fn with_invalid_events(mut self, invalid_events: InvalidEvents) -> Self {
        self.invalid_events = invalid_events;
        self
    }

    /// Sets how many events may be under way.
    #[must_use]
    pub fn with_max_in_flight(mut self, events: u64) -> Self {
        self.max_in_flight = events.max(1);
        self
    }

    /// Sets how long to try to connect again.
    #[must_use]
    pub fn with_reconnect_for(mut self, time: Duration) -> Self {
        self.reconnect_for = time;
        self
    }
}

/// What a [`Producer`] has seen.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ProducerStats {
    /// The last number acknowledged.
    pub acknowledged: u64,
    /// Events the gateway set aside.
    pub rejected: u64,
    /// Events the gateway had taken before.
    pub duplicates: u64,
    /// Times the connection was made again.
    pub reconnects: u64,
    /// The position in the gateway's log after the last acknowledged event.
    pub log_position: u64,
    /// The first few events set aside, and why.
    pub rejections: Vec<Rejection>,
}

/// Rejections kept in [`ProducerStats`].
const KEPT_REJECTIONS: usize = 20;

#[derive(Debug)]
struct Connection {
    requests: mpsc::Sender<StreamRequest>,
    responses: Streaming<StreamResponse>,
    credits: u64,
}

/// Sends events, each exactly once in effect: it numbers them, keeps those not yet acknowledged, and
/// sends them again when the connection broke.
#[derive(Debug)]
pub struct Producer {
    endpoint: Endpoint,
    address: String,
    options: ProducerOptions,
    connection: Option<Connection>,
    /// Batches not yet acknowledged, oldest first.
    unacknowledged: VecDeque<EventBatch>,
    /// How many of them went out on this connection.
    sent: usize,
    next_sequence: u64,
    max_batch_events: usize,
    max_batch_bytes: usize,
    stats: ProducerStats,
}

#[derive(Debug, Clone, Copy)]
enum Until {
    Sent,
    Acknowledged,
}

impl Producer {
    /// Connects and learns from the gateway how far this producer came.
    ///
    /// # Errors
    /// [`Error::Unreachable`] when no gateway answers within `reconnect_for`; [`Error::Refused`].
    pub async fn connect(address: &str, options: ProducerOptions) -> Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned())?
            .connect_timeout(Duration::from_secs(5))
            .http2_keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(20))
            .initial_stream_window_size(1 << 20)
            .tcp_nodelay(true);
        let mut producer = Self {
            endpoint,
            address: address.to_owned(),
            options,
            connection: None,
            unacknowledged: VecDeque::new(),
            sent: 0,
            next_sequence: 1,
            max_batch_events: usize::MAX,
            max_batch_bytes: usize::MAX,
            stats: ProducerStats::default(),
        };
        producer.reconnect().await?;
        producer.next_sequence = producer.stats.acknowledged + 1;
        Ok(producer)
    }

    /// The number the next event gets: one more than all that this producer ever sent.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// What has been seen so far.
    pub fn stats(&self) -> &ProducerStats {
        &self.stats
    }

    /// Events sent and not yet acknowledged.
    pub fn in_flight(&self) -> u64 {
        (self.next_sequence - 1).saturating_sub(self.stats.acknowledged)
    }

    /// Sends events; returns when they are on their way, waiting while too many are.
    ///
    /// # Errors
    /// [`Error::Unreachable`] after `reconnect_for`; [`Error::Refused`] when the gateway says that
    /// sending again is of no use.
    pub async fn send(&mut self, events: Vec<UserEvent>) -> Result<()> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        for event in events {
            let length = event.encoded_len() + 8;
            let full =
                batch.len() >= self.max_batch_events || bytes + length > self.max_batch_bytes;
            if full && !batch.is_empty() {
                self.push(std::mem::take(&mut batch));
                bytes = 0;
            }
            bytes += length;
            batch.push(event);
        }
        if !batch.is_empty() {
            self.push(batch);
        }
        self.pump(Until::Sent).await
    }

    /// Waits until everything sent is acknowledged.
    ///
    /// # Errors
    /// As for [`Producer::send`].
    pub async fn flush(&mut self) -> Result<()> {
        self.pump(Until::Acknowledged).await
    }

    /// Flushes and ends the stream in good order.
    ///
    /// # Errors
    /// As for [`Producer::send`].
    pub async fn close(mut self) -> Result<ProducerStats> {
        self.flush().await?;
        if let Some(connection) = self.connection.take() {
            drop(connection.requests);
            let mut responses = connection.responses;
            // Everything is acknowledged: how the stream ends no longer matters, and a gateway
            // that does not end it is not waited for.
            let ended = async { while let Ok(Some(_)) = responses.message().await {} };
            let _late = tokio::time::timeout(Duration::from_secs(1), ended).await;
        }
        Ok(self.stats)
    }

    fn push(&mut self, events: Vec<UserEvent>) {
        let first_sequence = self.next_sequence;
        self.next_sequence += events.len() as u64;
        self.unacknowledged.push_back(EventBatch {
            first_sequence,
            events,
        });
    }

    async fn pump(&mut self, until: Until) -> Result<()> {
        loop {
            let done = match until {
                Until::Sent => self.sent == self.unacknowledged.len(),
                Until::Acknowledged => self.unacknowledged.is_empty(),
            };
            if done {
                return self.take_ready().await;
            }
            match self.step().await {
                Ok(()) => {}
                Err(error) if may_try_again(&error) => {
                    tracing::debug!(error = %chain(&error), "connection lost");
                    self.connection = None;
                    self.reconnect().await?;
                    self.stats.reconnects += 1;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes one answer, or sends one batch if that is possible first.
    async fn step(&mut self) -> Result<()> {
        let Some(connection) = &mut self.connection else {
            return Err(Status::unavailable("not connected").into());
        };
        let next = self.unacknowledged.get(self.sent);
        let granted = connection.credits.min(self.options.max_in_flight);
        let allowed = next.is_some_and(|batch| {
            // One batch may always be under way, however long.
            self.sent == 0 || last_of(batch).saturating_sub(self.stats.acknowledged) <= granted
        });
        let response = tokio::select! {
            biased;
            response = connection.responses.message() => response,
            permit = connection.requests.reserve(), if allowed => {
                let Ok(permit) = permit else {
                    // The stream is over; the reason is in its status.
                    let status = connection.responses.message().await.err();
                    return Err(status.unwrap_or_else(|| Status::unavailable("ended")).into());
                };
                if let Some(batch) = next {
                    let kind = Some(stream_request::Kind::Batch(batch.clone()));
                    permit.send(StreamRequest { kind });
                    self.sent += 1;
                }
                return Ok(());
            }
            () = tokio::time::sleep(self.options.silence) => {
                return Err(Status::unavailable("the gateway went silent").into());
            }
        };
        match response? {
            Some(response) => self.receive(response),
            None => Err(Status::unavailable("the gateway ended the stream").into()),
        }
    }

    /// Takes the answers that are there already.
    async fn take_ready(&mut self) -> Result<()> {
        while let Some(connection) = &mut self.connection {
            let response = tokio::select! {
                biased;
                response = connection.responses.message() => response,
                () = std::future::ready(()) => return Ok(()),
            };
            match response {
                Ok(Some(response)) => match self.receive(response) {
                    Err(error) if may_try_again(&error) => self.connection = None,
                    other => other?,
                },
                // The next send finds out and connects again.
                Ok(None) | Err(_) => self.connection = None,
            }
        }
        Ok(())
    }

    fn receive(&mut self, response: StreamResponse) -> Result<()> {
        match response.kind {
            Some(stream_response::Kind::Ack(ack)) => self.acknowledge(ack),
            Some(stream_response::Kind::Closing(closing)) => {
                return Err(Status::unavailable(closing.reason).into());
            }
            Some(stream_response::Kind::Opened(_)) | None => {}
        }
        Ok(())
    }

    fn acknowledge(&mut self, ack: Ack) {
        if let Some(connection) = &mut self.connection {
            connection.credits = ack.credits;
        }
        self.stats.rejected += u64::from(ack.rejected);
        self.stats.duplicates += u64::from(ack.duplicates);
        self.stats.log_position = self.stats.log_position.max(ack.log_position);
        let room = KEPT_REJECTIONS.saturating_sub(self.stats.rejections.len());
        self.stats
            .rejections
            .extend(ack.rejections.into_iter().take(room));
        self.forget_up_to(ack.last_sequence);
    }

    fn forget_up_to(&mut self, last: u64) {
        self.stats.acknowledged = self.stats.acknowledged.max(last);
        while self
            .unacknowledged
            .front()
            .is_some_and(|batch| last_of(batch) <= last)
        {
            self.unacknowledged.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
    }

    /// Tries to connect until `reconnect_for` is over.
    async fn reconnect(&mut self) -> Result<()> {
        let started = Instant::now();
        let mut pause = Duration::from_millis(20);
        loop {
            let error = match self.open().await {
                Ok(connection) => {
                    self.connection = Some(connection);
                    return Ok(());
                }
                Err(error) if may_try_again(&error) => error,
                Err(error) => return Err(error),
            };
            let waited = started.elapsed();
            if waited >= self.options.reconnect_for {
                return Err(Error::Unreachable {
                    address: self.address.clone(),
                    waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
                    last: chain(&error),
                });
            }
            tokio::time::sleep(pause.min(self.options.reconnect_for - waited)).await;
            pause = (pause * 2).min(Duration::from_millis(500));
        }
    }

    async fn open(&mut self) -> Result<Connection> {
        let channel = self.endpoint.connect().await?;
        let (requests, outgoing) = mpsc::channel(4);
        let open = Open {
            producer_id: self.options.producer_id.clone(),
            invalid_events: self.options.invalid_events.into(),
        };
        let kind = Some(stream_request::Kind::Open(open));
        // There is room for four.
        let _queued = requests.try_send(StreamRequest { kind });
        let opening = async {
            let mut responses = IngestClient::new(channel)
                .stream(ReceiverStream::new(outgoing))
                .await?
                .into_inner();
            let first = responses.message().await?;
            Ok::<_, Status>((responses, first))
        };
        let (responses, first) = tokio::time::timeout(self.options.silence, opening)
            .await
            .map_err(|_| Status::unavailable("the gateway does not answer"))??;
        let opened = match first.and_then(|response| response.kind) {
            Some(stream_response::Kind::Opened(opened)) => opened,
            Some(stream_response::Kind::Closing(closing)) => {
                return Err(Status::unavailable(closing.reason).into());
            }
            _ => return Err(Status::unavailable("the stream did not open").into()),
        };
        self.max_batch_events = (opened.max_batch_events as usize).max(1);
        self.max_batch_bytes = (opened.max_batch_bytes as usize).max(1);
        self.sent = 0;
        self.forget_up_to(opened.last_sequence);
        Ok(Connection {
            requests,
            responses,
            credits: opened.credits,
        })
    }
}

/// The number of a batch's last event.
fn last_of(batch: &EventBatch) -> u64 {
    batch.first_sequence + batch.events.len() as u64 - 1
}

fn may_try_again(error: &Error) -> bool {
    match error {
        Error::Transport(_) => true,
        Error::Refused(status) => is_transient(status),
        _ => false,
    }
}
