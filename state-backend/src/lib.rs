//! Keyed and operator state with typed handles over interchangeable backends.

#![forbid(unsafe_code)]

mod backend;
mod error;
mod key_group;
mod kind;

pub use backend::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, StateId, Visit,
};
pub use error::{Error, Result};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_group_of, murmur, subtask_of};
pub use kind::StateKind;
