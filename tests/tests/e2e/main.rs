//! Weir from end to end: the real binary or a real server on loopback, over real gRPC.

#![expect(clippy::unwrap_used, reason = "in a test a failure is a panic")]

mod bad_input;
mod checkpoints;
mod crash;
mod deskdrop;
mod gateway_under_test;
mod replay;
mod shutdown;
mod steering;
