//! Object stores keep the contract of `BlobStore`, against moto's S3 server, which a script starts;
//! and a job's checkpoints survive a server that fails.
//!
//! Needs the feature `s3` and the Python environment that `tests/python/venv s3` makes; without that the
//! tests say so and pass.

use crate::job::{Job, key};
use checkpoint_store::{BlobStore, CompactionPolicy, GcMode, MemoryBlobs, ObjectBlobs, Retention};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

/// A server in a process that ends with its standard input.
struct Server {
    _child: Child,
    _output: BufReader<ChildStdout>,
    url: String,
}

fn serve(arguments: &[&str]) -> Option<Server> {
    let python = crate::python::python(&["moto", "boto3", "flask", "werkzeug"])?;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/python/serve_s3.py");
    let mut child = Command::new(python)
        .arg(script)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut url = String::new();
    output.read_line(&mut url).unwrap();
    let url = url.trim().to_owned();
    assert!(url.starts_with("http"), "the server did not start");
    Some(Server {
        _child: child,
        _output: output,
        url,
    })
}

fn connect(server: &Server) -> Arc<dyn BlobStore> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let url = format!("s3://weir/jobs/{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let settings = [
        ("aws_endpoint", server.url.as_str()),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
        ("aws_allow_http", "true"),
    ];
    Arc::new(ObjectBlobs::s3_with(&url, &settings).unwrap())
}

mod conformance {
    use super::*;

    static SERVER: LazyLock<Option<Server>> = LazyLock::new(|| serve(&[]));

    /// Without a server the suite runs on memory: `serve` has said that it is skipped.
    fn open() -> Arc<dyn BlobStore> {
        match &*SERVER {
            Some(server) => connect(server),
            None => Arc::new(MemoryBlobs::new()),
        }
    }

    checkpoint_store::blob_store_conformance!(open);
}

#[test]
fn a_job_survives_a_server_that_fails() {
    let Some(server) = serve(&["faults"]) else {
        return;
    };
    let blobs = connect(&server);
    let mut expected = None;
    for parallelism in 1..3 {
        let mut job = Job::start(Arc::clone(&blobs), parallelism).unwrap();
        if let Some(expected) = &expected {
            assert_eq!(job.model, *expected);
        }
        for round in 0..3_u8 {
            for number in 0..20 {
                job.set(key("s", number), vec![round, parallelism as u8]);
            }
            job.delete(key("s", u16::from(round)));
            // A request may fail for good; the checkpoint is then repeated.
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
    let job = Job::start(blobs, 5).unwrap();
    assert_eq!(Some(job.model), expected);
}
