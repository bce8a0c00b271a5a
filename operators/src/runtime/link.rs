//! One place in a chain of operators: composition is a direct call.

use super::event::{Event, Flow, TaskContext};
use crate::element::{Collector, Element};
use crate::error::Result;
use std::vec::IntoIter;
use time_engine::Timestamp;

/// Takes elements and events, and hands on what follows from them.
pub(crate) trait Link<T>: Send {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()>;

    /// Hands an event on after doing its own part. Must be given again as long as it is `Blocked`.
    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow>;

    /// Takes up to `limit` elements, fewer when an output fills up. One virtual call a batch.
    fn elements(
        &mut self,
        batch: &mut IntoIter<Element<T>>,
        limit: usize,
        cx: &mut TaskContext,
    ) -> Result<usize> {
        let mut taken = 0;
        while taken < limit && !cx.halt {
            let Some(element) = batch.next() else { break };
            taken += 1;
            self.element(element, cx)?;
        }
        Ok(taken)
    }
}

/// Elements whose state is brought near at a time: few enough that the first is still near when the last
/// has come.
pub(crate) const PREFETCH: usize = 16;

/// [`Link::elements`] that, when the state is larger than the caches (`ahead`), asks for what the next few
/// elements will look up before it works them off.
#[inline]
pub(crate) fn prefetched<T, L: Link<T>>(
    link: &mut L,
    batch: &mut IntoIter<Element<T>>,
    limit: usize,
    cx: &mut TaskContext,
    ahead: bool,
    mut prefetch: impl FnMut(&mut L, &T) -> Result<()>,
) -> Result<usize> {
    let mut taken = 0;
    while taken < limit && !cx.halt {
        if ahead && taken % PREFETCH == 0 {
            let next = PREFETCH.min(limit - taken);
            for element in batch.as_slice().iter().take(next) {
                prefetch(link, &element.value)?;
            }
        }
        let Some(element) = batch.next() else { break };
        taken += 1;
        link.element(element, cx)?;
    }
    Ok(taken)
}

/// A boxed link.
pub(crate) type Next<T> = Box<dyn Link<T>>;

/// The rest of the chain as the [`Collector`] of one call.
pub(crate) struct Downstream<'a, T> {
    pub(crate) next: &'a mut dyn Link<T>,
    pub(crate) cx: &'a mut TaskContext,
    /// Given to what is collected without a timestamp.
    pub(crate) timestamp: Timestamp,
}

impl<T> Collector<T> for Downstream<'_, T> {
    fn collect(&mut self, value: T) {
        self.collect_at(value, self.timestamp);
    }

    fn collect_at(&mut self, value: T, timestamp: Timestamp) {
        if self.cx.failure.is_some() {
            return;
        }
        if let Err(error) = self.next.element(Element::at(value, timestamp), self.cx) {
            self.cx.fail(error);
        }
    }
}

/// Gives each element to several links; all but the last get a copy.
pub(crate) struct Fanout<T> {
    pub(crate) links: Vec<Next<T>>,
    pub(crate) copy: fn(&T) -> T,
}

impl<T> Link<T> for Fanout<T> {
    fn element(&mut self, element: Element<T>, cx: &mut TaskContext) -> Result<()> {
        let Some((last, others)) = self.links.split_last_mut() else {
            return Ok(());
        };
        for link in others {
            link.element(
                Element::at((self.copy)(&element.value), element.timestamp),
                cx,
            )?;
        }
        last.element(element, cx)
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        let mut flow = Flow::Done;
        for link in &mut self.links {
            // given again while one is blocked: an event that is done is done at once the next time
            if link.event(event, cx)? == Flow::Blocked {
                flow = Flow::Blocked;
            }
        }
        Ok(flow)
    }
}

/// The end of a chain nobody listens to.
pub(crate) struct Discard;

impl<T> Link<T> for Discard {
    fn element(&mut self, _: Element<T>, _: &mut TaskContext) -> Result<()> {
        Ok(())
    }

    fn event(&mut self, _: &mut Event<'_>, _: &mut TaskContext) -> Result<Flow> {
        Ok(Flow::Done)
    }
}
