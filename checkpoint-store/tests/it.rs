//! Integration tests of the checkpoint store; each module says which promise it holds.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "it/conformance.rs"]
mod conformance;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/damage.rs"]
mod damage;
#[path = "it/fixtures.rs"]
mod fixtures;
#[path = "it/history.rs"]
mod history;
#[path = "it/job.rs"]
mod job;
#[path = "it/life.rs"]
mod life;
#[path = "it/merges.rs"]
mod merges;
#[path = "it/python.rs"]
mod python;
#[cfg(feature = "s3")]
#[path = "it/s3.rs"]
mod s3;
#[cfg(feature = "s3")]
#[path = "it/s3_server.rs"]
mod s3_server;
#[path = "it/state_store.rs"]
mod state_store;
#[path = "it/tables.rs"]
mod tables;
#[path = "it/typed.rs"]
mod typed;
