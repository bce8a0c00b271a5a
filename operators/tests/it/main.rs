//! The runtime on real threads: results, checkpoints, failures, restarts.

mod exactly_once;
mod pipelines;
mod support;
