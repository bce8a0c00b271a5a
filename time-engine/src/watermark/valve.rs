//! Many channels of one input: minimum over the active and aligned ones.

use super::{Signal, Watermark, WatermarkStatus};
use crate::{Error, Result};

/// The watermark of one input that comes over several channels: Flink's `StatusWatermarkValve`.
///
/// The output is the minimum over the channels that are active *and* aligned, and only grows. A channel
/// back from idleness below the last output is unaligned: it holds nobody back until it has caught up.
/// When the last active channel goes idle and its watermark was the output, the maximum over all
/// channels is given before the idle status, for nothing else will come.
///
/// Cost: O(channels) for each watermark.
#[derive(Debug, Clone)]
pub struct WatermarkValve {
    channels: Vec<Channel>,
    output: Watermark,
    status: WatermarkStatus,
}

#[derive(Debug, Clone, Copy)]
struct Channel {
    watermark: Watermark,
    status: WatermarkStatus,
    aligned: bool,
}

impl WatermarkValve {
    /// All channels active, without a watermark yet.
    pub fn new(channels: usize) -> Self {
        Self {
            channels: vec![
                Channel {
                    watermark: Watermark::MIN,
                    status: WatermarkStatus::Active,
                    aligned: true,
                };
                channels
            ],
            output: Watermark::MIN,
            status: WatermarkStatus::Active,
        }
    }

    /// The last watermark given.
    pub const fn current(&self) -> Watermark {
        self.output
    }

    /// Whether any channel moves time.
    pub const fn status(&self) -> WatermarkStatus {
        self.status
    }

    /// A watermark came over a channel. Regressing ones, and those on idle channels, are ignored.
    ///
    /// # Errors
    /// No such channel.
    pub fn on_watermark(
        &mut self,
        channel: usize,
        watermark: Watermark,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        let output = self.output;
        let valve_idle = self.status == WatermarkStatus::Idle;
        let it = self.channel(channel)?;
        if valve_idle || it.status == WatermarkStatus::Idle || watermark <= it.watermark {
            return Ok(());
        }
        it.watermark = watermark;
        it.aligned |= watermark >= output;
        self.raise_to_minimum(out);
        Ok(())
    }

    /// A channel went idle or came back.
    ///
    /// # Errors
    /// No such channel.
    pub fn on_status(
        &mut self,
        channel: usize,
        status: WatermarkStatus,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        let output = self.output;
        let it = self.channel(channel)?;
        if it.status == status {
            return Ok(());
        }
        it.status = status;
        let held_the_output = it.watermark == output;
        match status {
            WatermarkStatus::Idle => {
                it.aligned = false;
                let all_idle = self
                    .channels
                    .iter()
                    .all(|c| c.status == WatermarkStatus::Idle);
                if all_idle {
                    if held_the_output {
                        let highest = self.channels.iter().map(|c| c.watermark).max();
                        self.raise(highest, out);
                    }
                    self.status = WatermarkStatus::Idle;
                    out(Signal::Status(WatermarkStatus::Idle));
                } else if held_the_output {
                    self.raise_to_minimum(out);
                }
            }
            WatermarkStatus::Active => {
                it.aligned |= it.watermark >= output;
                if self.status == WatermarkStatus::Idle {
                    self.status = WatermarkStatus::Active;
                    out(Signal::Status(WatermarkStatus::Active));
                }
            }
        }
        Ok(())
    }

    fn channel(&mut self, index: usize) -> Result<&mut Channel> {
        self.channels
            .get_mut(index)
            .ok_or_else(|| Error::UnknownInput {
                id: index.to_string(),
                problem: "is not a channel of this valve",
            })
    }

    fn raise_to_minimum(&mut self, out: &mut (impl FnMut(Signal) + ?Sized)) {
        let aligned = self.channels.iter().filter(|c| c.aligned);
        let lowest = aligned.map(|c| c.watermark).min();
        self.raise(lowest, out);
    }

    fn raise(&mut self, to: Option<Watermark>, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if let Some(to) = to
            && to > self.output
        {
            self.output = to;
            out(Signal::Watermark(to));
        }
    }
}
