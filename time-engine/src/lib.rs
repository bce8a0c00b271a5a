//! Event time as Apache Flink defines it: watermarks, timers and windows for any loop.
//!
//! ```
//! use std::time::Duration;
//! use time_engine::{Timestamp, Watermark};
//! use time_engine::window::{Output, SharedWindows, Stats, WindowEngine, WindowSpec};
//!
//! let minute = Duration::from_secs(60);
//! let specs = vec![WindowSpec::tumbling(minute), WindowSpec::sliding(5 * minute, minute)];
//! let mut engine = WindowEngine::new(SharedWindows::new(Stats, specs)?);
//!
//! for (at, value) in [(0, 3), (59_999, 4), (60_000, 10)] {
//!     engine.on_element(&"ann", Timestamp::from_millis(at), &value, |_| {})?;
//! }
//! let mut first_minute = None;
//! engine.on_watermark(Watermark::from_millis(59_999), |output| {
//!     if let Output::Result { spec: 0, contents, .. } = output {
//!         first_minute = Some((contents.count, contents.sum));
//!     }
//! });
//! assert_eq!(first_minute, Some((2, 7)));
//! # Ok::<(), time_engine::Error>(())
//! ```
//!
//! # Event time in a picture
//!
//! Events carry the time at which they happened, and come in another order. A *watermark* says how far
//! event time has come: "nothing at or before this is still expected". Here it allows 3 ms of disorder
//! ([`watermark::BoundedOutOfOrderness`]: latest timestamp, less 3, less 1), and windows are 3 ms long:
//!
//! ```text
//! arrival      1st   2nd   3rd   4th   5th   6th      each event is shown by its timestamp
//! event        (1)   (4)   (2)   (6)   (3)   (0)
//! latest        1     4     4     6     6     6
//! watermark    -3     0     0     2     2     2
//!                                 |           |
//!                                 |           `- (0) belongs to [0,3), which is closed: late
//!                                 `- the watermark is at 2, the last instant of [0,3): it fires
//!
//! event time   0  1  2  | 3  4  5  | 6  7  8
//!              [  0,3   )[  3,6   )[  6,9   )
//!  in [0,3)       1  2                          (2) came after (4), and in time
//!  in [3,6)               3  4                  waits until the watermark reaches 5
//!  in [6,9)                          6
//! ```
//!
//! The bound is the choice between *waiting* and *missing*: a greater one fires later and calls fewer events
//! late. [`window::WindowSpec::with_allowed_lateness`] is the third way: fire in time, and again for each
//! event that comes until the lateness is over.
//!
//! # What is here
//!
//! * [`Timestamp`], [`TimeDomain`], [`Clock`]: instants, and where they come from. Nothing here reads a
//!   clock on its own: the loop does, and hands the reading in.
//! * [`watermark`]: generators (bounded, monotonous, punctuated, dynamic, quantile, your own), idleness,
//!   and how several become one: [`watermark::WatermarkValve`] over the channels of an input,
//!   [`watermark::WatermarkMerge`] over inputs, [`watermark::SplitWatermarks`] over the splits of a source,
//!   which also holds the fast ones back.
//! * [`TimerService`]: "call this key back then", in both domains.
//! * [`window`]: what to compute ([`window::Aggregate`]), over which windows ([`window::WindowSpec`]), and
//!   two ways to evaluate them: [`window::SharedWindows`] at a cost that does not grow with the number and
//!   overlap of the windows, [`window::PlainWindows`] for any trigger and evictor. Both are functions
//!   over a plain state of one key ([`window::KeyedWindows`]), so that a runtime can keep it in
//!   checkpointed state; [`window::WindowEngine`] keeps it in memory.
//!
//! It is not a runtime: no threads, no I/O, no state store. It does not panic and does not hang on any
//! timestamp; the whole of `i64` is legal.
//!
//! What it promises, and where it differs from Flink on purpose, is in `docs/semantics.md` of the
//! repository, each promise with the test that holds it.
//!
//! # Features
//!
//! * `serde`: `Serialize` and `Deserialize` for all that a checkpoint must hold.

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

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
