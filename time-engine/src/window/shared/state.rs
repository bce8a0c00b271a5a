//! What is kept for one key.

use super::{cascade::Cascade, sessions::Sessions, slices::Slices};
use crate::window::{plain::Panes, wake::Wake};
use std::collections::BTreeSet;

/// What [`super::SharedWindows`] keep for a key. Plain data: whoever holds it may write it down.
#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(bound(
        serialize = "Acc: serde::Serialize",
        deserialize = "Acc: serde::Deserialize<'de>"
    ))
)]
pub struct SharedState<Acc> {
    pub(super) slices: Slices<Acc>,
    pub(super) sessions: Sessions<Acc>,
    /// All sliced windows that were due up to this instant have fired, and those whose lateness was
    /// over are closed. After a restore the watermark starts below it.
    pub(super) reached: i64,
    pub(super) wake: Wake,
    /// Seldom there.
    pub(super) rest: Option<Box<Rest<Acc>>>,
    /// Partial results, one for each sliced specification; nothing that could not be computed again.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(super) cascades: Vec<Option<Cascade<Acc>>>,
}

#[derive(Debug, Clone)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Rest<Acc> {
    /// Sliced windows, by end and part, that have fired before and are due again: only when time was
    /// set back, by a restore.
    pub(super) again: BTreeSet<(i64, usize)>,
    /// Windows evaluated one by one, for each part.
    pub(super) panes: Vec<Panes<Acc>>,
}

impl<Acc> Default for SharedState<Acc> {
    fn default() -> Self {
        Self {
            slices: Slices::default(),
            sessions: Sessions::default(),
            reached: i64::MIN,
            wake: Wake::default(),
            rest: None,
            cascades: Vec::new(),
        }
    }
}

impl<Acc: Clone> SharedState<Acc> {
    /// How many accumulators are kept for slices and sessions.
    pub fn slices(&self) -> usize {
        self.slices.len() + self.sessions.len()
    }

    pub(super) fn rest(&mut self, parts: usize) -> &mut Rest<Acc> {
        self.rest.get_or_insert_with(|| {
            Box::new(Rest {
                again: BTreeSet::new(),
                panes: (0..parts).map(|_| Panes::default()).collect(),
            })
        })
    }

    pub(super) fn panes(&mut self, part: usize, parts: usize) -> Option<&mut Panes<Acc>> {
        self.rest(parts).panes.get_mut(part)
    }
}
