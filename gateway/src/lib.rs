//! The Weir gateway: events in over gRPC, recommendations streamed out.

pub mod cli;
pub mod proto;
