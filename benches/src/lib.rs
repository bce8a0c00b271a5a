//! Workloads shared by the benchmarks.

pub mod events;
#[cfg(feature = "fjall")]
pub mod fjall_backend;
pub mod jobs;
pub mod pace;
