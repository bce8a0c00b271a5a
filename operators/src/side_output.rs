//! Second outputs of an operator, by name and type.

use crate::element::Element;
use crate::error::Result;
use crate::runtime::event::{Event, Flow, TaskContext};
use crate::runtime::link::Next;
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

/// Names a side output. Two tags of one name must have one type.
pub struct OutputTag<T> {
    name: &'static str,
    kind: PhantomData<fn() -> T>,
}

impl<T> OutputTag<T> {
    /// The tag of that name.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            kind: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for OutputTag<T> {}

impl<T> fmt::Debug for OutputTag<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OutputTag").field(&self.name).finish()
    }
}

trait Side: Send {
    fn buffer(&mut self) -> &mut dyn Any;
    fn drain(&mut self, cx: &mut TaskContext) -> Result<()>;
    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow>;
}

struct SideLink<T> {
    buffer: Vec<Element<T>>,
    next: Next<T>,
}

impl<T: Send + 'static> Side for SideLink<T> {
    fn buffer(&mut self) -> &mut dyn Any {
        &mut self.buffer
    }

    fn drain(&mut self, cx: &mut TaskContext) -> Result<()> {
        for element in self.buffer.drain(..) {
            self.next.element(element, cx)?;
        }
        Ok(())
    }

    fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        self.next.event(event, cx)
    }
}

/// The side outputs of one operator that have takers.
#[derive(Default)]
pub(crate) struct SideOutputs {
    sides: Vec<(&'static str, Box<dyn Side>)>,
    dirty: bool,
}

impl fmt::Debug for SideOutputs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.sides.iter().map(|(name, _)| name))
            .finish()
    }
}

impl SideOutputs {
    pub(crate) fn add<T: Send + 'static>(&mut self, tag: &'static str, next: Next<T>) {
        self.sides.push((
            tag,
            Box::new(SideLink {
                buffer: Vec::new(),
                next,
            }),
        ));
    }

    pub(crate) fn emit<T: Send + 'static>(&mut self, tag: &OutputTag<T>, element: Element<T>) {
        for (name, side) in &mut self.sides {
            if *name == tag.name
                && let Some(buffer) = side.buffer().downcast_mut::<Vec<Element<T>>>()
            {
                buffer.push(element);
                self.dirty = true;
                return;
            }
        }
    }

    /// Hands on what the last call emitted.
    pub(crate) fn drain(&mut self, cx: &mut TaskContext) -> Result<()> {
        if self.dirty {
            self.dirty = false;
            for (_, side) in &mut self.sides {
                side.drain(cx)?;
            }
        }
        Ok(())
    }

    pub(crate) fn event(&mut self, event: &mut Event<'_>, cx: &mut TaskContext) -> Result<Flow> {
        let mut flow = Flow::Done;
        for (_, side) in &mut self.sides {
            if side.event(event, cx)? == Flow::Blocked {
                flow = Flow::Blocked;
            }
        }
        Ok(flow)
    }
}
