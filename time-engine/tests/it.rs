//! The promises of docs/semantics.md about windows, held against a naive recomputation, against
//! window-by-window evaluation, and at the ends of time.

#[path = "it/bounds.rs"]
mod bounds;
#[path = "it/differential.rs"]
mod differential;
#[path = "it/oracle.rs"]
mod oracle;
#[path = "it/stream.rs"]
mod stream;
