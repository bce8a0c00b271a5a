//! The Weir gateway: events in over gRPC, recommendations streamed out.

mod bench;
mod catalogue;
pub mod cli;
pub mod client;
mod config;
mod convert;
mod data_dir;
mod dead_letters;
mod demo;
mod error;
pub mod event_file;
mod gateway;
mod hub;
mod job;
mod log;
pub mod proto;
mod server;
mod service;
pub mod shutdown;
mod status;

pub use config::{
    Backend, Bytes, CatalogSection, CheckpointSection, Config, LimitsSection, LogSection,
    StateConfig,
};
pub use error::{Error, Result};
pub use server::{Server, serve};
