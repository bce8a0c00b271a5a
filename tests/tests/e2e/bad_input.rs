//! Bad input and bad clients: a clear answer, and the gateway goes on with everything it accepted.

use crate::gateway_under_test::{Gateway, config, event};
use gateway::{
    Backend,
    client::{Producer, ProducerOptions},
    proto::v1::{
        CatalogItem, EventBatch, EventType, InvalidEvents, Open, SendRequest, StreamRequest,
        StreamResponse, SubscribeRequest, UpsertItemsRequest, UserEvent,
        catalog_client::CatalogClient, ingest_client::IngestClient,
        recommendations_client::RecommendationsClient, stream_request, stream_response,
    },
};
use std::time::Duration;
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Endpoint};
use tonic_types::StatusExt;

async fn start() -> (tempfile::TempDir, Gateway) {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), Backend::Memory);
    config.limits.stalled = Duration::from_millis(300);
    config.limits.subscriber_queue = 8;
    let gateway = Gateway::start(config).await;
    (dir, gateway)
}

/// One event for each thing that can be wrong with one, and the field to be named.
fn bad_events() -> Vec<(UserEvent, &'static str)> {
    let good = event("u", "i");
    let mut huge = good.clone();
    huge.metadata.insert("blob".into(), "x".repeat(10 << 20));
    vec![
        (
            UserEvent {
                user_id: String::new(),
                ..good.clone()
            },
            "user_id",
        ),
        (
            UserEvent {
                item_id: String::new(),
                ..good.clone()
            },
            "item_id",
        ),
        (
            UserEvent {
                item_id: "x".repeat(1_000),
                ..good.clone()
            },
            "item_id",
        ),
        (
            UserEvent {
                event_type: EventType::Unspecified.into(),
                ..good.clone()
            },
            "event_type",
        ),
        (
            UserEvent {
                event_type: 42,
                ..good.clone()
            },
            "event_type",
        ),
        (
            UserEvent {
                timestamp_ms: -1,
                ..good.clone()
            },
            "timestamp_ms",
        ),
        (
            UserEvent {
                timestamp_ms: i64::MAX,
                ..good.clone()
            },
            "timestamp_ms",
        ),
        (
            UserEvent {
                session_id: "a\u{0}b".into(),
                ..good
            },
            "session_id",
        ),
        (huge, "metadata"),
    ]
}

fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request();
    let violations = request
        .into_iter()
        .flat_map(|request| request.field_violations);
    violations.map(|violation| violation.field).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_events_are_set_aside_counted_and_named() {
    let (dir, gateway) = start().await;
    let mut producer = gateway.producer("p").await;
    let bad = bad_events();
    for (event_, _) in &bad {
        producer
            .send(vec![event("u", "i"), event_.clone()])
            .await
            .unwrap();
    }
    let stats = producer.close().await.unwrap();
    assert_eq!(stats.acknowledged, 2 * bad.len() as u64);
    assert_eq!(stats.rejected, bad.len() as u64);
    let named: Vec<&str> = stats
        .rejections
        .iter()
        .map(|r| r.violations[0].field.as_str())
        .collect();
    assert_eq!(
        named,
        bad.iter().map(|(_, field)| *field).collect::<Vec<_>>()
    );
    assert_eq!(stats.rejections[0].sequence, 2);
    assert_eq!(gateway.count("u").await, bad.len() as u64);
    assert_eq!(gateway.status().await.dead_letters, bad.len() as u64);
    gateway.stop().await;
    let letters = std::fs::read_to_string(dir.path().join("dead-letters.jsonl")).unwrap();
    assert_eq!(letters.lines().count(), bad.len());
    assert!(letters.len() < 20_000, "the letter of 10 MB is cut");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unary_call_and_a_strict_stream_refuse_the_batch_with_details() {
    let (_dir, gateway) = start().await;
    let mut client = IngestClient::connect(gateway.address.clone())
        .await
        .unwrap();
    for (bad, field) in bad_events() {
        let request = SendRequest {
            events: vec![event("u", "i"), bad],
            ..Default::default()
        };
        let status = client.send(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(fields(&status), [format!("events[1].{field}")]);
    }
    let options = ProducerOptions::new("p").with_invalid_events(InvalidEvents::Fail);
    let mut producer = Producer::connect(&gateway.address, options).await.unwrap();
    producer.send(vec![event("u", "i")]).await.unwrap();
    producer.flush().await.unwrap();
    producer
        .send(vec![event("u", "i"), event("", "i")])
        .await
        .unwrap();
    let error = producer.flush().await.unwrap_err();
    assert!(matches!(error, gateway::Error::Refused(_)), "{error}");
    assert_eq!(gateway.count("u").await, 1);

    let items = vec![CatalogItem {
        item_id: String::new(),
        ..Default::default()
    }];
    let mut catalog = CatalogClient::connect(gateway.address.clone())
        .await
        .unwrap();
    let status = catalog
        .upsert_items(UpsertItemsRequest { items })
        .await
        .unwrap_err();
    assert_eq!(fields(&status), ["items[0].item_id"]);
    gateway.stop().await;
}

/// A stream by hand, for clients that misbehave.
struct Raw {
    requests: mpsc::Sender<StreamRequest>,
    responses: Streaming<StreamResponse>,
}

impl Raw {
    async fn begin(address: &str, first: stream_request::Kind) -> Self {
        let channel = Endpoint::from_shared(address.to_owned())
            .unwrap()
            .initial_stream_window_size(65_535)
            .connect()
            .await
            .unwrap();
        let (requests, outgoing) = mpsc::channel(4);
        requests
            .send(StreamRequest { kind: Some(first) })
            .await
            .unwrap();
        let responses = IngestClient::new(channel)
            .stream(ReceiverStream::new(outgoing))
            .await
            .unwrap()
            .into_inner();
        Self {
            requests,
            responses,
        }
    }

    async fn open(address: &str, producer: &str) -> Self {
        let open = Open {
            producer_id: producer.to_owned(),
            ..Default::default()
        };
        let mut raw = Self::begin(address, stream_request::Kind::Open(open)).await;
        let first = raw.responses.message().await.unwrap().unwrap();
        assert!(
            matches!(first.kind, Some(stream_response::Kind::Opened(_))),
            "{first:?}"
        );
        raw
    }

    async fn batch(&self, first_sequence: u64, events: Vec<UserEvent>) -> Result<(), ()> {
        let kind = Some(stream_request::Kind::Batch(EventBatch {
            first_sequence,
            events,
        }));
        self.requests
            .send(StreamRequest { kind })
            .await
            .map_err(|_| ())
    }

    async fn end(mut self) -> Status {
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_of_the_protocol_ends_the_stream_with_a_status() {
    let (_dir, gateway) = start().await;
    let address = &gateway.address;
    let batch = stream_request::Kind::Batch(EventBatch::default());
    let status = Raw::begin(address, batch).await.end().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let nameless = stream_request::Kind::Open(Open::default());
    let status = Raw::begin(address, nameless).await.end().await;
    assert_eq!(fields(&status), ["producer_id"]);

    let raw = Raw::open(address, "gap").await;
    raw.batch(1, vec![event("u", "i")]).await.unwrap();
    raw.batch(3, vec![event("u", "i")]).await.unwrap();
    let status = raw.end().await;
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().unwrap();
    assert_eq!(
        (
            info.reason.as_str(),
            info.metadata["expected_sequence"].as_str()
        ),
        ("SEQUENCE_GAP", "2")
    );

    let raw = Raw::open(address, "long").await;
    raw.batch(1, vec![event("u", "i"); 5_001]).await.unwrap();
    assert_eq!(fields(&raw.end().await), ["events"]);

    let mut enormous = event("u", "i");
    enormous
        .metadata
        .insert("blob".into(), "x".repeat(17 << 20));
    let raw = Raw::open(address, "enormous").await;
    raw.batch(1, vec![enormous]).await.unwrap();
    assert_eq!(raw.end().await.code(), Code::OutOfRange);

    assert_eq!(gateway.count("u").await, 1);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_ended_and_the_others_go_on() {
    let (_dir, gateway) = start().await;
    let raw = Raw::open(&gateway.address, "deaf").await;
    let mut sent = 0;
    // Acknowledgements fill the client's window, then the gateway's queue, then it gives up.
    let taken = Duration::from_secs(2);
    while sent < 100_000 {
        let batch = raw.batch(sent + 1, vec![event("deaf", "i")]);
        match tokio::time::timeout(taken, batch).await {
            Ok(Ok(())) => sent += 1,
            Ok(Err(())) | Err(_) => break,
        }
    }
    assert!(
        sent < 100_000,
        "the gateway took {sent} batches without being listened to"
    );
    let mut other = gateway.producer("other").await;
    other.send(vec![event("other", "i"); 10]).await.unwrap();
    other.flush().await.unwrap();
    assert_eq!(gateway.count("other").await, 10);
    // Nothing accepted is lost: the producer learns how far it came.
    let resumed = gateway.producer("deaf").await;
    assert_eq!(gateway.count("deaf").await, resumed.stats().acknowledged);
    assert!(resumed.stats().acknowledged > 0);
    // When it reads at last, it learns why it was left.
    assert_eq!(raw.end().await.code(), Code::ResourceExhausted);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_vanishes_leaves_what_was_accepted() {
    let (_dir, gateway) = start().await;
    for round in 1..=20_u64 {
        let raw = Raw::open(&gateway.address, "ghost").await;
        raw.batch(round, vec![event("ghost", "i")]).await.unwrap();
        let mut responses = raw.responses;
        responses.message().await.unwrap().unwrap();
        // Gone without a word, in the middle of the next request.
        drop(raw.requests);
        drop(responses);
    }
    // And one that never spoke HTTP/2 at all.
    let to = gateway.address.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(to).await.unwrap();
    socket
        .write_all(b"GET / HTTP/1.1\r\n\x00\xff garbage")
        .await
        .unwrap();
    drop(socket);
    assert_eq!(gateway.count("ghost").await, 20);
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscriber_that_does_not_read_never_stalls_the_job() {
    let (_dir, gateway) = start().await;
    let channel = Endpoint::from_shared(gateway.address.clone())
        .unwrap()
        .initial_stream_window_size(65_535)
        .connect()
        .await
        .unwrap();
    let mut client = RecommendationsClient::new(channel);
    let mut deaf = client
        .subscribe(SubscribeRequest::default())
        .await
        .unwrap()
        .into_inner();
    let mut producer = gateway.producer("p").await;
    for round in 0..40_u64 {
        let events = (0..50)
            .map(|n| {
                event(
                    &format!("u{}", n % 7),
                    &format!("item-{}", (n * round) % 31),
                )
            })
            .collect();
        producer.send(events).await.unwrap();
    }
    producer.close().await.unwrap();
    assert_eq!(gateway.count("u3").await, 40 * 7);
    let status = loop {
        match deaf.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("a slow subscriber is told"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    gateway.stop().await;
}
