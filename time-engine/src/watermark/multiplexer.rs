//! Watermarks of the splits of one source.

use super::{
    Signal, Watermark, WatermarkStatus,
    merge::{Combined, Partial},
};
use crate::{Error, Result};
use std::{collections::BTreeMap, fmt::Debug};

/// When an output's news reaches the combined watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Emission {
    /// At once: for punctuated watermarks.
    Immediate,
    /// At the next [`WatermarkMultiplexer::on_periodic`].
    Deferred,
}

/// The combined watermark of the outputs of one source, one for each split it reads: the minimum over
/// those that are not idle. Flink's `WatermarkOutputMultiplexer`.
///
/// The combined value never goes back; a new output holds everything back from [`Watermark::MIN`], and
/// one that is unregistered holds nobody back any more. A watermark on an idle output makes it active.
///
/// ```
/// use time_engine::Watermark;
/// use time_engine::watermark::{Emission, Signal, WatermarkMultiplexer};
///
/// let mut splits = WatermarkMultiplexer::new();
/// splits.register("partition 0")?;
/// splits.register("partition 1")?;
/// let mut out = Vec::new();
/// for (split, at) in [("partition 0", 50), ("partition 1", 20)] {
///     let watermark = Watermark::from_millis(at);
///     splits.on_watermark(&split, watermark, Emission::Immediate, &mut |s| out.push(s))?;
/// }
/// assert_eq!(out, [Signal::Watermark(Watermark::from_millis(20))]);
/// # Ok::<(), time_engine::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct WatermarkMultiplexer<S> {
    outputs: BTreeMap<S, Partial>,
    combined: Combined,
}

impl<S> Default for WatermarkMultiplexer<S> {
    fn default() -> Self {
        Self {
            outputs: BTreeMap::new(),
            combined: Combined::NEW,
        }
    }
}

impl<S: Ord + Debug> WatermarkMultiplexer<S> {
    /// No outputs.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an output.
    ///
    /// # Errors
    /// One of that name is there.
    pub fn register(&mut self, split: S) -> Result<()> {
        if self.outputs.contains_key(&split) {
            return Err(Error::UnknownInput {
                id: format!("{split:?}"),
                problem: "is registered already",
            });
        }
        self.outputs.insert(split, Partial::NEW);
        Ok(())
    }

    /// Takes an output away; whether it was there. What it held back goes out with the next update.
    pub fn unregister(&mut self, split: &S) -> bool {
        self.outputs.remove(split).is_some()
    }

    /// The combined watermark.
    pub const fn current(&self) -> Watermark {
        self.combined.watermark
    }

    /// A watermark of one output.
    ///
    /// # Errors
    /// No such output.
    pub fn on_watermark(
        &mut self,
        split: &S,
        watermark: Watermark,
        emission: Emission,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        let grew = self.output(split)?.set_watermark(watermark);
        if grew && emission == Emission::Immediate {
            self.on_periodic(out);
        }
        Ok(())
    }

    /// An output went idle or came back.
    ///
    /// # Errors
    /// No such output.
    pub fn on_status(
        &mut self,
        split: &S,
        status: WatermarkStatus,
        emission: Emission,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        self.output(split)?.set_status(status);
        if emission == Emission::Immediate {
            self.on_periodic(out);
        }
        Ok(())
    }

    /// Combines what has come, deferred outputs included. All of them idle gives
    /// [`WatermarkStatus::Idle`] each time.
    pub fn on_periodic(&mut self, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if self.combined.update(self.outputs.values()) {
            out(Signal::Watermark(self.combined.watermark));
        } else if self.combined.idle {
            out(Signal::Status(WatermarkStatus::Idle));
        }
    }

    fn output(&mut self, split: &S) -> Result<&mut Partial> {
        self.outputs
            .get_mut(split)
            .ok_or_else(|| Error::UnknownInput {
                id: format!("{split:?}"),
                problem: "is not registered",
            })
    }
}
