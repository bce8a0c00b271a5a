//! Sessions that grow together.

use super::{Pane, Panes, Rules, trigger_context};
use crate::{
    Error, Result, TimeDomain,
    window::{Aggregate, TriggerState, Window, WindowContext},
};

impl<A: Aggregate> Rules<A> {
    /// Puts the window of a new element among the sessions: merges it with those it overlaps or touches
    /// and gives the result (Flink's `MergingWindowSet`). The merge comes before the test for lateness:
    /// an element late by itself is taken into a live session.
    pub(super) fn merge_in<C: WindowContext<A::Acc>>(
        &self,
        aggregate: &A,
        panes: &mut Panes<A::Acc>,
        new: Window,
        cx: &mut C,
    ) -> Result<Window> {
        let mut merged = new;
        let mut parts: Vec<Window> = Vec::new();
        // Sessions do not touch each other, so only one before the new window can reach into it ...
        if let Some((&before, _)) = panes.windows.range(..new).next_back()
            && before.intersects(merged)
        {
            merged = merged.cover(before);
            parts.push(before);
        }
        // ... while the new one may reach over several after it.
        for (&after, _) in panes.windows.range(new..) {
            if !after.intersects(merged) {
                break;
            }
            merged = merged.cover(after);
            parts.push(after);
        }
        if parts.is_empty() || parts == [merged] {
            return Ok(merged);
        }

        let (domain, now) = match self.spec.assigner.domain() {
            TimeDomain::Event => (TimeDomain::Event, cx.watermark()),
            TimeDomain::Processing => (TimeDomain::Processing, cx.processing_time()),
        };
        let last = match domain {
            // Wraps round, as Java's sum does: with a lateness near the largest long Flink refuses
            // every merge.
            TimeDomain::Event => merged
                .max_timestamp()
                .as_millis()
                .wrapping_add(self.spec.lateness),
            TimeDomain::Processing => merged.max_timestamp().as_millis(),
        };
        if last <= now.as_millis() {
            return Err(Error::MergedWindowInPast {
                max_timestamp: merged.max_timestamp(),
                now,
            });
        }

        let mut whole = Pane::default();
        for part in &parts {
            let Some(mut pane) = panes.windows.remove(part) else {
                continue;
            };
            match (&mut whole.contents, pane.contents.take()) {
                (Some(all), Some(part)) => aggregate.merge(all, &part),
                (all @ None, part) => *all = part,
                (Some(_), None) => {}
            }
            whole.trigger.merge(pane.trigger);
        }
        let timers = &mut panes.timers;
        self.trigger.on_merge(
            merged,
            &mut trigger_context(merged, &mut whole.trigger, timers, cx),
        );
        for part in parts {
            // Its state has gone into the whole: what is left to delete is its window's end.
            let mut gone = TriggerState::default();
            let cx = &mut trigger_context(part, &mut gone, timers, cx);
            self.trigger.clear(part, cx);
            timers.remove(&(domain, self.cleanup_time(part), part));
        }
        panes.windows.insert(merged, whole);
        Ok(merged)
    }
}
