//! From the acknowledgements of a checkpoint to its end, good or bad.

use super::{Coordinator, Phase, UnderWay, millis, reject};
use crate::checkpoint::{
    Ack, CheckpointState, FailureReason, FailureVerdict, Progress, ShardKey, SnapshotPurpose,
};
use crate::error::Error;
use crate::graph::lock;
use crate::job::CompletedCheckpoint;
use crate::runtime::commit;
use crate::runtime::executor::Executor;
use crate::runtime::report::Command;
use crate::runtime::snapshot::micros;
use checkpoint_store::Compactor;
use std::sync::Arc;

impl<E: Executor> Coordinator<E> {
    pub(super) fn on_ack(&mut self, id: u64, part: ShardKey, ack: Ack) {
        let Some(under_way) = self.under_way.get_mut(&id) else {
            return;
        };
        if under_way.pending.on_ack(part, ack) == Progress::Complete {
            self.complete(id);
        }
    }

    pub(super) fn complete(&mut self, id: u64) {
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        let UnderWay {
            pending,
            wanted,
            started,
            expires,
            overtakes,
        } = under_way;
        let Some(checkpoint) = self.config.checkpoint.clone() else {
            return;
        };
        let before = self.config.clock.elapsed();
        let took = millis(before.saturating_sub(started));
        let savepoint = lock(&self.savepoints).remove(&id);
        let committed = commit::commit(
            &checkpoint.store,
            &pending,
            self.previous.as_deref(),
            savepoint.as_ref().zip(wanted.directory.as_deref()),
            self.compactor.as_mut().and_then(Compactor::result),
            &self.config,
            took,
        );
        let commit::Committed {
            manifest,
            location,
            shards,
        } = match committed {
            Ok(committed) => committed,
            Err(error) => {
                self.under_way.insert(
                    id,
                    UnderWay {
                        pending,
                        wanted,
                        expires,
                        started,
                        overtakes,
                    },
                );
                self.abort(id, FailureReason::FinalizeCheckpointFailure, error.chain());
                return;
            }
        };
        let now = self.config.clock.elapsed();
        self.last_completion = now;
        self.history.complete(id, |record| {
            record.duration_ms = millis(now.saturating_sub(started));
            record.commit_us = micros(now.saturating_sub(before));
            record.bytes_written = manifest.stats.bytes_written;
            record.bytes_total = manifest.stats.bytes_total;
            record.shards = shards;
            record.state = CheckpointState::Completed {
                location: location.clone(),
            };
        });
        if let Some(record) = self.history.get(id) {
            tracing::debug!(job = %self.config.name, "{record}");
            self.observer.completed(record);
        }
        if pending.purpose == SnapshotPurpose::Checkpoint {
            self.failures.on_complete(id);
            self.full = false;
            if let Some(compactor) = &mut self.compactor {
                compactor.committed(&manifest);
            }
            self.previous = Some(Arc::clone(&manifest));
        }
        let older: Vec<u64> = self.under_way.range(..id).map(|(id, _)| *id).collect();
        for older in older {
            if self.under_way[&older].pending.purpose == SnapshotPurpose::Checkpoint {
                let message = format!("checkpoint {id} completed first");
                self.abort(older, FailureReason::CheckpointSubsumed, message);
            }
        }
        if wanted.last
            && let Some(deployment) = &self.deployment
        {
            // the word reaches the tasks with the end
            let _ = deployment.ending.set(Arc::clone(&manifest));
        }
        self.all(&Command::Complete(id));
        if pending.purpose == SnapshotPurpose::Checkpoint {
            let positions = commit::positions(&pending);
            for listener in &self.config.listeners {
                listener.on_complete(id, &positions);
            }
            commit::collect_garbage(&checkpoint);
        }
        self.publish();
        for reply in wanted.replies {
            // who asked may be gone
            let _ = reply.send(Ok(CompletedCheckpoint {
                id,
                location: location.clone(),
            }));
        }
        if wanted.last
            && let Phase::Stopping(state) = self.phase
        {
            self.end(state);
        } else {
            self.poll_requests();
        }
    }

    pub(super) fn abort(&mut self, id: u64, reason: FailureReason, message: String) {
        let Some(under_way) = self.under_way.remove(&id) else {
            return;
        };
        tracing::warn!(job = %self.config.name, checkpoint = id, %reason, message, "a checkpoint failed");
        let took = millis(
            self.config
                .clock
                .elapsed()
                .saturating_sub(under_way.started),
        );
        self.history.fail(id, took, reason, message);
        self.observer.failed(reason);
        self.all(&Command::Abort(id));
        let discarded = match lock(&self.savepoints).remove(&id) {
            Some(savepoint) => savepoint.discard(),
            None => self
                .config
                .checkpoint
                .as_ref()
                .map_or(Ok(()), |checkpoint| {
                    checkpoint
                        .store
                        .abandon(checkpoint_store::CheckpointId::new(id))
                }),
        };
        if let Err(error) = discarded {
            tracing::warn!(checkpoint = id, %error, "its files stay until the garbage is collected");
        }
        let savepoint = under_way.pending.purpose == SnapshotPurpose::Savepoint;
        let UnderWay { wanted, .. } = under_way;
        let (halt, last) = (wanted.halt, wanted.last);
        reject(wanted, reason);
        self.publish();
        if self.failures.on_failure(id, reason, savepoint) == FailureVerdict::FailJob {
            self.fail(Error::TooManyFailedCheckpoints {
                checkpoint: id,
                reason,
            });
            return;
        }
        if last && let Phase::Stopping(_) = self.phase {
            self.phase = Phase::Running;
            if halt {
                self.sources(&Command::Resume);
            } else {
                // all sources are at their end: nothing is left but to try again
                self.check_exhausted();
            }
        }
        self.poll_requests();
    }

    pub(super) fn publish(&self) {
        lock(&self.shared.status).checkpoints = self.history.clone();
    }
}
