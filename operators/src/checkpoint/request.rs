//! Which requested checkpoint is triggered next: Flink's `CheckpointRequestDecider` as a pure function.

use super::failure::FailureReason;
use std::time::Duration;

/// Who asked for a checkpoint, and how urgent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RequestKind {
    /// By the interval.
    Periodic,
    /// By hand.
    Manual,
    /// A savepoint.
    Savepoint,
    /// A savepoint that passes the limit on concurrent checkpoints and the pause.
    ForcedSavepoint,
}

impl RequestKind {
    fn rank(self) -> u8 {
        match self {
            Self::ForcedSavepoint => 0,
            Self::Savepoint => 1,
            Self::Manual => 2,
            Self::Periodic => 3,
        }
    }

    /// Whether the result is a savepoint.
    pub fn is_savepoint(self) -> bool {
        matches!(self, Self::Savepoint | Self::ForcedSavepoint)
    }
}

/// Limits on triggering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// Checkpoints under way at one time.
    pub max_concurrent: usize,
    /// Least time from a completion to the next periodic trigger.
    pub min_pause: Duration,
    /// Requests that may wait.
    pub max_queued: usize,
}

/// What the coordinator observes at the moment of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Observed {
    /// The clock, in ms; the same one as `last_completion_ms`.
    pub now_ms: i64,
    /// When the last checkpoint completed.
    pub last_completion_ms: i64,
    /// Checkpoints under way.
    pub pending: usize,
    /// Old checkpoints being deleted.
    pub cleaning: usize,
    /// Whether one is being triggered at this moment.
    pub triggering: bool,
}

/// The outcome of a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision<R> {
    /// Trigger this one now.
    pub chosen: Option<R>,
    /// Ask for the next periodic checkpoint after this delay: one came too early.
    pub reschedule: Option<Duration>,
    /// These will not be triggered.
    pub rejected: Vec<(R, FailureReason)>,
}

impl<R> Default for Decision<R> {
    fn default() -> Self {
        Self {
            chosen: None,
            reschedule: None,
            rejected: Vec::new(),
        }
    }
}

#[derive(Debug)]
struct Queued<R> {
    kind: RequestKind,
    request: R,
}

/// The bounded queue of requests: forced savepoints, savepoints, manual, periodic; by age within each.
#[derive(Debug)]
pub struct RequestQueue<R> {
    limits: RequestLimits,
    queue: Vec<Queued<R>>,
}

impl<R> RequestQueue<R> {
    /// An empty queue.
    pub fn new(limits: RequestLimits) -> Self {
        Self {
            limits,
            queue: Vec::new(),
        }
    }

    /// Requests that wait.
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes a new request and decides what to trigger.
    pub fn request(&mut self, kind: RequestKind, request: R, seen: Observed) -> Decision<R> {
        let full = self.queue.len() >= self.limits.max_queued;
        if full
            && self
                .queue
                .last()
                .is_some_and(|q| q.kind != RequestKind::Periodic)
        {
            // only requests of users wait: none of them is dropped for a new one
            let rejected = vec![(request, FailureReason::TooManyCheckpointRequests)];
            return Decision {
                rejected,
                ..Decision::default()
            };
        }
        let at = self.queue.partition_point(|q| q.kind.rank() <= kind.rank());
        self.queue.insert(at, Queued { kind, request });
        let mut rejected = Vec::new();
        if self.queue.len() > self.limits.max_queued
            && let Some(last) = self.queue.pop()
        {
            rejected.push((last.request, FailureReason::TooManyCheckpointRequests));
        }
        let mut decision = self.poll(seen);
        rejected.append(&mut decision.rejected);
        Decision {
            rejected,
            ..decision
        }
    }

    /// Decides again: something changed (a checkpoint ended, a deletion finished).
    pub fn poll(&mut self, seen: Observed) -> Decision<R> {
        let mut decision = Decision::default();
        let Some(first) = self.queue.first() else {
            return decision;
        };
        if seen.triggering || seen.cleaning > self.limits.max_concurrent {
            return decision;
        }
        let forced = first.kind == RequestKind::ForcedSavepoint;
        if seen.pending >= self.limits.max_concurrent && !forced {
            return decision;
        }
        let periodic = first.kind == RequestKind::Periodic;
        let first = self.queue.remove(0);
        if periodic {
            let pause_ms = i64::try_from(self.limits.min_pause.as_millis()).unwrap_or(i64::MAX);
            let wait_ms = seen
                .last_completion_ms
                .saturating_sub(seen.now_ms)
                .saturating_add(pause_ms);
            if wait_ms > 0 {
                decision
                    .rejected
                    .push((first.request, FailureReason::MinimumTimeBetweenCheckpoints));
                decision.reschedule = Some(Duration::from_millis(wait_ms.unsigned_abs()));
                return decision;
            }
        }
        decision.chosen = Some(first.request);
        decision
    }

    /// Takes back all that waits, for instance when the job ends.
    pub fn drain(&mut self) -> impl Iterator<Item = R> + '_ {
        self.queue.drain(..).map(|q| q.request)
    }
}
