//! Keyed and operator state with typed handles over interchangeable backends.

#![forbid(unsafe_code)]

mod backend;
mod catalog;
mod codec;
#[cfg(feature = "conformance")]
pub mod conformance;
#[cfg(test)]
mod crash_tests;
mod definition;
mod delta;
#[cfg(any(feature = "fs", feature = "redb"))]
pub mod disk;
mod engine;
mod error;
mod footprint;
#[cfg(feature = "fs")]
pub mod fs;
mod handle;
#[cfg(any(feature = "fs", feature = "redb", feature = "testing"))]
pub mod io;
mod key;
mod key_group;
mod kind;
mod memory;
pub mod operator_state;
mod options;
#[cfg(feature = "redb")]
pub mod redb;
mod scope;
mod shape;
#[cfg(any(feature = "fs", feature = "redb"))]
mod short_key;
mod snapshot;
mod store;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod ttl;

pub use backend::{
    BackendStats, Change, Durability, KeyedStateBackend, Maintenance, StateId, Visit,
};
pub use catalog::{StateCatalog, StateEntry};
pub use codec::{Codec, StateValue};
pub use definition::{AggregateFunction, AggregatingDef, ListDef, MapDef, ReducingDef, ValueDef};
pub use delta::DeltaChunk;
pub use error::{Error, Result};
pub use handle::{
    AggregatingState, KeyedState, ListIter, ListState, ListView, MapState, ReducingState,
    ValueState,
};
pub use key::{
    KeyLike, PreparedKey, StateKey, java_bytes_hash, java_double_hash, java_float_hash,
    java_long_hash, java_string_hash, split_row_key,
};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_group_of, murmur, subtask_of};
pub use kind::StateKind;
pub use memory::MemoryBackend;
pub use options::{
    BackendConfig, DEFAULT_MAX_VALUE_BYTES, DEFAULT_MEMORY_BUDGET_BYTES, StoreOptions,
};
pub use scope::KeyScope;
pub use shape::Shape;
pub use snapshot::{PumpBudget, PumpStatus, SnapshotKind};
pub use store::{StateStore, StoreStats};
pub use ttl::{Ttl, UpdateType, Visibility};
