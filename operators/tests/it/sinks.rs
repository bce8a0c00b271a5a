//! Promise: a transactional sink shows each result exactly once, whatever failed.

use crate::support::{Count, Trap, checkpointed, memory_store};
use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use operators::{
    Element, Error, FileFormat, FileSink, Generator, JobState, Lines, Parquet, StreamEnvironment,
    SubtaskInfo, TransactionalSink,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const EVENTS: u64 = 30_000;

/// Counts events on two subtasks into files, and panics once on the way.
fn run<F: FileFormat<In = (u64, u64)>>(
    directory: &Path,
    format: impl Fn() -> F + Send + Sync + 'static,
) {
    let env = StreamEnvironment::new();
    let trap = Trap {
        left: 9_000.into(),
        panics: true,
    };
    let trap = Arc::new(trap);
    let path = directory.to_owned();
    env.source("numbers", Generator::new(EVENTS, |n| (n % 50, n)))
        .key_by(|(key, _)| *key)
        .process("count", move || Count::new(&trap))
        .parallelism(2)
        .transactional_sink("files", move || FileSink::with_format(&path, format()));
    let job = env
        .execute(checkpointed(&memory_store(), 1))
        .expect("the test goes on");
    assert_eq!(job.wait().expect("the test goes on"), JobState::Finished);
    assert_eq!(job.status().attempts, 2, "{:?}", job.status().failure);
}

fn visible(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).expect("the test goes on");
    let paths = entries.map(|entry| entry.expect("the test goes on").path());
    paths
        .filter(|path| {
            !path
                .file_name()
                .expect("the test goes on")
                .to_string_lossy()
                .starts_with('.')
        })
        .collect()
}

fn line((key, n): &(u64, u64)) -> String {
    format!("{key} {n}")
}

fn lines(directory: &Path) -> Vec<String> {
    let files = visible(directory).into_iter();
    let texts = files.map(|path| std::fs::read_to_string(path).expect("the test goes on"));
    texts
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_files_hold_each_line_once_and_another_run_adds_to_them() {
    let directory = tempfile::tempdir().unwrap();
    for runs in 1..=2 {
        // the second begins anew, with checkpoints of the same numbers
        run(directory.path(), || Lines::new(line));
        let lines = lines(directory.path());
        assert_eq!(lines.len() as u64, runs * EVENTS);
        assert_eq!(
            lines.into_iter().collect::<BTreeSet<_>>().len() as u64,
            EVENTS
        );
    }
}

fn to_batch(schema: &SchemaRef, rows: &[Element<(u64, u64)>]) -> operators::Result<RecordBatch> {
    let keys = UInt64Array::from_iter_values(rows.iter().map(|row| row.value.0));
    let counts = UInt64Array::from_iter_values(rows.iter().map(|row| row.value.1));
    RecordBatch::try_new(Arc::clone(schema), vec![Arc::new(keys), Arc::new(counts)])
        .map_err(Error::user)
}

#[test]
fn parquet_files_hold_each_row_once() {
    let directory = tempfile::tempdir().unwrap();
    let column = |name| Field::new(name, DataType::UInt64, false);
    let schema = Arc::new(Schema::new(vec![column("key"), column("count")]));
    run(directory.path(), move || {
        Parquet::new(Arc::clone(&schema), to_batch)
    });
    let (mut rows, mut count) = (BTreeSet::new(), 0);
    for path in visible(directory.path()) {
        assert_eq!(path.extension().unwrap(), "parquet");
        let file = std::fs::File::open(path).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            let batch = batch.unwrap();
            let values = |name| {
                batch
                    .column_by_name(name)
                    .unwrap()
                    .as_primitive::<UInt64Type>()
            };
            let both = values("key").values().iter().zip(values("count").values());
            rows.extend(both.map(|(key, n)| (*key, *n)));
            count += batch.num_rows() as u64;
        }
    }
    assert_eq!((count, rows.len() as u64), (EVENTS, EVENTS));
}

#[test]
fn fewer_subtasks_clear_away_what_the_others_left_hidden() {
    let directory = tempfile::tempdir().unwrap();
    let open = |subtask, parallelism, prepared: &[Vec<u8>]| {
        let mut sink = FileSink::new(directory.path(), line);
        let operator = "files".to_owned();
        let info = SubtaskInfo {
            operator,
            subtask,
            parallelism,
        };
        sink.open(&info, prepared).unwrap();
        sink
    };
    let mut prepared = Vec::new();
    for subtask in 0..3_u64 {
        let mut sink = open(subtask as usize, 3, &[]);
        for checkpoint in 1..=2 {
            sink.write(Element::new((subtask, checkpoint))).unwrap();
            let name = sink.prepare(checkpoint).unwrap().unwrap();
            if checkpoint == 1 {
                prepared.push(name);
            }
        }
        // neither prepared nor finished
        sink.write(Element::new((subtask, 3))).unwrap();
    }
    // of the second checkpoint nobody heard
    drop(open(0, 1, &prepared));
    let mut lines = lines(directory.path());
    lines.sort_unstable();
    assert_eq!(lines, ["0 1", "1 1", "2 1"]);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 3);
}
