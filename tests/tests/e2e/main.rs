//! Weir from end to end: the real binary or a real server on loopback, over real gRPC.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod bad_input;
mod checkpoints;
mod command;
mod crash;
mod deskdrop;
mod gateway_under_test;
mod replay;
#[cfg(feature = "s3")]
mod s3;
#[cfg(feature = "s3")]
#[path = "../../../checkpoint-store/tests/it/s3_server.rs"]
mod s3_server;
mod shutdown;
mod steering;
