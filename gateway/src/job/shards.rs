//! How far the shards of the profiles have got in the log.
//!
//! A shard sees the events of its users only, so its own place says nothing of events it never gets. The
//! source therefore notes the last event it handed to each shard: a shard that is through with that one
//! has everything before the source's place.

use state_backend::{MaxParallelism, java_string_hash, key_group_of, subtask_of};
use std::sync::atomic::{AtomicU64, Ordering};

/// The source's place and that of each shard.
#[derive(Debug)]
pub(crate) struct Shards {
    parallelism: u16,
    /// Grows with each start of the source: what was handed out before counts no more.
    start: AtomicU64,
    /// Where the source began: everything before is in the state the shards were restored from.
    from: AtomicU64,
    /// Everything before was handed to the shards, or is in the state they were restored from.
    read: AtomicU64,
    shards: Box<[Shard]>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The place behind the last event handed to it since the start.
    handed: AtomicU64,
    /// The place behind the last event it is through with.
    done: AtomicU64,
}

/// A wait for the shards to reach a position.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    all: &'a Shards,
    position: u64,
    /// One shard, or all.
    shard: Option<usize>,
    /// The start in which these were handed out, and up to where for each shard.
    goal: Option<(u64, Vec<u64>)>,
}

impl Shards {
    pub(super) fn new(parallelism: u16) -> Self {
        Self {
            parallelism: parallelism.max(1),
            start: AtomicU64::new(0),
            from: AtomicU64::new(0),
            read: AtomicU64::new(0),
            shards: (0..parallelism.max(1)).map(|_| Shard::default()).collect(),
        }
    }

    /// The shard that keeps a user.
    pub(super) fn shard_of(&self, user: &str) -> usize {
        let max = MaxParallelism::DEFAULT;
        let group = key_group_of(java_string_hash(user), max);
        subtask_of(group, max, self.parallelism).map_or(0, usize::from)
    }

    /// The source begins to read here, all shards were restored to what lies before.
    pub(super) fn starts_at(&self, position: u64) {
        for shard in &self.shards {
            shard.handed.store(0, Ordering::Relaxed);
            shard.done.store(0, Ordering::Relaxed);
        }
        self.from.store(position, Ordering::Relaxed);
        self.read.store(position, Ordering::Relaxed);
        self.start.fetch_add(1, Ordering::Release);
    }

    /// The source hands the event that ends at `after` to a shard.
    pub(super) fn hands(&self, shard: usize, after: u64) {
        if let Some(shard) = self.shards.get(shard) {
            shard.handed.store(after, Ordering::Relaxed);
        }
    }

    /// The source has handed out everything before `position`.
    pub(super) fn has_read(&self, position: u64) {
        self.read.store(position, Ordering::Release);
    }

    /// A shard is through with the event that ends at `after`.
    pub(super) fn is_done(&self, shard: usize, after: u64) {
        if let Some(shard) = self.shards.get(shard) {
            shard.done.store(after, Ordering::Release);
        }
    }

    /// Waits for everything before `position`: in the shard of one user, or in all of them.
    pub(super) fn wait_for(&self, position: u64, user: Option<&str>) -> Waiting<'_> {
        Waiting {
            all: self,
            position,
            shard: user.map(|user| self.shard_of(user)),
            goal: None,
        }
    }
}

impl Waiting<'_> {
    /// Whether it is over.
    pub(crate) fn is_over(&mut self) -> bool {
        let start = self.all.start.load(Ordering::Acquire);
        if self.goal.as_ref().is_none_or(|(of, _)| *of != start) {
            if self.all.read.load(Ordering::Acquire) < self.position {
                return false;
            }
            // What comes in while this waits is not waited for.
            let handed = self.all.shards.iter();
            let handed = handed.map(|shard| shard.handed.load(Ordering::Relaxed));
            let restored = self.position <= self.all.from.load(Ordering::Relaxed);
            let goal = |after: u64| match restored {
                true => 0,
                false => after.min(self.position),
            };
            let goals = handed.map(goal).collect();
            self.goal = Some((start, goals));
        }
        let Some((_, goals)) = &self.goal else {
            return false;
        };
        let mut shards = goals.iter().zip(&self.all.shards).enumerate();
        shards.all(|(n, (goal, shard))| {
            self.shard.is_some_and(|only| only != n) || shard.done.load(Ordering::Acquire) >= *goal
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_without_events_is_not_waited_for() {
        let reached = Shards::new(2);
        reached.starts_at(10);
        let (mut all, mut zero) = (reached.wait_for(13, None), reached.wait_for(13, None));
        zero.shard = Some(0);
        assert!(!all.is_over() && !zero.is_over());
        reached.hands(1, 11);
        reached.hands(1, 12);
        reached.has_read(13);
        assert!(!all.is_over() && zero.is_over());
        reached.is_done(1, 11);
        assert!(!all.is_over());
        // What comes in meanwhile is not waited for.
        reached.hands(0, 14);
        reached.is_done(1, 12);
        assert!(all.is_over());
        assert!(reached.wait_for(10, None).is_over());
    }

    #[test]
    fn a_restart_begins_anew() {
        let reached = Shards::new(1);
        reached.starts_at(0);
        reached.hands(0, 5);
        reached.has_read(5);
        let mut wait = reached.wait_for(5, Some("ann"));
        assert!(!wait.is_over());
        // Restored to before the event: it is handed out again.
        reached.starts_at(3);
        assert!(!wait.is_over());
        reached.hands(0, 5);
        reached.has_read(5);
        assert!(!wait.is_over());
        reached.is_done(0, 5);
        assert!(wait.is_over());
        // Restored with the event: nothing is handed out.
        let mut wait = reached.wait_for(5, Some("ann"));
        reached.starts_at(5);
        assert!(wait.is_over());
    }

    #[test]
    fn every_user_has_a_shard() {
        let reached = Shards::new(3);
        let mut met = [false; 3];
        for n in 0..100 {
            met[reached.shard_of(&format!("u{n}"))] = true;
        }
        assert_eq!(met, [true; 3]);
    }
}
