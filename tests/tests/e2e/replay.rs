//! `weir replay`: malformed lines are counted, a second run goes on where the first stopped.

use crate::gateway_under_test::{Gateway, config};
use gateway::Backend;
use std::{
    path::Path,
    process::{Command, Output},
};
use tests::weir::binary;

async fn weir(arguments: &[&str]) -> Output {
    let arguments: Vec<String> = arguments
        .iter()
        .map(|&argument| argument.to_owned())
        .collect();
    let run = || {
        Command::new(binary().unwrap())
            .args(arguments)
            .output()
            .unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn line(user: &str) -> String {
    format!(
        r#"{{"user_id":"{user}","item_id":"i","event_type":"view","timestamp":1700000000,"session_id":"s","metadata":{{}}}}"#
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_with_bad_lines_goes_in_once() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.jsonl");
    let lines = [
        line("a"),
        "{\"user_id\": ".to_owned(),
        line("b"),
        "null".to_owned(),
        line("a").replace("view", "stare"),
        line("a"),
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let gateway = Gateway::start(config(&dir.path().join("data"), Backend::Memory)).await;
    let file = file.to_str().unwrap();
    let first = weir(&["replay", file, "--to", &gateway.address]).await;
    assert!(first.status.success(), "{}", text(&first));
    assert!(
        text(&first).contains("3 events acknowledged"),
        "{}",
        text(&first)
    );
    assert!(
        text(&first).contains("3 malformed lines"),
        "{}",
        text(&first)
    );
    assert_eq!(gateway.count("a").await, 2);

    let second = weir(&["replay", file, "--to", &gateway.address]).await;
    assert!(
        text(&second).contains("3 sent by an earlier run"),
        "{}",
        text(&second)
    );
    assert_eq!(gateway.count("a").await, 2);
    let strict = weir(&[
        "replay",
        file,
        "--to",
        &gateway.address,
        "--strict",
        "--producer",
        "x",
    ])
    .await;
    assert_eq!(strict.status.code(), Some(1), "{}", text(&strict));
    assert_eq!(gateway.count("a").await, 4);

    let profile = weir(&[
        "profile",
        "--user",
        "a",
        "--to",
        &gateway.address,
        "--format",
        "json",
    ])
    .await;
    let json: serde_json::Value = serde_json::from_slice(&profile.stdout).unwrap();
    assert_eq!(json["events"], 4, "{json}");
    assert_eq!(json["last_updated"], 1_700_000_000, "{json}");
    let missing = weir(&["profile", "--user", "nobody", "--to", &gateway.address]).await;
    assert_eq!(missing.status.code(), Some(3), "{}", text(&missing));
    let listed = weir(&[
        "recommend",
        "--user",
        "b",
        "--to",
        &gateway.address,
        "--format",
        "json",
    ])
    .await;
    assert!(listed.status.success(), "{}", text(&listed));
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_none_is_refused() {
    let missing = weir(&["replay", "/nonexistent/events.csv"]).await;
    assert_eq!(missing.status.code(), Some(1), "{}", text(&missing));
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("events.csv");
    std::fs::write(&file, "a,b\n1,2\n").unwrap();
    let headless = weir(&["replay", path(&file)]).await;
    assert_eq!(headless.status.code(), Some(2), "{}", text(&headless));
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}
