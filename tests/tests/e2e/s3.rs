//! Checkpoints in S3, as the real binary writes and reads them.
//!
//! Needs the feature `s3` and moto's server; `scripts/test-s3.sh` gets both. Without the server the test says
//! so and passes.

use crate::{
    gateway_under_test::event,
    s3_server::{Server, python, serve},
};
use gateway::{
    client::{Producer, ProducerOptions},
    proto::v1::{
        ExportUsersRequest, RecommendRequest, admin_client::AdminClient,
        recommendations_client::RecommendationsClient,
    },
};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tests::weir::{Weir, binary, free_port};

const PLACE: &str = "s3://weir/jobs/shop";
const START: Duration = Duration::from_secs(60);

struct Bucket {
    server: Server,
    binary: PathBuf,
    config: PathBuf,
}

impl Bucket {
    fn variables(&self) -> [(&str, &str); 5] {
        [
            ("AWS_ENDPOINT_URL", &self.server.url),
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_ALLOW_HTTP", "true"),
        ]
    }

    async fn start(&self) -> Weir {
        let port = free_port().unwrap();
        let mut weir =
            Weir::serve_with(&self.binary, &self.config, port, &self.variables()).unwrap();
        weir.ready(START).await.unwrap();
        weir
    }

    /// `weir checkpoint COMMAND --format json`: one value a line.
    fn checkpoint(&self, arguments: &[&str]) -> Vec<Value> {
        let output = Command::new(&self.binary)
            .arg("checkpoint")
            .args(arguments)
            .args(["--format", "json"])
            .envs(self.variables())
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {text}{errors}");
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn signal(&self, signal: &str) {
        let pid = self.server.child.id().to_string();
        let sent = Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }
}

async fn send(weir: &Weir, events: std::ops::Range<u64>) {
    let options = ProducerOptions::new("shop");
    let mut producer = Producer::connect(weir.address(), options).await.unwrap();
    assert_eq!(producer.next_sequence(), events.start + 1);
    let user = |number: u64| format!("user {}", number % 7);
    let events = events.map(|number| event(&user(number), &format!("item {}", number % 11)));
    producer.send(events.collect()).await.unwrap();
    producer.close().await.unwrap();
}

/// Waits until lists know of everything accepted; needs no checkpoint.
async fn learnt(weir: &Weir) {
    let request = RecommendRequest {
        user_id: "user 1".to_owned(),
        k: 5,
        min_position: weir.status().await.unwrap().log.unwrap().end_position,
    };
    let mut client = RecommendationsClient::connect(weir.address().to_owned())
        .await
        .unwrap();
    client.recommend(request).await.unwrap();
}

/// Events counted in all profiles, once everything accepted is.
async fn counted(weir: &Weir) -> u64 {
    let log = weir.status().await.unwrap().log.unwrap();
    let request = ExportUsersRequest {
        k: 5,
        min_position: log.end_position,
        user_ids: (0..7).map(|user| format!("user {user}")).collect(),
    };
    let mut admin = AdminClient::connect(weir.address().to_owned())
        .await
        .unwrap();
    let mut users = admin.export_users(request).await.unwrap().into_inner();
    let mut sum = 0;
    while let Some(user) = users.message().await.unwrap() {
        sum += user.profile.unwrap().events;
    }
    sum
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_keeps_its_checkpoints_in_s3() {
    let crate_dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../checkpoint-store");
    let Some(python) = python(&crate_dir) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let config = dir.path().join("weir.toml");
    let text = format!(
        "data_dir = {data:?}\nshutdown_deadline = \"5s\"\n\
         [checkpoint]\ndir = \"{PLACE}\"\ninterval = \"200ms\"\n[log]\nsegment = \"64KiB\"\n"
    );
    fs::write(&config, text).unwrap();
    let bucket = Bucket {
        server: serve(python, &crate_dir, &[]),
        binary: binary().unwrap(),
        config,
    };

    // Killed, and everything of the machine gone but the log: what the checkpoints have covered is no
    // longer in it.
    let weir = bucket.start().await;
    send(&weir, 0..3_000).await;
    assert_eq!(counted(&weir).await, 3_000);
    weir.kill().unwrap();
    fs::remove_dir_all(data.join("state")).unwrap();
    assert!(!data.join("checkpoints").exists());
    let weir = bucket.start().await;
    assert_eq!(counted(&weir).await, 3_000);

    // A server that hangs holds checkpoints up, and neither events nor the end.
    bucket.signal("-STOP");
    send(&weir, 3_000..4_000).await;
    learnt(&weir).await;
    // A profile that must have an event needs no checkpoint for that.
    assert_eq!(counted(&weir).await, 4_000);
    let _stopped_in_time = weir.terminate(Duration::from_secs(30)).await.unwrap();
    bucket.signal("-CONT");
    let weir = bucket.start().await;
    assert_eq!(counted(&weir).await, 4_000);
    let stopped = weir.terminate(Duration::from_secs(30)).await.unwrap();
    assert!(stopped.success(), "{stopped}");

    // The commands read the bucket.
    let listed = bucket.checkpoint(&["ls", PLACE]);
    assert!(!listed.is_empty());
    assert_eq!(bucket.checkpoint(&["verify", PLACE])[0]["sound"], true);
    let shown = &bucket.checkpoint(&["show", PLACE, "--count"])[0];
    let states = shown["states"].as_array().unwrap();
    let users = states
        .iter()
        .find(|state| state["state"] == "user")
        .unwrap();
    assert_eq!(users["entries"], 7);
    let against = bucket.config.to_str().unwrap();
    let checked = &bucket.checkpoint(&["check", PLACE, "--against", against])[0];
    assert_eq!(checked["restorable"], true, "{checked}");
    let collected = &bucket.checkpoint(&["gc", PLACE, "--keep", "1"])[0];
    assert_eq!(collected["failures"], serde_json::json!([]));
    assert_eq!(bucket.checkpoint(&["ls", PLACE]).len(), 1);
}
