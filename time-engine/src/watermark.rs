//! How far event time has come: watermarks, who makes them, and how several become one.

mod alignment;
mod assigner;
mod dynamic;
mod generator;
mod merge;
mod multiplexer;
mod quantile;
mod splits;
mod valve;

pub use alignment::{Alignment, Pace};
pub use assigner::{AssignerOptions, WatermarkAssigner};
pub use dynamic::DynamicWatermarks;
pub use generator::{
    BoundedOutOfOrderness, Monotonous, NoWatermarks, Punctuated, WatermarkGenerator,
};
pub use merge::WatermarkMerge;
pub use multiplexer::{Emission, WatermarkMultiplexer};
pub use quantile::{QuantileOptions, QuantileWatermarks};
pub use splits::SplitWatermarks;
pub use valve::WatermarkValve;

use crate::Timestamp;
use std::fmt;

/// No element at or before this instant is still expected; one that arrives is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Watermark(Timestamp);

impl Watermark {
    /// Nothing is known yet: the watermark before the first one.
    pub const MIN: Self = Self(Timestamp::MIN);
    /// The end of the input: everything that waits for event time happens now.
    pub const MAX: Self = Self(Timestamp::MAX);

    /// The watermark that says everything up to `at` has come.
    pub const fn new(at: Timestamp) -> Self {
        Self(at)
    }

    /// The same from milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(Timestamp::from_millis(millis))
    }

    /// The instant it stands at.
    pub const fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Its milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0.as_millis()
    }
}

impl fmt::Display for Watermark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Whether a stream moves time. An idle one holds nobody back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum WatermarkStatus {
    /// Watermarks can be expected.
    Active,
    /// None can for now.
    Idle,
}

/// What goes downstream about time, in the order of the calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Signal {
    /// Time has come this far.
    Watermark(Watermark),
    /// The stream became idle or active.
    Status(WatermarkStatus),
}
