//! The client side of ingest, as `weir replay` and the demo use it.
//!
//! ```no_run
//! # async fn run() -> gateway::Result<()> {
//! use gateway::{client::{Producer, ProducerOptions}, proto::v1::{EventType, UserEvent}};
//!
//! let mut producer =
//!     Producer::connect("http://127.0.0.1:7400", ProducerOptions::new("shop-1")).await?;
//! let event = UserEvent {
//!     user_id: "u1".into(),
//!     item_id: "lamp".into(),
//!     event_type: EventType::View.into(),
//!     timestamp_ms: 1_700_000_000_000,
//!     ..UserEvent::default()
//! };
//! producer.send(vec![event]).await?;
//! producer.flush().await?; // now it is on the gateway's disk
//! # Ok(())
//! # }
//! ```

mod producer;

pub use producer::{Producer, ProducerOptions, ProducerStats};
