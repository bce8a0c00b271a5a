//! Object stores keep the contract of `BlobStore`, against moto's S3 server, which a script starts;
//! and a job's checkpoints survive a server that fails.
//!
//! Needs the feature `s3` and the Python environment that `tests/python/venv s3` makes; without that the
//! tests say so and pass.

use crate::job::{Job, key};
use crate::s3_server::{self, Server};
use checkpoint_store::{BlobStore, CompactionPolicy, GcMode, MemoryBlobs, ObjectBlobs, Retention};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

fn serve(arguments: &[&str]) -> Option<Server> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    Some(s3_server::serve(s3_server::python(dir)?, dir, arguments))
}

fn connect(server: &Server, more: &[(&str, &str)]) -> Arc<dyn BlobStore> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = format!("s3://weir/jobs/{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let mut settings = vec![
        ("aws_endpoint", server.url.as_str()),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_allow_http", "true"),
    ];
    settings.extend(more);
    Arc::new(ObjectBlobs::s3_with(&url, &settings).unwrap())
}

mod conformance {
    use super::*;

    static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| serve(&[]));

    /// Without a server the suite runs on memory: `serve` has said that it is skipped.
    fn open() -> Arc<dyn BlobStore> {
        match &*SERVER {
            Some(server) => connect(server, &[]),
            None => Arc::new(MemoryBlobs::new()),
        }
    }

    checkpoint_store::blob_store_conformance!(open);
}

#[test]
fn a_job_survives_a_server_that_fails() {
    if let Some(server) = serve(&["faults"]) {
        survives(&connect(&server, &[]));
    }
}

/// Some writes happen, and are answered after the client has given up; reads come late.
#[test]
fn a_job_survives_a_slow_server_and_outcomes_that_are_unknown() {
    if let Some(server) = serve(&["slow"]) {
        survives(&connect(&server, &[("timeout", "3 seconds")]));
    }
}

#[test]
fn a_server_that_is_gone_is_an_error_that_says_so() {
    let Some(mut server) = serve(&[]) else {
        return;
    };
    let blobs = connect(&server, &[("timeout", "1 second")]);
    server.child.kill().unwrap();
    server.child.wait().unwrap();
    let store = checkpoint_store::CheckpointStore::open(blobs, Default::default());
    let error = store.map(|_| ()).unwrap_err();
    assert!(
        matches!(error, checkpoint_store::Error::Blob { .. }),
        "{error:?}"
    );
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("error sending request"), "{cause}");
}

fn survives(blobs: &Arc<dyn BlobStore>) {
    // A request may fail for good; whoever runs a job starts it again.
    let start = |parallelism| {
        let mut attempts = (0..5).map(|_| Job::start(Arc::clone(blobs), parallelism));
        attempts.find_map(Result::ok).expect("one start in five")
    };
    let mut expected = None;
    for parallelism in 1..3 {
        let mut job = start(parallelism);
        if let Some(expected) = &expected {
            assert_eq!(job.model, *expected);
        }
        for round in 0..3_u8 {
            for number in 0..20 {
                job.set(key("s", number), vec![round, parallelism as u8]);
            }
            job.delete(key("s", u16::from(round)));
            // A checkpoint that failed is repeated.
            let done = (0..5).any(|_| job.checkpoint().is_ok());
            assert!(done, "five checkpoints in a row failed");
        }
        let compacted = (0..5).any(|_| job.compact(&CompactionPolicy::EVERYTHING).is_ok());
        assert!(compacted);
        assert!((0..5).any(|_| job.checkpoint().is_ok()));
        let collect = || {
            job.store
                .collect_garbage(&Retention::newest(1), GcMode::Delete)
        };
        assert!((0..5).any(|_| collect().is_ok()));
        expected = Some(job.model);
    }
    assert_eq!(Some(start(5).model), expected);
}
