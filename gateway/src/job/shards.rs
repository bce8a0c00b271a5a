//! How far the shards of the profiles have got in the log.
//!
//! A shard sees the events of its users only, so its own place says nothing of events it never gets. The
//! source therefore notes the last event it handed to each shard: a shard that is through with that one
//! has everything before the source's place.

use super::reached::Reached;
use state_backend::{MaxParallelism, java_string_hash, key_group_of, subtask_of};
use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

/// The source's place and that of each shard.
#[derive(Debug)]
pub(crate) struct Shards {
    max: MaxParallelism,
    parallelism: u16,
    /// Everything before was handed to the shards, or is in the state they were restored from.
    read: Reached,
    /// Where the source began; `None` while there is none. Held while it begins anew, and while a goal is taken
    /// from what it handed out.
    from: Mutex<Option<u64>>,
    shards: Box<[Shard]>,
}

#[derive(Debug, Default)]
struct Shard {
    /// The place behind the last event handed to it; where the source began before the first.
    handed: AtomicU64,
    /// The place behind the last event it is through with; likewise.
    done: Reached,
}

/// What a shard has to be through with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    place: u64,
}

impl Shards {
    pub(super) fn new(parallelism: u16, max: MaxParallelism) -> Self {
        let parallelism = parallelism.max(1);
        Self {
            max,
            parallelism,
            read: Reached::default(),
            from: Mutex::new(None),
            shards: (0..parallelism).map(|_| Shard::default()).collect(),
        }
    }

    /// The shard that keeps a user.
    pub(super) fn shard_of(&self, user: &str) -> usize {
        let group = key_group_of(java_string_hash(user), self.max);
        subtask_of(group, self.max, self.parallelism).map_or(0, usize::from)
    }

    /// The source begins to read here, all shards were restored to what lies before.
    pub(super) fn starts_at(&self, position: u64) {
        let mut from = self.lock();
        *from = Some(position);
        for shard in &self.shards {
            shard.handed.store(position, Ordering::Relaxed);
            shard.done.set(position);
        }
        self.read.set(position);
    }

    /// The source is no more: the next one may begin further back, with shards restored to before that.
    pub(super) fn stops(&self) {
        let mut from = self.lock();
        *from = None;
        // Who comes now waits for the next one.
        self.read.set(0);
    }

    /// Whether an answer has all of a goal, by the place behind the last event that who gave it has taken in
    /// since it was restored. To be asked after the answer: a restart in between may have gone back to older state
    /// than what was waited for, even to older than what the goal was restored in.
    pub(crate) fn has(&self, goal: Goal, taken: u64) -> bool {
        // No shard of the next attempt answers before the source of the last one is no more.
        taken >= goal.place || self.lock().is_some_and(|from| goal.place <= from)
    }

    /// The source hands the event that ends at `after` to a shard.
    pub(super) fn hands(&self, shard: usize, after: u64) {
        if let Some(shard) = self.shards.get(shard) {
            shard.handed.store(after, Ordering::Relaxed);
        }
    }

    /// The source has handed out everything before `position`.
    pub(super) fn has_read(&self, position: u64) {
        self.read.set(position);
    }

    /// A shard is through with the event that ends at `after`.
    pub(super) fn is_done(&self, shard: usize, after: u64) {
        if let Some(shard) = self.shards.get(shard) {
            shard.done.set(after);
        }
    }

    /// Waits until everything before `position` is in the shard of a user; what an answer must have. For
    /// ever, if the job does not come back. Dropping the future is safe.
    pub(crate) async fn reaches(&self, position: u64, user: &str) -> Goal {
        self.shard_reaches(position, self.shard_of(user)).await
    }

    /// The same for all shards.
    pub(crate) async fn all_reach(&self, position: u64) {
        for shard in 0..self.shards.len() {
            let _ = self.shard_reaches(position, shard).await;
        }
    }

    async fn shard_reaches(&self, position: u64, shard: usize) -> Goal {
        let goal = loop {
            self.read.wait(position).await;
            if let Some(goal) = self.goal(position, shard) {
                break goal;
            }
        };
        // A restart in between hands out the same events to the same shards.
        if let Some(shard) = self.shards.get(shard) {
            shard.done.wait(goal.place).await;
        }
        goal
    }

    /// What comes in while somebody waits is not waited for. `None`: the source has begun anew, before that.
    fn goal(&self, position: u64, shard: usize) -> Option<Goal> {
        let _from = self.lock();
        if self.read.position() < position {
            return None;
        }
        let handed = self.shards.get(shard);
        let handed = handed.map_or(0, |shard| shard.handed.load(Ordering::Relaxed));
        let place = handed.min(position);
        Some(Goal { place })
    }

    fn lock(&self) -> MutexGuard<'_, Option<u64>> {
        // Nothing in here panics.
        self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::{Pin, pin},
        task::{Context, Poll, Waker},
    };

    fn shards(parallelism: u16) -> Shards {
        Shards::new(parallelism, MaxParallelism::DEFAULT)
    }

    fn poll<T>(wait: &mut Pin<&mut impl Future<Output = T>>) -> Option<T> {
        let mut cx = Context::from_waker(Waker::noop());
        match wait.as_mut().poll(&mut cx) {
            Poll::Ready(ready) => Some(ready),
            Poll::Pending => None,
        }
    }

    #[test]
    fn a_shard_without_events_is_not_waited_for() {
        let all = shards(2);
        all.starts_at(10);
        let (mut both, mut zero) = (pin!(all.all_reach(13)), pin!(all.shard_reaches(13, 0)));
        assert!(poll(&mut both).is_none() && poll(&mut zero).is_none());
        all.hands(1, 11);
        all.hands(1, 12);
        all.has_read(13);
        assert!(poll(&mut both).is_none());
        assert!(poll(&mut zero).is_some_and(|goal| all.has(goal, 0)));
        all.is_done(1, 11);
        assert!(poll(&mut both).is_none());
        // What comes in meanwhile is not waited for.
        all.hands(0, 14);
        all.is_done(1, 12);
        assert!(poll(&mut both).is_some());
        assert!(poll(&mut pin!(all.all_reach(10))).is_some());
    }

    #[test]
    fn a_restart_begins_anew() {
        let all = shards(1);
        all.starts_at(0);
        all.hands(0, 5);
        all.has_read(5);
        let mut wait = pin!(all.reaches(5, "ann"));
        assert!(poll(&mut wait).is_none());
        // Restored to before the event: it is handed out again.
        all.stops();
        all.starts_at(3);
        assert!(poll(&mut wait).is_none());
        all.hands(0, 5);
        all.has_read(5);
        assert!(poll(&mut wait).is_none());
        all.is_done(0, 5);
        let goal = poll(&mut wait).unwrap();
        // An answer by who has taken in nothing since yet another restart does not have it.
        assert!(all.has(goal, 5) && !all.has(goal, 4) && !all.has(goal, 0));
        // Restored with the event: nothing is handed out.
        all.stops();
        let mut wait = pin!(all.reaches(5, "ann"));
        assert!(poll(&mut wait).is_none());
        all.starts_at(5);
        assert!(poll(&mut wait).is_some_and(|goal| all.has(goal, 0)));
    }

    #[test]
    fn a_fall_back_to_an_older_checkpoint_is_noticed() {
        let all = shards(1);
        all.starts_at(10);
        let goal = poll(&mut pin!(all.reaches(7, "ann"))).unwrap();
        assert!(all.has(goal, 0));
        // While the answer is on its way the job begins anew, from an older checkpoint.
        all.stops();
        assert!(!all.has(goal, 0));
        all.starts_at(3);
        assert!(!all.has(goal, 0) && !all.has(goal, 6) && all.has(goal, 7));
        // Nothing in particular is asked for: any answer will do, at any time.
        all.stops();
        let goal = poll(&mut pin!(all.reaches(0, "ann"))).unwrap();
        assert!(all.has(goal, 0));
    }

    #[test]
    fn what_was_waited_for_before_a_restart_is_waited_for_after_it() {
        let all = shards(1);
        all.starts_at(0);
        let mut wait = pin!(all.reaches(5, "ann"));
        all.hands(0, 5);
        all.has_read(5);
        assert!(poll(&mut wait).is_none());
        // The checkpoint that it starts from has it.
        all.starts_at(6);
        assert!(poll(&mut wait).is_some());
    }

    #[test]
    fn every_user_has_a_shard() {
        let all = shards(3);
        let mut met = [false; 3];
        for n in 0..100 {
            met[all.shard_of(&format!("u{n}"))] = true;
        }
        assert_eq!(met, [true; 3]);
    }
}
