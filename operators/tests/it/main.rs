//! The runtime on real threads: results, checkpoints, failures, restarts.

mod broadcast;
mod by_hand;
mod damage;
mod exactly_once;
mod local_files;
mod pipelines;
mod simulated;
mod sinks;
mod support;
mod tutorial;
mod unaligned;
mod windows;
