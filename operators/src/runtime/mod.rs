//! How a job runs. Nothing here is public.

pub(crate) mod align;
pub(crate) mod chain;
pub(crate) mod channel;
pub(crate) mod commit;
pub(crate) mod coordinator;
pub(crate) mod deployment;
pub(crate) mod event;
pub(crate) mod exchange;
pub(crate) mod executor;
pub(crate) mod function;
pub(crate) mod inbox;
pub(crate) mod input_task;
pub(crate) mod keyed;
pub(crate) mod link;
pub(crate) mod metrics;
pub(crate) mod observe;
pub(crate) mod query;
pub(crate) mod report;
pub(crate) mod shell;
pub(crate) mod signal;
pub(crate) mod snapshot;
pub(crate) mod source_task;
pub(crate) mod task;
pub(crate) mod timers;
pub(crate) mod windows;
pub(crate) mod writer;
