//! Several inputs of one operator: minimum over those that are not idle.

use super::{Signal, Watermark, WatermarkStatus};
use crate::{Error, Result};

/// One contribution to a minimum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial {
    watermark: Watermark,
    idle: bool,
}

impl Partial {
    pub(super) const NEW: Self = Self {
        watermark: Watermark::MIN,
        idle: false,
    };

    /// Takes a watermark, which also ends idleness; whether it grew.
    pub(super) fn set_watermark(&mut self, watermark: Watermark) -> bool {
        self.idle = false;
        let grew = watermark > self.watermark;
        self.watermark = self.watermark.max(watermark);
        grew
    }

    pub(super) const fn set_status(&mut self, status: WatermarkStatus) {
        self.idle = matches!(status, WatermarkStatus::Idle);
    }
}

/// The minimum of partial watermarks: Flink's `CombinedWatermarkStatus`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Combined {
    pub(super) watermark: Watermark,
    pub(super) idle: bool,
}

impl Combined {
    pub(super) const NEW: Self = Self {
        watermark: Watermark::MIN,
        idle: false,
    };

    /// Looks at the parts again; whether the minimum grew.
    pub(super) fn update<'a>(&mut self, parts: impl Iterator<Item = &'a Partial>) -> bool {
        let (mut any, mut lowest) = (false, None);
        for part in parts {
            any = true;
            if !part.idle {
                lowest = Some(lowest.map_or(part.watermark, |l: Watermark| l.min(part.watermark)));
            }
        }
        if !any {
            return false;
        }
        self.idle = lowest.is_none();
        match lowest {
            Some(lowest) if lowest > self.watermark => {
                self.watermark = lowest;
                true
            }
            _ => false,
        }
    }
}

/// The watermark of an operator with several inputs, such as a join: the minimum over the inputs that
/// are not idle. Flink's two-input operator.
///
/// Its rules are not the valve's: nothing is flushed when all go idle, a watermark ends an input's
/// idleness, and on reactivation a watermark comes before the status.
#[derive(Debug, Clone)]
pub struct WatermarkMerge {
    inputs: Vec<Partial>,
    combined: Combined,
}

impl WatermarkMerge {
    /// All inputs active, without a watermark yet.
    pub fn new(inputs: usize) -> Self {
        Self {
            inputs: vec![Partial::NEW; inputs],
            combined: Combined::NEW,
        }
    }

    /// The last watermark given.
    pub const fn current(&self) -> Watermark {
        self.combined.watermark
    }

    /// A watermark came over an input.
    ///
    /// # Errors
    /// No such input.
    pub fn on_watermark(
        &mut self,
        input: usize,
        watermark: Watermark,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        self.input(input)?.set_watermark(watermark);
        self.update(out);
        Ok(())
    }

    /// An input went idle or came back.
    ///
    /// # Errors
    /// No such input.
    pub fn on_status(
        &mut self,
        input: usize,
        status: WatermarkStatus,
        out: &mut (impl FnMut(Signal) + ?Sized),
    ) -> Result<()> {
        let was_idle = self.combined.idle;
        self.input(input)?.set_status(status);
        self.update(out);
        if was_idle != self.combined.idle {
            out(Signal::Status(status));
        }
        Ok(())
    }

    fn input(&mut self, index: usize) -> Result<&mut Partial> {
        self.inputs
            .get_mut(index)
            .ok_or_else(|| Error::UnknownInput {
                id: index.to_string(),
                problem: "is not an input of this operator",
            })
    }

    fn update(&mut self, out: &mut (impl FnMut(Signal) + ?Sized)) {
        if self.combined.update(self.inputs.iter()) {
            out(Signal::Watermark(self.combined.watermark));
        }
    }
}
