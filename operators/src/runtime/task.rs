//! A task: what one thread runs. It never waits inside; its thread sleeps between steps.

use crate::error::Result;
use std::time::Duration;

/// What a step of a task came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Call again at once.
    Progress,
    /// Call again when the task's signal is raised, or after this time.
    Wait {
        until: Option<Duration>,
        backpressured: bool,
    },
    /// Over.
    Finished,
}

/// Small steps that never wait: so one implementation serves a thread each, and a simulation of all on
/// one thread.
pub(crate) trait Task: Send {
    fn step(&mut self) -> Result<Step>;
}
