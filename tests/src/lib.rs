//! Workspace-wide tests.

pub mod vectors;
