//! The call back a key waits for.

use super::WindowContext;
use crate::{TimeDomain, Timestamp};

/// The one call a key has pending in each domain.
///
/// It moves to an earlier instant at once, to a later one only when it comes: a session that grows with
/// every element so costs no timer for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(super) struct Wake {
    event: Option<Timestamp>,
    processing: Option<Timestamp>,
}

impl Wake {
    pub(super) const fn at(&self, domain: TimeDomain) -> Option<Timestamp> {
        match domain {
            TimeDomain::Event => self.event,
            TimeDomain::Processing => self.processing,
        }
    }

    const fn slot(&mut self, domain: TimeDomain) -> &mut Option<Timestamp> {
        match domain {
            TimeDomain::Event => &mut self.event,
            TimeDomain::Processing => &mut self.processing,
        }
    }

    /// The call for `at` has come.
    pub(super) fn fired(&mut self, domain: TimeDomain, at: Timestamp) {
        let slot = self.slot(domain);
        if *slot == Some(at) {
            *slot = None;
        }
    }

    /// Sees to it that a call comes no later than `wanted`.
    pub(super) fn want<Acc, C: WindowContext<Acc>>(
        &mut self,
        domain: TimeDomain,
        wanted: Option<Timestamp>,
        cx: &mut C,
    ) {
        let slot = self.slot(domain);
        match (*slot, wanted) {
            (Some(pending), Some(wanted)) if pending <= wanted => {}
            (None, None) => {}
            (pending, wanted) => {
                if let Some(pending) = pending {
                    cx.cancel(domain, pending);
                }
                if let Some(wanted) = wanted {
                    cx.schedule(domain, wanted);
                }
                *slot = wanted;
            }
        }
    }
}
