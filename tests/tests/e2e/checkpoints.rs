//! `weir checkpoint` and `weir savepoint`, as a user runs them on what a gateway left behind.

use crate::command::{weir, weir_unread};
use crate::gateway_under_test::{Gateway, config, event};
use gateway::{
    Backend,
    proto::v1::{TriggerCheckpointRequest, admin_client::AdminClient},
};
use serde_json::Value;
use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// `weir COMMAND --format json` on a directory: one JSON value a line.
fn json(command: &str, dir: &Path, more: &[&str]) -> Vec<Value> {
    let words = command.split(' ').map(OsStr::new);
    let arguments = words
        .chain([dir.as_os_str()])
        .chain(more.iter().map(OsStr::new))
        .chain([OsStr::new("--format"), OsStr::new("json")]);
    let (code, output, errors) = weir(arguments);
    assert_eq!(code, 0, "{command} {more:?}: {output}{errors}");
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn ids(listing: &[Value]) -> Vec<u64> {
    let ids = listing.iter().map(|line| line["id"].as_u64().unwrap());
    ids.collect()
}

fn state<'a>(shown: &'a Value, name: &str) -> &'a Value {
    let states = shown["states"].as_array().unwrap();
    states.iter().find(|state| state["state"] == name).unwrap()
}

/// A gateway's directory after three rounds, each with a checkpoint of its own.
async fn left_behind(dir: &Path) {
    let mut config = config(dir, Backend::Memory);
    config.checkpoint.interval = Duration::from_secs(3600);
    config.checkpoint.retained = 10;
    let gateway = Gateway::start(config).await;
    let mut producer = gateway.producer("p").await;
    let mut admin = AdminClient::connect(gateway.address.clone()).await.unwrap();
    for round in 0..3 {
        let users = (0..=round).map(|user| format!("user {user}"));
        let events = users.map(|user| event(&user, &format!("item {round}")));
        producer.send(events.collect()).await.unwrap();
        producer.flush().await.unwrap();
        // Once it answers, everything is in the state.
        assert_eq!(gateway.count("user 0").await, round + 1);
        admin
            .trigger_checkpoint(TriggerCheckpointRequest {})
            .await
            .unwrap();
    }
    gateway.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_works_on_what_a_gateway_left_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = &scratch.path().join("data");
    left_behind(dir).await;

    let all = ids(&json("checkpoint ls", dir, &[]));
    assert!(all.len() >= 3 && all.is_sorted_by(|a, b| a > b), "{all:?}");
    let (code, table, _) = weir([OsStr::new("checkpoint"), OsStr::new("ls"), dir.as_os_str()]);
    assert!(code == 0 && table.contains("usable"), "{table}");
    for verified in json("checkpoint verify", dir, &["--all"]) {
        assert_eq!(verified["sound"], true, "{verified}");
    }

    let shown = &json("checkpoint show", dir, &["--count"])[0];
    assert_eq!(state(shown, "user")["entries"], 3);
    assert_eq!(state(shown, "position")["entries"], 1);
    assert!(state(shown, "position")["rows"].as_u64().unwrap() >= 1);

    looks_inside(dir, &all, scratch.path());
    names_what_is_wrong(dir, all[0], scratch.path());
    goes_quietly_without_a_reader(dir);
    checks_a_configuration(dir, scratch.path());
    makes_savepoints(dir, scratch.path());
    tidies_up(dir, &all);

    // What is left is what there was.
    let gateway = Gateway::start(config(dir, Backend::Memory)).await;
    assert_eq!(gateway.count("user 0").await, 3);
    gateway.stop().await;
    finds_damage(dir);
}

fn looks_inside(dir: &Path, all: &[u64], scratch: &Path) {
    let rows = json("checkpoint cat", dir, &["user", "--key", "user 0"]);
    let [row] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert_eq!(
        (&row["key"], &row["value"]["events"]),
        (&"user 0".into(), &3.into())
    );
    for state in [
        "user",
        "recommender-users",
        "recommender-user-ids",
        "recommender-items",
    ] {
        let rows = json("checkpoint cat", dir, &[state, "--limit", "2"]);
        assert_eq!(rows.len(), 2, "{state}");
        for row in rows {
            assert!(!row["key"].as_str().unwrap().starts_with("0x"), "{row}");
            assert!(!row["value"].to_string().starts_with("\"0x"), "{row}");
        }
    }
    let ids = json(
        "checkpoint cat",
        dir,
        &["recommender-user-ids", "--key", "user 2"],
    );
    assert_eq!(ids.len(), 1, "a map's key is found");
    let before = all.last().unwrap().to_string();
    let after = all.first().unwrap().to_string();
    let found = json("checkpoint diff", dir, &[&before, &after]);
    let user = found.iter().find(|state| state["state"] == "user").unwrap();
    assert_eq!(
        (&user["added"], &user["removed"]),
        (&2.into(), &0.into()),
        "{user}"
    );

    let out = scratch.join("export");
    let path = out.to_str().unwrap();
    let exported = json("checkpoint export", dir, &["--typed", "--out", path]);
    for state in &exported {
        assert_eq!(state["unreadable"], 0, "{state}");
        let file = fs::read(state["file"].as_str().unwrap()).unwrap();
        assert!(file.starts_with(b"PAR1") && file.ends_with(b"PAR1"));
    }
    let (code, _, errors) = weir(["checkpoint", "cat", dir.to_str().unwrap(), "no-such-state"]);
    assert!(code == 3 && errors.contains("no-such-state"), "{errors}");
    let (code, _, _) = weir(["checkpoint", "ls", "/no/such/directory"]);
    assert_eq!(code, 3);
    let (code, _, errors) = weir(["checkpoint", "ls", "ftp://host/x"]);
    assert!(code == 2 && errors.contains("ftp"), "{errors}");
}

/// What a failure says, and what it leaves behind.
fn names_what_is_wrong(dir: &Path, newest: u64, scratch: &Path) {
    let path = dir.to_str().unwrap();
    let (code, _, errors) = weir(["checkpoint", "cat", path, "user", "--operator", "nobody"]);
    assert!(
        code == 3 && errors.contains("operator nobody"),
        "the operator is to blame, not the state: {errors}"
    );

    let checkpoint = directory_of(dir, newest);
    let manifest = checkpoint.join("manifest.json");
    let sound = fs::read(&manifest).unwrap();
    let (state, file) = first_file(dir, &manifest);
    let out = scratch.join("half an export");
    let export = ["checkpoint", "export", path, "--state", &state, "--out"];
    let export = export.iter().map(OsStr::new).chain([out.as_os_str()]);
    let (code, _, errors) = with_damage(&file, |bytes| flip(bytes), || weir(export));
    assert!(code == 1 && errors.contains("checksum"), "{errors}");
    let left = fs::read_dir(&out).unwrap().count();
    assert_eq!(left, 0, "half a file looks like a file");

    let no_manifest = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() / 2);
    let (code, output, errors) = with_damage(&manifest, no_manifest, || {
        weir(["checkpoint", "verify", path])
    });
    let named = format!("checkpoint {newest} is damaged");
    assert!(code == 1 && output.contains(&named), "{output}{errors}");
    assert!(
        output.contains("is sound"),
        "and the one before it is read: {output}"
    );
    assert_eq!(fs::read(&manifest).unwrap(), sound);

    let (code, output, _) = weir(["checkpoint", "gc", path, "--keep", "9", "--dry-run"]);
    assert!(code == 0 && !output.contains("being written"), "{output}");
    let name = checkpoint.file_name().unwrap().to_str().unwrap();
    let (_, writer) = name.split_once('-').unwrap();
    let next = checkpoint.with_file_name(format!("{:0>10}-{writer}", newest + 1));
    fs::create_dir(&next).unwrap();
    fs::write(next.join("profile-0-0.parquet"), b"PAR1").unwrap();
    let (code, output, _) = weir(["checkpoint", "gc", path, "--keep", "9"]);
    assert!(
        code == 0 && output.contains("1 are of a checkpoint that is being written"),
        "{output}"
    );
    fs::remove_dir_all(&next).unwrap();
}

/// As `weir checkpoint ls DIR | head -0`.
fn goes_quietly_without_a_reader(dir: &Path) {
    let (code, errors) = weir_unread([OsStr::new("checkpoint"), OsStr::new("ls"), dir.as_os_str()]);
    assert_eq!((code, &*errors), (Some(0), ""));
}

/// Where the files of a checkpoint and its manifest lie.
fn directory_of(dir: &Path, id: u64) -> PathBuf {
    let all = fs::read_dir(dir.join("checkpoints/checkpoints")).unwrap();
    all.map(|entry| entry.unwrap().path())
        .find(|path| path.to_str().unwrap().contains(&format!("/{id:0>10}-")))
        .unwrap()
}

/// The first file that a manifest names, and the state whose rows it has.
fn first_file(dir: &Path, manifest: &Path) -> (String, PathBuf) {
    let manifest: Value = serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
    let file = &manifest["operators"][0]["chain"][0];
    let path = file["path"].as_str().unwrap();
    let state = file["state"].as_str().unwrap().to_owned();
    (state, dir.join("checkpoints").join(path))
}

fn flip(bytes: &mut [u8]) {
    bytes[20] ^= 1;
}

/// What comes of `work` while a file is damaged.
fn with_damage<T>(file: &Path, damage: impl FnOnce(&mut Vec<u8>), work: impl FnOnce() -> T) -> T {
    let sound = fs::read(file).unwrap();
    let mut bytes = sound.clone();
    damage(&mut bytes);
    fs::write(file, bytes).unwrap();
    let outcome = work();
    fs::write(file, sound).unwrap();
    outcome
}

fn checks_a_configuration(dir: &Path, scratch: &Path) {
    let file = scratch.join("weir.toml");
    let against = ["--against", file.to_str().unwrap()];
    fs::write(&file, "[state]\nparallelism = 3\n").unwrap();
    let checked = &json("checkpoint check", dir, &against)[0];
    assert_eq!(checked["restorable"], true);
    let findings = checked["findings"].as_array().unwrap();
    assert_eq!(
        findings.len(),
        1,
        "only the parallelism is another: {findings:?}"
    );
    assert!(findings[0]["what"].as_str().unwrap().contains("3 subtasks"));
    fs::write(&file, "[stat]\n").unwrap();
    let check = [
        "checkpoint",
        "check",
        dir.to_str().unwrap(),
        against[0],
        against[1],
    ];
    let (code, _, errors) = weir(check);
    assert!(code == 2 && errors.contains("stat"), "{errors}");
}

fn makes_savepoints(dir: &Path, scratch: &Path) {
    let to = scratch.join("savepoints/one");
    json("savepoint create", dir, &[to.to_str().unwrap(), "--typed"]);
    let moved = scratch.join("savepoints/two");
    fs::rename(&to, &moved).unwrap();
    assert_eq!(json("savepoint verify", &moved, &[])[0]["sound"], true);
    let shown = &json("savepoint show", &moved, &[])[0];
    assert_eq!(shown["kind"], "savepoint");
    assert_eq!(state(shown, "user")["entries"], 3);
    let listed = json("savepoint ls", moved.parent().unwrap(), &[]);
    assert_eq!((listed.len(), &listed[0]["directory"]), (1, &"two".into()));
    for state in json(
        "checkpoint diff",
        dir,
        &[dir.to_str().unwrap(), moved.to_str().unwrap()],
    ) {
        for what in ["added", "changed", "removed"] {
            assert_eq!(state[what], 0, "{state}");
        }
    }
    let (code, _, errors) = weir(["savepoint", "dispose", moved.to_str().unwrap()]);
    assert_eq!(code, 0, "{errors}");
    assert!(!moved.join("manifest.json").exists());
}

fn tidies_up(dir: &Path, all: &[u64]) {
    let planned = &json("checkpoint gc", dir, &["--keep", "1", "--dry-run"])[0];
    assert_eq!(planned["expired"].as_array().unwrap().len(), all.len() - 1);
    assert!(planned["removed"].as_u64().unwrap() > 0);
    assert_eq!(
        ids(&json("checkpoint ls", dir, &[])),
        all,
        "a dry run removes nothing"
    );
    let compacted = &json("checkpoint compact", dir, &[])[0];
    let shown = &json("checkpoint show", dir, &[])[0];
    // The job compacts too, and may have left nothing to do.
    if !compacted["id"].is_null() {
        assert!(compacted["files_after"].as_u64() < compacted["files_before"].as_u64());
        assert_eq!(shown["id"], compacted["id"]);
    }
    for state in shown["states"].as_array().unwrap() {
        assert!(
            state["layers"].as_u64().unwrap() <= 1 && state["entries"].is_u64(),
            "{state}"
        );
    }
    let nothing = &json("checkpoint compact", dir, &[])[0];
    assert!(nothing["id"].is_null());
    let collected = &json("checkpoint gc", dir, &["--keep", "1"])[0];
    assert!(collected["removed"].as_u64().unwrap() > 0);
    assert_eq!(
        ids(&json("checkpoint ls", dir, &[])),
        [shown["id"].as_u64().unwrap()]
    );
    assert_eq!(json("checkpoint verify", dir, &[])[0]["sound"], true);
}

fn finds_damage(dir: &Path) {
    let newest = ids(&json("checkpoint ls", dir, &[]))[0];
    let (_, file) = first_file(dir, &directory_of(dir, newest).join("manifest.json"));
    let mut bytes = fs::read(&file).unwrap();
    flip(&mut bytes);
    fs::write(&file, bytes).unwrap();
    let newest = newest.to_string();
    let path = dir.to_str().unwrap();
    let (code, output, _) = weir(["checkpoint", "verify", path, "--id", &newest]);
    assert!(code == 1 && output.contains("checksum"), "{output}");
    let config = dir.join("empty.toml");
    fs::write(&config, "").unwrap();
    let config = config.to_str().unwrap();
    let (code, output, _) = weir(["checkpoint", "check", path, "--against", config]);
    assert!(
        code == 1 && output.contains("cannot be restored"),
        "{output}"
    );
}
