//! Benchmarking the state backends against each other: what `weir bench backends` runs.
//!
//! [`run`](run::run) measures one backend in the calling process; the command starts a process for
//! each, so that one's memory does not show in another's figures. The page is one file without
//! references to any other.

pub(crate) mod chart;
pub(crate) mod checkpoints;
pub(crate) mod config;
pub(crate) mod histogram;
pub(crate) mod ids;
pub(crate) mod page;
pub(crate) mod payload;
pub(crate) mod process;
pub(crate) mod report;
pub(crate) mod run;
pub(crate) mod subject;
#[cfg(test)]
mod tests;
