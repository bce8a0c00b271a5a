//! Workloads shared by the benchmarks.

#[cfg(feature = "fjall")]
pub mod fjall_backend;
