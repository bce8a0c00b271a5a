//! From the wish for a checkpoint to its barriers.

use super::{Coordinator, UnderWay, Wanted, reject};
use crate::checkpoint::{
    CheckpointRecord, CheckpointState, Decision, FailureReason, Observed, Pending, RequestKind,
    SnapshotPurpose,
};
use crate::config::{Barriers, CheckpointConfig};
use crate::graph::lock;
use crate::runtime::commit;
use crate::runtime::event::{Barrier, Passing};
use crate::runtime::executor::Executor;
use crate::runtime::report::Command;
use state_backend::SnapshotKind;
use std::time::Duration;

impl<E: Executor> Coordinator<E> {
    pub(super) fn observed(&self) -> Observed {
        let ms = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Observed {
            now_ms: ms(self.config.clock.elapsed()),
            last_completion_ms: ms(self.last_completion),
            pending: self.under_way.len(),
            cleaning: 0,
            triggering: false,
        }
    }

    pub(super) fn request(&mut self, kind: RequestKind, wanted: Wanted) {
        let seen = self.observed();
        let decision = self.requests.request(kind, wanted, seen);
        self.decided(decision);
    }

    pub(super) fn poll_requests(&mut self) {
        let seen = self.observed();
        let decision = self.requests.poll(seen);
        self.decided(decision);
    }

    pub(super) fn decided(&mut self, decision: Decision<Wanted>) {
        for (wanted, reason) in decision.rejected {
            reject(wanted, reason);
        }
        if let Some(delay) = decision.reschedule {
            self.next_trigger = Some(self.config.clock.elapsed() + delay);
        }
        if let Some(wanted) = decision.chosen {
            self.trigger(wanted);
        }
    }

    pub(super) fn trigger(&mut self, wanted: Wanted) {
        let Some(checkpoint) = self.config.checkpoint.clone() else {
            return;
        };
        let id = self.next_id;
        self.next_id += 1;
        let triggered = self.config.clock.now();
        let started = self.config.clock.elapsed();
        let pending = Pending::new(id, wanted.purpose, triggered, self.parts.iter().cloned());
        self.history.begin(CheckpointRecord {
            id,
            purpose: wanted.purpose,
            triggered_ms: triggered.as_millis(),
            duration_ms: 0,
            commit_us: 0,
            bytes_written: 0,
            bytes_total: 0,
            parts: pending.parts(),
            shards: Vec::new(),
            state: CheckpointState::InProgress,
        });
        let (passing, after) = passing(checkpoint.barriers, &wanted);
        let barrier = Barrier {
            id,
            purpose: wanted.purpose,
            kind: self.kind(&checkpoint, id, &wanted),
            triggered,
            halt: wanted.halt,
            last: wanted.last,
            passing,
        };
        let savepoint = wanted
            .directory
            .as_ref()
            .map(|directory| commit::create_savepoint(&checkpoint.store, directory));
        let under_way = UnderWay {
            pending,
            wanted,
            expires: started + checkpoint.timeout,
            started,
            overtakes: after.map(|after| started + after),
        };
        self.under_way.insert(id, under_way);
        match savepoint {
            Some(Ok(savepoint)) => drop(lock(&self.savepoints).insert(id, savepoint)),
            Some(Err(error)) => {
                self.abort(id, FailureReason::IoException, error.chain());
                return;
            }
            None => {}
        }
        self.sources(&Command::Trigger(barrier));
        self.publish();
    }

    fn kind(&self, checkpoint: &CheckpointConfig, id: u64, wanted: &Wanted) -> SnapshotKind {
        let full = self.full
            || wanted.purpose == SnapshotPurpose::Savepoint
            || checkpoint
                .full_every
                .is_some_and(|n| id.is_multiple_of(u64::from(n)));
        if full {
            SnapshotKind::Full
        } else {
            SnapshotKind::Delta
        }
    }

    /// Has the barriers of a checkpoint overtake that has been aligning for too long; says whether there
    /// was one.
    pub(super) fn overtake(&mut self, now: Duration) -> bool {
        let due = |under_way: &UnderWay| under_way.overtakes.is_some_and(|at| now >= at);
        let Some((id, under_way)) = self.under_way.iter_mut().find(|(_, u)| due(u)) else {
            return false;
        };
        let id = *id;
        under_way.overtakes = None;
        tracing::debug!(job = %self.config.name, checkpoint = id, "its barriers overtake");
        self.all(&Command::Overtake(id));
        true
    }
}

/// How the barriers of a checkpoint set out, and after what time they overtake. Savepoints and what ends a
/// job hold no elements under way, so that another job can restore from them.
fn passing(barriers: Barriers, wanted: &Wanted) -> (Passing, Option<Duration>) {
    if wanted.purpose == SnapshotPurpose::Savepoint || wanted.last {
        return (Passing::InOrder, None);
    }
    match barriers {
        Barriers::Aligned => (Passing::InOrder, None),
        Barriers::Unaligned | Barriers::UnalignedAfter(Duration::ZERO) => {
            (Passing::Overtaking, None)
        }
        Barriers::UnalignedAfter(time) => (Passing::InOrder, Some(time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_recovery_checkpoints_are_unaligned() {
        let soon = Duration::from_millis(5);
        let checkpoint = || Wanted::new(SnapshotPurpose::Checkpoint, Vec::new());
        let of = |barriers| passing(barriers, &checkpoint());
        assert_eq!(of(Barriers::Aligned), (Passing::InOrder, None));
        assert_eq!(of(Barriers::Unaligned), (Passing::Overtaking, None));
        let after = Barriers::UnalignedAfter(soon);
        assert_eq!(of(after), (Passing::InOrder, Some(soon)));
        // Flink: a timeout of 0 starts unaligned
        let zero = Barriers::UnalignedAfter(Duration::ZERO);
        assert_eq!(of(zero), (Passing::Overtaking, None));
        let mut last = checkpoint();
        last.last = true;
        let savepoint = Wanted::new(SnapshotPurpose::Savepoint, Vec::new());
        for wanted in [last, savepoint] {
            assert_eq!(
                passing(Barriers::Unaligned, &wanted),
                (Passing::InOrder, None)
            );
            assert_eq!(passing(after, &wanted), (Passing::InOrder, None));
        }
    }
}
