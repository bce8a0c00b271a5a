//! Ingest: validate, make durable, acknowledge.

use super::responses::{NotSent, Responder, Responses, responses};
use crate::{
    convert,
    dead_letters::DeadLetter,
    error::Error,
    gateway::Gateway,
    log::{Appended, Request as LogRequest},
    proto::{
        log::{Entry, entry},
        v1::{
            Ack, Closing, EventBatch, FieldViolation, InvalidEvents, Open, Opened, Rejection,
            SendRequest, SendResponse, StreamRequest, StreamResponse, UserEvent,
            ingest_server::Ingest, stream_request, stream_response,
        },
    },
    status::{invalid, invalid_field, later},
};
use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};
use tonic::{Code, Request, Response, Status, Streaming};

/// Rejections described in one acknowledgement.
const DESCRIBED: usize = 100;
/// How long a client may take to say who it is.
const OPENING: Duration = Duration::from_secs(10);
/// Acknowledgements waiting to be read by a client.
const WAITING_ACKS: usize = 16;
/// Bytes of a batch that clients are asked to stay below.
const BATCH_BYTES: u32 = 1 << 20;

/// The service.
#[derive(Debug)]
pub(crate) struct IngestService(pub(crate) Arc<Gateway>);

#[tonic::async_trait]
impl Ingest for IngestService {
    type StreamStream = Responses<StreamResponse>;

    async fn stream(
        &self,
        request: Request<Streaming<StreamRequest>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let gateway = Arc::clone(&self.0);
        let (responder, stream) = responses(WAITING_ACKS);
        let incoming = request.into_inner();
        // The answer's headers go out at once; everything else happens beside it.
        self.0.tasks.spawn(async move {
            let outcome = serve(&gateway, incoming, &responder).await;
            match outcome {
                Ok(()) => {}
                Err(status) => responder.end(status),
            }
        });
        Ok(Response::new(stream))
    }

    async fn send(&self, request: Request<SendRequest>) -> Result<Response<SendResponse>, Status> {
        let gateway = &self.0;
        if gateway.closing.is_cancelled() {
            return Err(Error::ShuttingDown.into());
        }
        let SendRequest {
            producer_id,
            first_sequence,
            events,
        } = request.into_inner();
        if !producer_id.is_empty() {
            check_producer(&producer_id)?;
            if first_sequence == 0 {
                return Err(invalid_field("first_sequence", "numbers begin at 1"));
            }
        }
        check_length(gateway, events.len())?;
        let batch = EventBatch {
            first_sequence,
            events,
        };
        let checked = check(gateway, &producer_id, batch, InvalidEvents::Fail)?;
        let sent = checked.request.slots.len();
        gateway.wait_for_job().await?;
        let appended = gateway.log.append(checked.request).await?;
        Ok(Response::new(SendResponse {
            last_sequence: appended.last_sequence,
            log_position: appended.position,
            accepted: u32::try_from(sent).unwrap_or(u32::MAX) - appended.duplicates,
            duplicates: appended.duplicates,
        }))
    }
}

type Durable = Pin<Box<dyn Future<Output = crate::Result<Appended>> + Send>>;

/// A batch on its way to the disk.
struct UnderWay {
    durable: Durable,
    events: usize,
    rejected: u32,
    rejections: Vec<Rejection>,
}

/// Serves one stream until it ends; an error is how it ends.
async fn serve(
    gateway: &Gateway,
    mut incoming: Streaming<StreamRequest>,
    responder: &Responder<StreamResponse>,
) -> Result<(), Status> {
    let open = opening(&mut incoming).await?;
    let on_invalid = InvalidEvents::try_from(open.invalid_events).unwrap_or_default();
    let limits = &gateway.config.limits;
    let opened = Opened {
        last_sequence: gateway.log.last_sequence(&open.producer_id).await?,
        credits: limits.in_flight.into(),
        max_batch_events: limits.batch_events,
        max_batch_bytes: BATCH_BYTES,
    };
    reply(gateway, responder, stream_response::Kind::Opened(opened)).await?;
    let mut under_way: VecDeque<UnderWay> = VecDeque::new();
    let mut events = 0;
    // `None` while reading goes on; then how the stream ends when all acknowledgements are out.
    let mut end: Option<Result<(), Status>> = None;
    loop {
        if under_way.is_empty()
            && let Some(end) = end
        {
            return end;
        }
        // A client beyond its credits is not read from: its own window fills, and it waits.
        let reading = end.is_none() && events < limits.in_flight as usize;
        tokio::select! {
            biased;
            result = front(&mut under_way), if !under_way.is_empty() => {
                let Some(batch) = under_way.pop_front() else { continue };
                events -= batch.events;
                let appended = result?;
                let ack = Ack {
                    last_sequence: appended.last_sequence,
                    credits: limits.in_flight.into(),
                    log_position: appended.position,
                    duplicates: appended.duplicates,
                    rejected: batch.rejected,
                    rejections: batch.rejections,
                };
                reply(gateway, responder, stream_response::Kind::Ack(ack)).await?;
            }
            () = gateway.closing.cancelled(), if end.is_none() => {
                end = Some(closing(gateway, responder, &mut under_way).await);
            }
            () = responder.gone() => return Ok(()),
            message = incoming.message(), if reading => {
                match message {
                    Ok(None) => end = Some(Ok(())),
                    // The client broke off; nobody is there to hear a status.
                    Err(status) => end = Some(Err(status)),
                    Ok(Some(message)) => match accept(gateway, &open, on_invalid, message).await {
                        Ok(batch) => {
                            events += batch.events;
                            under_way.push_back(batch);
                        }
                        Err(status) => end = Some(Err(status)),
                    },
                }
            }
        }
    }
}

async fn front(under_way: &mut VecDeque<UnderWay>) -> crate::Result<Appended> {
    match under_way.front_mut() {
        Some(batch) => (&mut batch.durable).await,
        None => std::future::pending().await,
    }
}

async fn opening(incoming: &mut Streaming<StreamRequest>) -> Result<Open, Status> {
    let first = tokio::time::timeout(OPENING, incoming.message())
        .await
        .map_err(|_| Status::deadline_exceeded("no `open` within 10 s"))??;
    match first.and_then(|message| message.kind) {
        Some(stream_request::Kind::Open(open)) => {
            check_producer(&open.producer_id)?;
            Ok(open)
        }
        _ => Err(Status::failed_precondition(
            "the first message must be `open`",
        )),
    }
}

/// Checks a message and hands its batch to the log.
async fn accept(
    gateway: &Gateway,
    open: &Open,
    on_invalid: InvalidEvents,
    message: StreamRequest,
) -> Result<UnderWay, Status> {
    let batch = match message.kind {
        Some(stream_request::Kind::Batch(batch)) => batch,
        Some(stream_request::Kind::Open(_)) => {
            return Err(Status::failed_precondition("`open` comes once, first"));
        }
        None => return Err(Status::invalid_argument("a message of no known kind")),
    };
    check_length(gateway, batch.events.len())?;
    if batch.first_sequence == 0 {
        return Err(invalid_field("first_sequence", "numbers begin at 1"));
    }
    let events = batch.events.len();
    let checked = check(gateway, &open.producer_id, batch, on_invalid)?;
    gateway.wait_for_job().await?;
    let durable = gateway.log.submit(checked.request).await?;
    Ok(UnderWay {
        durable: Box::pin(durable),
        events,
        rejected: checked.rejected,
        rejections: checked.rejections,
    })
}

/// Acknowledges what was accepted, then says why the stream ends.
async fn closing(
    gateway: &Gateway,
    responder: &Responder<StreamResponse>,
    under_way: &mut VecDeque<UnderWay>,
) -> Result<(), Status> {
    while let Some(batch) = under_way.pop_front() {
        let appended = batch.durable.await?;
        let ack = Ack {
            last_sequence: appended.last_sequence,
            credits: 0,
            log_position: appended.position,
            duplicates: appended.duplicates,
            rejected: batch.rejected,
            rejections: batch.rejections,
        };
        reply(gateway, responder, stream_response::Kind::Ack(ack)).await?;
    }
    let reason = Error::ShuttingDown.to_string();
    let closing = Closing {
        reason: reason.clone(),
    };
    reply(gateway, responder, stream_response::Kind::Closing(closing)).await?;
    Err(later(Code::Unavailable, reason, Duration::from_secs(1)))
}

async fn reply(
    gateway: &Gateway,
    responder: &Responder<StreamResponse>,
    kind: stream_response::Kind,
) -> Result<(), Status> {
    let message = StreamResponse { kind: Some(kind) };
    responder
        .send(message, gateway.config.limits.stalled)
        .await
        .map_err(|why| match why {
            NotSent::Gone => Status::cancelled("the client has gone"),
            NotSent::Full => {
                Status::resource_exhausted("the client does not read acknowledgements")
            }
        })
}

fn check_producer(id: &str) -> Result<(), Status> {
    if id.is_empty() || id.len() > 128 || id.chars().any(char::is_control) {
        return Err(invalid_field(
            "producer_id",
            "1 to 128 bytes without control characters are needed",
        ));
    }
    Ok(())
}

fn check_length(gateway: &Gateway, events: usize) -> Result<(), Status> {
    let most = gateway.config.limits.batch_events;
    if events > most as usize {
        return Err(invalid_field(
            "events",
            format!("{events} in one batch, at most {most}"),
        ));
    }
    Ok(())
}

/// A batch ready for the log.
struct Checked {
    request: LogRequest,
    rejected: u32,
    rejections: Vec<Rejection>,
}

/// Sorts out what cannot be taken.
fn check(
    gateway: &Gateway,
    producer: &str,
    batch: EventBatch,
    on_invalid: InvalidEvents,
) -> Result<Checked, Status> {
    let limits = gateway.config.limits.event_limits();
    let now = gateway.clock.now().as_millis();
    let catalogue = gateway.catalogue.read();
    let mut slots = Vec::with_capacity(batch.events.len());
    let mut bad: Vec<(usize, UserEvent, Vec<FieldViolation>)> = Vec::new();
    for (index, event) in batch.events.into_iter().enumerate() {
        let violations = convert::violations(&event, &limits, now);
        if violations.is_empty() {
            let category = catalogue.category(&event.item_id).to_owned();
            let kind = Some(entry::Kind::Event(event));
            slots.push(Some(Entry { kind, category }));
        } else {
            bad.push((index, event, violations));
            slots.push(None);
        }
    }
    drop(catalogue);
    if on_invalid == InvalidEvents::Fail && !bad.is_empty() {
        let count = bad.len();
        let violations = bad.into_iter().flat_map(|(index, _, violations)| {
            violations.into_iter().map(move |violation| FieldViolation {
                field: format!("events[{index}].{}", violation.field),
                description: violation.description,
            })
        });
        return Err(invalid(
            format!(
                "{count} of {} events are not valid; none was taken",
                slots.len()
            ),
            violations.collect(),
        ));
    }
    let rejected = u32::try_from(bad.len()).unwrap_or(u32::MAX);
    let mut rejections = Vec::new();
    for (index, event, violations) in bad {
        let sequence = batch.first_sequence + index as u64;
        if rejections.len() < DESCRIBED {
            rejections.push(Rejection {
                sequence,
                violations: violations.clone(),
            });
        }
        let producer = producer.to_owned();
        gateway.letters.put(DeadLetter {
            producer,
            sequence,
            event,
            violations,
        });
    }
    let request = LogRequest {
        producer: producer.to_owned(),
        first_sequence: batch.first_sequence,
        slots,
    };
    Ok(Checked {
        request,
        rejected,
        rejections,
    })
}
