//! Event time as Apache Flink defines it.

mod clock;
mod error;
mod timer;
mod timestamp;
pub mod watermark;
pub mod window;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, Result};
pub use timer::{Timer, TimerService};
pub use timestamp::{TimeDomain, Timestamp};
pub use watermark::Watermark;
