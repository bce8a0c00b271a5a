//! The Weir gateway: events in over gRPC, recommendations streamed out.

mod bench;
pub mod cli;
pub mod proto;
