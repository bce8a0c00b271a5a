//! What flows between operators.

use time_engine::Timestamp;

/// A value with its event time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<T> {
    /// The value.
    pub value: T,
    /// When it happened, or [`Element::NO_TIMESTAMP`].
    pub timestamp: Timestamp,
}

impl<T> Element<T> {
    /// Marks an element that has been given no event time.
    pub const NO_TIMESTAMP: Timestamp = Timestamp::MIN;

    /// An element without event time.
    pub fn new(value: T) -> Self {
        Self {
            value,
            timestamp: Self::NO_TIMESTAMP,
        }
    }

    /// An element that happened at `timestamp`.
    pub fn at(value: T, timestamp: Timestamp) -> Self {
        Self { value, timestamp }
    }

    /// The event time, when there is one.
    pub fn event_time(&self) -> Option<Timestamp> {
        (self.timestamp != Self::NO_TIMESTAMP).then_some(self.timestamp)
    }

    /// The same instant with another value.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Element<U> {
        Element {
            value: f(self.value),
            timestamp: self.timestamp,
        }
    }
}

/// Where an operator puts its results.
///
/// A result is handed to the next operator of the chain by a direct call, or buffered for the next
/// exchange; it is never refused and the call never waits. When the buffers are full the runtime stops
/// calling the operator until there is room.
pub trait Collector<T> {
    /// Emits a value with the timestamp of the element, or of the event timer, at hand.
    fn collect(&mut self, value: T);

    /// Emits a value with another timestamp.
    fn collect_at(&mut self, value: T, timestamp: Timestamp);
}

/// Collects into memory: for tests of an operator's own functions.
impl<T> Collector<T> for Vec<Element<T>> {
    fn collect(&mut self, value: T) {
        self.push(Element::new(value));
    }

    fn collect_at(&mut self, value: T, timestamp: Timestamp) {
        self.push(Element::at(value, timestamp));
    }
}
