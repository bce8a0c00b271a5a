//! An orderly end: what was accepted is finished, streams are told why, the next start goes on.

use crate::gateway_under_test::{Gateway, config, event};
use gateway::{
    Backend, Error, Server,
    proto::v1::{
        RecommendRequest, SubscribeRequest, recommendations_client::RecommendationsClient,
        subscribe_response::Kind,
    },
};
use std::{io::Write, path::Path, time::Duration};
use tests::weir::{Weir, binary, free_port};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn streams_end_with_a_reason_and_state_stays() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Redb)).await;
    let mut client = RecommendationsClient::connect(gateway.address.clone())
        .await
        .unwrap();
    let request = SubscribeRequest {
        user_ids: vec!["u".into()],
        ..Default::default()
    };
    let mut stream = client.subscribe(request).await.unwrap().into_inner();
    let mut producer = gateway.producer("p").await;
    for other in ["a", "b", "c"] {
        producer
            .send(vec![event(other, "lamp"), event(other, "desk")])
            .await
            .unwrap();
    }
    producer.send(vec![event("u", "lamp")]).await.unwrap();
    producer.flush().await.unwrap();
    // The list there was at the beginning, then the one the event caused.
    let update = loop {
        let Some(Kind::Update(update)) = stream.message().await.unwrap().unwrap().kind else {
            panic!("updates come first");
        };
        if !update.recommendations.is_empty() && update.position == 7 {
            break update;
        }
    };
    assert_eq!(update.recommendations[0].item_id, "desk");
    assert!(!update.recommendations[0].reason.is_empty());

    let stopping = gateway.stopping();
    let Some(Kind::Closing(closing)) = stream.message().await.unwrap().unwrap().kind else {
        panic!("the last word is why");
    };
    assert_eq!(closing.resume_position, 7);
    assert_eq!(
        stream.message().await.unwrap_err().code(),
        Code::Unavailable
    );
    stopping.await.unwrap().unwrap();

    let gateway = Gateway::start(config(dir.path(), Backend::Redb)).await;
    let status = gateway.status().await;
    assert_eq!(status.log.unwrap().end_position, 7);
    let mut client = RecommendationsClient::connect(gateway.address.clone())
        .await
        .unwrap();
    let request = RecommendRequest {
        user_id: "u".into(),
        k: 5,
        min_position: 7,
    };
    let list = client
        .recommend(request)
        .await
        .unwrap()
        .into_inner()
        .recommendations;
    assert_eq!(list, update.recommendations[..list.len()]);
    gateway.stop().await;
}

/// Makes the data of all checkpoints unreadable, what they are made of left as it is; the files found.
fn spoil(dir: &Path) -> usize {
    let mut spoilt = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            spoilt += spoil(&path);
        } else if path.extension().is_some_and(|e| e == "parquet") {
            let length = std::fs::metadata(&path).unwrap().len();
            std::fs::write(&path, vec![0; length as usize]).unwrap();
            spoilt += 1;
        }
    }
    spoilt
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_orderly_stop_it_goes_on_from_local_files() {
    for backend in [Backend::Redb, Backend::Fs] {
        let dir = tempfile::tempdir().unwrap();
        let config = || config(dir.path(), backend);
        let gateway = Gateway::start(config()).await;
        let users: Vec<String> = (0..20).map(|n| format!("u{n}")).collect();
        let mut producer = gateway.producer("p").await;
        for (n, user) in users.iter().enumerate() {
            let items = (n % 4..n % 4 + 3).map(|item| event(user, &format!("i{item}")));
            producer.send(items.collect()).await.unwrap();
        }
        producer.flush().await.unwrap();
        let before = gateway.export(&users).await;
        assert!(before.iter().all(|user| !user.recommendations.is_empty()));
        drop(producer);
        gateway.stop().await;

        // Nothing of it can be read from the checkpoints: it all lies beside them.
        assert!(spoil(&dir.path().join("checkpoints")) > 0);
        let gateway = Gateway::start(config()).await;
        assert_eq!(gateway.export(&users).await, before, "{backend:?}");
        // And it goes on.
        let mut producer = gateway.producer("q").await;
        producer.send(vec![event("u0", "new")]).await.unwrap();
        producer.close().await.unwrap();
        assert_eq!(gateway.count("u0").await, 4);
        gateway.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_cannot_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    let error = Server::start(config(dir.path(), Backend::Memory))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_lost_what_the_checkpoint_needs_is_no_silent_start() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(config(dir.path(), Backend::Memory)).await;
    let mut producer = gateway.producer("p").await;
    producer.send(vec![event("u", "i"); 5]).await.unwrap();
    producer.close().await.unwrap();
    gateway.stop().await;
    std::fs::remove_dir_all(dir.path().join("log")).unwrap();
    let error = Server::start(config(dir.path(), Backend::Memory))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("positions 0 to 0, not 5"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_the_process_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("weir.toml");
    let mut file = std::fs::File::create(&config).unwrap();
    writeln!(file, "data_dir = {:?}", dir.path().join("data")).unwrap();
    let (binary, port) = (binary().unwrap(), free_port().unwrap());
    for start in 0..2_u64 {
        let mut weir = Weir::serve(&binary, &config, port).unwrap();
        let status = weir.ready(Duration::from_secs(30)).await.unwrap();
        assert_eq!(status.log.unwrap().end_position, start);
        let options = gateway::client::ProducerOptions::new("p");
        let mut producer = gateway::client::Producer::connect(weir.address(), options)
            .await
            .unwrap();
        producer.send(vec![event("u", "i")]).await.unwrap();
        producer.flush().await.unwrap();
        // The stream stays open: the gateway ends it.
        let ended = weir.terminate(Duration::from_secs(20)).await.unwrap();
        assert!(ended.success(), "{ended}");
    }
}
