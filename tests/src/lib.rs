//! Workspace-wide tests.

pub mod campaign;
pub mod shop;
pub mod vectors;
pub mod weir;
