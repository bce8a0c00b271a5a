//! Keyed and operator state with typed handles over interchangeable backends.
//!
//! ```
//! use state_backend::{StateStore, StoreOptions, ValueDef};
//!
//! const CLICKS: ValueDef<u64> = ValueDef::new("clicks");
//!
//! let mut store = StateStore::open(StoreOptions::new())?;
//! let clicks = store.value(&CLICKS)?;
//! for user in ["ada", "bob", "ada"] {
//!     clicks.update_or_insert_with(&mut store.scope(user), || 0, |count| *count += 1)?;
//! }
//! assert_eq!(clicks.get(&mut store.scope("ada"))?, Some(&2));
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! A [`StateStore`] holds all keyed state of one thread: typed tables of decoded values in memory, a
//! [`KeyedStateBackend`] of ordered bytes beneath. An access that hits a table costs a hash look-up;
//! values are encoded when a snapshot takes them or when they are evicted. Keys are assigned to *key
//! groups* exactly as Flink does it, so that state can be split over any number of stores.
//!
//! # The kinds of state
//!
//! | kind | definition | handle |
//! | --- | --- | --- |
//! | one value | [`ValueDef`] | [`ValueState`] |
//! | a list | [`ListDef`] | [`ListState`] |
//! | a map, an entry a row | [`MapDef`] | [`MapState`] |
//! | values reduced to one | [`ReducingDef`] | [`ReducingState`] |
//! | values added to an accumulator | [`AggregatingDef`] | [`AggregatingState`] |
//! | per subtask: list, union list, broadcast | | [`operator_state`] |
//!
//! ```
//! use state_backend::{
//!     AggregateFunction, AggregatingDef, ListDef, MapDef, ReducingDef, StateStore, StoreOptions,
//! };
//!
//! /// The mean of what was added.
//! #[derive(Clone, Copy)]
//! struct Mean;
//!
//! impl AggregateFunction for Mean {
//!     type In = f64;
//!     type Acc = (f64, u64);
//!     type Out = f64;
//!
//!     fn create(&self) -> (f64, u64) {
//!         (0.0, 0)
//!     }
//!
//!     fn add(&self, (sum, count): &mut (f64, u64), value: f64) {
//!         *sum += value;
//!         *count += 1;
//!     }
//!
//!     fn result(&self, (sum, count): &(f64, u64)) -> f64 {
//!         sum / *count as f64
//!     }
//! }
//!
//! let mut store = StateStore::open(StoreOptions::new())?;
//! let history = store.list(&ListDef::<u32>::new("history"))?;
//! let ratings = store.map(&MapDef::<String, u8>::new("ratings"))?;
//! let longest = store.reducing(&ReducingDef::<u64>::new("longest", |a, b| *a = b.max(*a)))?;
//! let mean = store.aggregating(&AggregatingDef::new("mean", Mean))?;
//!
//! let mut ada = store.scope("ada");
//! history.add_all(&mut ada, [3, 1, 2])?;
//! ratings.put(&mut ada, "dune", 5)?;
//! longest.add(&mut ada, 40)?;
//! longest.add(&mut ada, 7)?;
//! mean.add(&mut ada, 1.0)?;
//! mean.add(&mut ada, 2.0)?;
//!
//! assert_eq!(history.get(&mut ada)?.to_vec(), [3, 1, 2]);
//! assert_eq!(ratings.get(&mut ada, "dune")?, Some(&5));
//! assert_eq!(longest.get(&mut ada)?, Some(&40));
//! assert_eq!(mean.get(&mut ada)?, Some(1.5));
//!
//! // The same states, apart for each window:
//! let mut window = ada.in_namespace(&1_700_000_000_000_i64);
//! assert!(history.get(&mut window)?.is_empty());
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! Values and elements are of any serde type (as postcard), or have a [`Codec`] of their own with a
//! version and a migration. A state that was stored with another kind, type or version is an error
//! when it is registered, never garbage.
//!
//! # Many keys at a time
//!
//! In a table larger than the processor's caches a look-up waits for main memory. Who knows the next keys, as a runtime
//! does that has a batch of events at hand, asks for the rows of 16 or so before the first is used:
//!
//! ```
//! use state_backend::{PreparedKey, StateStore, StoreOptions, ValueDef};
//!
//! let mut store = StateStore::open(StoreOptions::new())?;
//! let clicks = store.value(&ValueDef::<u64>::new("clicks"))?;
//! let users = ["ada", "bob", "cleo"].map(|user| PreparedKey::new(user, store.max_parallelism()));
//! for user in &users {
//!     store.scope_of(user).prefetch(); // waits for nothing
//! }
//! for user in &users {
//!     clicks.update_or_insert_with(&mut store.scope_of(user), || 0, |count| *count += 1)?;
//! }
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! # Snapshots
//!
//! [`begin_snapshot`](StateStore::begin_snapshot) takes constant time; [`pump`](StateStore::pump),
//! called between batches of work, writes the snapshot out in slices while the state goes on
//! changing. Deltas hold what changed since the newest acknowledged snapshot, deletions included.
//!
//! ```
//! use state_backend::{
//!     PumpBudget, PumpStatus, SnapshotKind, StateStore, StoreOptions, ValueDef,
//! };
//!
//! const CLICKS: ValueDef<u64> = ValueDef::new("clicks");
//! let mut store = StateStore::open(StoreOptions::new())?;
//! let clicks = store.value(&CLICKS)?;
//! clicks.set(&mut store.scope("ada"), 2)?;
//!
//! let mut chunks = Vec::new();
//! store.begin_snapshot(1, SnapshotKind::Delta)?;
//! clicks.set(&mut store.scope("ada"), 3)?; // not in the snapshot
//! while store.pump(PumpBudget::default(), &mut chunks)? != PumpStatus::SnapshotDone(1) {}
//! // ... once the chunks are stored:
//! store.acknowledge(1)?;
//!
//! let catalog = store.catalog();
//! let mut restored = StateStore::open(StoreOptions::new())?;
//! restored.restore_catalog(&catalog)?;
//! for chunk in &chunks {
//!     restored.restore_rows(catalog.name_of(chunk.state).unwrap(), chunk)?;
//! }
//! let clicks = restored.value(&CLICKS)?;
//! assert_eq!(clicks.get(&mut restored.scope("ada"))?, Some(&2));
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! # Time to live
//!
//! A [`Ttl`] in the definition lets state expire after it was written, or written or read. The clock
//! is an input: give [`set_time`](StateStore::set_time) the processing time, or the watermark.
//!
//! ```
//! use state_backend::{StateStore, StoreOptions, Ttl, ValueDef};
//! use std::time::Duration;
//!
//! const LAST: ValueDef<String> =
//!     ValueDef::new("last").with_ttl(Ttl::after_write(Duration::from_secs(60)));
//!
//! let mut store = StateStore::open(StoreOptions::new())?;
//! let last = store.value(&LAST)?;
//! last.set(&mut store.scope("ada"), "dune".to_owned())?;
//! store.set_time(59_999);
//! assert!(last.get(&mut store.scope("ada"))?.is_some());
//! store.set_time(60_000);
//! assert!(last.get(&mut store.scope("ada"))?.is_none());
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! # Choosing a backend
//!
//! [`BackendConfig`] names what lies beneath. All run at memory speed while what is in use fits
//! [the budget](StoreOptions::with_memory_budget_bytes); they differ in what happens beyond it.
//!
//! * **memory**: nothing beneath. All state stays in the tables, a write beyond the budget is an
//!   error. The fastest restore of small state; the first choice while state fits.
//! * **fs** (feature `fs`): a log of files with every key in memory (about 30 bytes a row) and one
//!   read of the disk a miss. For large values, and writes far beyond the budget.
//! * **redb** (feature `redb`): a B-tree. Keys and values on disk, ordered scans. For more keys than
//!   memory holds; uniform random writes far beyond the budget are slow in any B-tree.
//!
//! ```
//! # #[cfg(all(feature = "fs", feature = "redb"))]
//! # fn main() -> state_backend::Result<()> {
//! use state_backend::disk::{DiskOptions, Preset};
//! use state_backend::{BackendConfig, StateStore, StoreOptions, ValueDef};
//! use std::time::Instant;
//!
//! let dir = tempfile::tempdir().unwrap(); // of your own: what is in it may be deleted
//! let backends = [
//!     BackendConfig::Memory,
//!     BackendConfig::fs(dir.path().join("fs")),
//!     BackendConfig::Redb {
//!         dir: dir.path().join("redb"),
//!         options: DiskOptions::preset(Preset::FlashSsd).with_cache_bytes(16 << 20),
//!     },
//! ];
//! for backend in backends {
//!     let begin = Instant::now();
//!     let options = StoreOptions::new()
//!         .with_backend(backend.clone())
//!         .with_memory_budget_bytes(64 << 20);
//!     let mut store = StateStore::open(options)?;
//!     let clicks = store.value(&ValueDef::<u64>::new("clicks"))?;
//!     for event in 0..10_000_u64 {
//!         clicks.update_or_insert_with(&mut store.scope(&(event % 1_000)), || 0, |n| *n += 1)?;
//!     }
//!     assert_eq!(clicks.get(&mut store.scope(&7_u64))?, Some(&10));
//!     println!("{backend:?}: {:?}", begin.elapsed());
//! }
//! # Ok(())
//! # }
//! # #[cfg(not(all(feature = "fs", feature = "redb")))]
//! # fn main() {}
//! ```
//!
//! A backend of one's own implements [`KeyedStateBackend`] and proves itself with the suite of
//! feature `conformance`; `examples/own_backend.rs` does that. One that can
//! [freeze](KeyedStateBackend::freeze) its rows has snapshots of state beyond memory read beside the owner.
//!
//! # Several threads
//!
//! A store has one owner and no locks; it is `Send`. State for several threads is several stores,
//! each with a range of key groups, and events are sent to the thread that owns their key:
//!
//! ```
//! use state_backend::{
//!     KeyGroupRange, KeyLike, MaxParallelism, ReducingDef, StateStore, StoreOptions,
//!     key_group_of, subtask_of,
//! };
//! use std::{sync::mpsc, thread};
//!
//! let (max, threads) = (MaxParallelism::DEFAULT, 2);
//! let mut inboxes = Vec::new();
//! let mut workers = Vec::new();
//! for index in 0..threads {
//!     let range = KeyGroupRange::for_subtask(max, threads, index)?;
//!     let mut store = StateStore::open(StoreOptions::new().with_key_groups(max, range))?;
//!     let (inbox, events) = mpsc::sync_channel::<String>(100);
//!     inboxes.push(inbox);
//!     workers.push(thread::spawn(move || -> state_backend::Result<u64> {
//!         let count = store.reducing(&ReducingDef::<u64>::new("count", |a, b| *a += b))?;
//!         for user in events {
//!             count.add(&mut store.scope(&user), 1)?;
//!         }
//!         let mut total = 0;
//!         store.for_each(&count, |_, count| total += count)?;
//!         Ok(total)
//!     }));
//! }
//! for user in ["ada", "bob", "cleo", "ada"] {
//!     let owner = subtask_of(key_group_of(user.key_hash(), max), max, threads)?;
//!     inboxes[usize::from(owner)].send(user.to_owned()).unwrap();
//! }
//! drop(inboxes);
//! let totals = workers.into_iter().map(|worker| worker.join().unwrap());
//! assert_eq!(totals.sum::<state_backend::Result<u64>>()?, 4);
//! # Ok::<(), state_backend::Error>(())
//! ```
//!
//! # What it is not
//!
//! A database: there are no transactions over keys, and no queries but by key and in order. Nor
//! durable by itself: the snapshots are what survives (crate `checkpoint-store` keeps them), local
//! files only hold what does not fit into memory.
//!
//! # Features
//!
//! `fs` and `redb` (both on): the backends on disk. `conformance`: the suite every backend must pass.
//! `testing`: a file system that fails on command.

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
mod key_words;
mod kind;
#[cfg(any(feature = "fs", feature = "redb"))]
mod local;
mod memory;
pub mod operator_state;
mod options;
#[cfg(feature = "redb")]
pub mod redb;
mod row_key;
mod scope;
mod shape;
#[cfg(any(feature = "fs", feature = "redb"))]
mod short_key;
mod snapshot;
mod source;
mod store;
mod table;
#[cfg(feature = "testing")]
pub mod testing;
mod ttl;

pub use backend::{
    BackendStats, Change, Durability, FrozenRows, KeyedStateBackend, Maintenance, StateId, Visit,
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
    KeyLike, StateKey, java_bytes_hash, java_double_hash, java_float_hash, java_long_hash,
    java_string_hash, split_row_key,
};
pub use key_group::{KeyGroup, KeyGroupRange, MaxParallelism, key_group_of, murmur, subtask_of};
pub use key_words::{KeyBytes, KeyWords};
pub use kind::StateKind;
pub use memory::MemoryBackend;
pub use options::{
    BackendConfig, DEFAULT_MAX_VALUE_BYTES, DEFAULT_MEMORY_BUDGET_BYTES, StoreOptions,
};
pub use row_key::PreparedKey;
pub use scope::KeyScope;
pub use shape::Shape;
pub use snapshot::{PumpBudget, PumpStatus, SnapshotKind};
pub use source::{RestoreSource, RestoredRows, TakeRows};
pub use store::{LocalState, Sealing, StateStore, StoreStats};
pub use ttl::{Ttl, UpdateType, Visibility};
