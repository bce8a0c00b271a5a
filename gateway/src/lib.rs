//! The Weir gateway: behaviour events in over gRPC, live recommendations out.
//!
//! ```
//! use gateway::{Config, Server, client::{Producer, ProducerOptions}, proto::v1};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let dir = tempfile::tempdir()?;
//! # let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
//! # runtime.block_on(async {
//! let mut config = Config::default();
//! config.data_dir = dir.path().join("data");
//! config.listen = "127.0.0.1:0".parse()?;
//! let server = Server::start(config).await?;
//! let address = format!("http://{}", server.address());
//!
//! let mut shop = Producer::connect(&address, ProducerOptions::new("shop")).await?;
//! let view = |user: &str, item: &str| v1::UserEvent {
//!     user_id: user.into(),
//!     item_id: item.into(),
//!     event_type: v1::EventType::View.into(),
//!     timestamp_ms: 1_700_000_000_000,
//!     ..Default::default()
//! };
//! let visits = [("ann", "lamp"), ("ann", "desk"), ("bob", "lamp"), ("bob", "desk"), ("cleo", "lamp")];
//! shop.send(visits.iter().map(|(user, item)| view(user, item)).collect()).await?;
//! let sent = shop.close().await?; // acknowledged: on the gateway's disk
//!
//! let mut lists =
//!     v1::recommendations_client::RecommendationsClient::connect(address).await?;
//! let request = v1::RecommendRequest {
//!     user_id: "cleo".into(),
//!     k: 1,
//!     min_position: sent.log_position, // read what was just written
//! };
//! let list = lists.recommend(request).await?.into_inner().recommendations;
//! assert_eq!(list[0].item_id, "desk");
//! server.run_until(async {}).await?; // an orderly end, with a final checkpoint
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })
//! # }
//! ```
//!
//! - [`Server`] (or [`serve`]) runs a gateway in this process; `weir serve` is a thin shell around it.
//! - [`Config`] is what `weir.toml` says; [`Config::default`] works as it is.
//! - [`client::Producer`] sends events, each exactly once in effect, over broken connections and restarts.
//! - [`event_file`] reads files of events; [`proto::v1`] is the API, for clients in Rust.
//!
//! An event is durable in the ingest log before it is acknowledged; the log is the source of a stream
//! job whose operators keep profiles and lists in keyed state; a checkpoint every ten seconds lets the log be
//! trimmed. A restart is the newest complete checkpoint and the log from there.
//!
//! It is *not* a cluster: one process owns one data directory, and a lock keeps a second one out.

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
    Backend, Bytes, CatalogSection, CheckpointSection, Config, LimitsSection, LogSection, Model,
    RecommendSection, StateConfig,
};
pub use error::{Error, Result};
pub use server::{Server, serve};
