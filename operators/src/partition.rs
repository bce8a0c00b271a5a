//! How elements are dealt out over the subtasks of the next operator.

use crate::error::{Error, Result};
use crate::key::KeySelector;
use crate::runtime::exchange::{Route, Target};
use state_backend::{KeyGroup, MaxParallelism, subtask_of};
use std::sync::Arc;

/// Deals elements out in a way of the user's own; see [`crate::Stream::partition_custom`].
pub trait Partitioner<T>: Send + Sync + 'static {
    /// The subtask, below `subtasks`, that an element goes to.
    fn partition(&self, value: &T, subtasks: usize) -> usize;
}

impl<T, F: Fn(&T, usize) -> usize + Send + Sync + 'static> Partitioner<T> for F {
    fn partition(&self, value: &T, subtasks: usize) -> usize {
        self(value, subtasks)
    }
}

pub(crate) struct KeyRoute<S> {
    pub(crate) selector: Arc<S>,
    pub(crate) max: MaxParallelism,
    pub(crate) subtasks: u16,
    pub(crate) by_group: Vec<u16>,
}

impl<S> KeyRoute<S> {
    pub(crate) fn new(selector: Arc<S>, max: MaxParallelism, subtasks: usize) -> Result<Self> {
        let subtasks = u16::try_from(subtasks).map_err(|_| Error::invalid("too many subtasks"))?;
        let by_group = (0..max.get())
            .map(|group| subtask_of(KeyGroup::new(group), max, subtasks))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            selector,
            max,
            subtasks,
            by_group,
        })
    }
}

impl<T, S: KeySelector<T>> Route<T> for KeyRoute<S> {
    #[inline]
    fn route(&mut self, value: &T) -> Result<Target> {
        if self.subtasks == 1 {
            return Ok(Target::One(0));
        }
        let group = self.selector.group(value, self.max);
        Ok(Target::One(usize::from(
            self.by_group[usize::from(group.get())],
        )))
    }
}

/// In turn.
pub(crate) struct Rebalance {
    pub(crate) next: usize,
    pub(crate) subtasks: usize,
}

impl<T> Route<T> for Rebalance {
    fn route(&mut self, _: &T) -> Result<Target> {
        let to = self.next;
        self.next = if to + 1 >= self.subtasks { 0 } else { to + 1 };
        Ok(Target::One(to))
    }

    /// All of an old subtask to one, so that they keep their order.
    fn reroute(&mut self, _: &T, old: usize) -> Result<Target> {
        Ok(Target::One(old % self.subtasks.max(1)))
    }
}

/// A copy to each.
pub(crate) struct ToAll;

impl<T> Route<T> for ToAll {
    fn route(&mut self, _: &T) -> Result<Target> {
        Ok(Target::All)
    }
}

/// Everything to one.
pub(crate) struct ToOne(pub(crate) usize);

impl<T> Route<T> for ToOne {
    fn route(&mut self, _: &T) -> Result<Target> {
        Ok(Target::One(self.0))
    }
}

pub(crate) struct Custom<P> {
    pub(crate) partitioner: Arc<P>,
    pub(crate) subtasks: usize,
}

impl<T, P: Partitioner<T>> Route<T> for Custom<P> {
    fn route(&mut self, value: &T) -> Result<Target> {
        let to = self.partitioner.partition(value, self.subtasks);
        if to >= self.subtasks {
            let subtasks = self.subtasks;
            let what = format!("a partitioner chose subtask {to} of {subtasks}");
            return Err(Error::invalid(what));
        }
        Ok(Target::One(to))
    }
}
