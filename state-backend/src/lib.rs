//! Keyed and operator state with typed handles over interchangeable backends.

#![forbid(unsafe_code)]

mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(test)]
mod crash_tests;
#[cfg(any(feature = "fs", feature = "redb"))]
pub mod disk;
mod error;
#[cfg(feature = "fs")]
pub mod fs;
#[cfg(any(feature = "fs", feature = "redb", feature = "testing"))]
pub mod io;
mod key_group;
mod kind;
#[cfg(feature = "redb")]
pub mod redb;
#[cfg(any(feature = "fs", feature = "redb"))]
mod short_key;
#[cfg(feature = "testing")]
pub mod testing;

pub use backend::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, StateId, Visit,
};
pub use error::{Error, Result};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_group_of, murmur, subtask_of};
pub use kind::StateKind;
