//! Promises of the store that hold over every backend.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests, too")]

mod model;
mod restore;
mod slices;
mod states;
