//! The recommender's core: pure functions over records.

mod board;
mod channel;
mod core;
mod directory;
mod features;
mod fusion;
mod gather;
mod handle;
mod history;
mod impressions;
mod math;
mod memory;
mod options;
mod packed;
mod query;
mod ranking;
mod records;
mod row;
mod scratch;
mod sums;
mod tutorial;
mod why;

pub use self::core::{Interaction, Model};
pub use board::Board;
pub use channel::{CHANNELS, Channel};
pub use fusion::Fusion;
pub use handle::{Handle, MAX_SLOTS};
pub use history::{History, Touch};
pub use memory::MemoryRecords;
pub use options::{Options, Seen};
pub(crate) use query::Standing;
pub use query::{Ask, Ranked};
pub use ranking::Ranking;
pub use records::{Directory, Global, ItemRecord, Records, UserRecord};
pub use row::Row;
pub use why::Why;
