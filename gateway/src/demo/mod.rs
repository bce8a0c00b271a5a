//! The demo's shop: a catalogue and the traffic of its visitors.

mod goods;
mod traffic;

pub(crate) use goods::catalogue;
pub(crate) use traffic::{Traffic, VISITORS};
