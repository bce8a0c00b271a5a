//! Promise: a transactional sink shows each result exactly once, whatever failed.

use crate::support::{Count, Trap, checkpointed, memory_store};
use operators::{FileSink, Generator, JobState, StreamEnvironment};
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn the_files_hold_each_line_once() {
    const EVENTS: u64 = 30_000;
    let directory = tempfile::tempdir().unwrap();
    let env = StreamEnvironment::new();
    let trap = Trap {
        left: 9_000.into(),
        panics: true,
    };
    let trap = Arc::new(trap);
    let path = directory.path().to_owned();
    env.source("numbers", Generator::new(EVENTS, |n| (n % 50, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .parallelism(2)
        .transactional_sink("files", move || {
            FileSink::new(&path, |(key, n): &(u64, u64)| format!("{key} {n}"))
        });
    let job = env.execute(checkpointed(&memory_store(), 1)).unwrap();
    assert_eq!(job.wait().unwrap(), JobState::Finished);
    assert_eq!(job.status().attempts, 2, "{:?}", job.status().failure);
    let (mut lines, mut count) = (BTreeSet::new(), 0);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with('.') {
            continue;
        }
        for line in std::fs::read_to_string(path).unwrap().lines() {
            count += 1;
            lines.insert(line.to_owned());
        }
    }
    assert_eq!((count, lines.len() as u64), (EVENTS, EVENTS));
}
