//! Recommendations learnt from an event stream, event by event.
