//! The Weir gateway: events in over gRPC, recommendations streamed out.
