//! How far the lists are, for those who wait until an event is in them.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
};
use tokio::sync::oneshot;

/// A position that the job moves on, and who waits for it to get somewhere.
///
/// The job looks at one number more for each entry it takes in; only where somebody waits for that very
/// entry it does more.
#[derive(Debug)]
pub(crate) struct Reached {
    position: AtomicU64,
    /// The least that somebody waits for.
    awaited: AtomicU64,
    /// By what they wait for. Bounded by the calls that are open, for no call waits beyond the end of the log.
    waiting: Mutex<BTreeMap<u64, Vec<oneshot::Sender<()>>>>,
}

impl Default for Reached {
    fn default() -> Self {
        Self {
            position: AtomicU64::new(0),
            awaited: AtomicU64::new(u64::MAX),
            waiting: Mutex::default(),
        }
    }
}

impl Reached {
    /// The position behind the last entry that was taken in.
    pub(crate) fn position(&self) -> u64 {
        self.position.load(SeqCst)
    }

    /// Moves it, back after a restart, and wakes who waited for this.
    #[inline]
    pub(crate) fn set(&self, position: u64) {
        self.position.store(position, SeqCst);
        // Either this sees what a waiter has put there, or the waiter sees the new position.
        if self.awaited.load(SeqCst) <= position {
            self.wake(position);
        }
    }

    #[cold]
    fn wake(&self, position: u64) {
        let mut waiting = self.lock();
        while let Some(first) = waiting
            .first_entry()
            .filter(|first| *first.key() <= position)
        {
            for waiter in first.remove() {
                // Who has given up does not mind.
                let _ = waiter.send(());
            }
        }
        self.publish(&waiting);
    }

    /// Waits until everything before `position` is taken in. Dropping the future is safe.
    pub(crate) async fn wait(&self, position: u64) {
        while self.position() < position {
            let woken = {
                let mut waiting = self.lock();
                let (waiter, woken) = oneshot::channel();
                let same = waiting.entry(position).or_default();
                same.retain(|other| !other.is_closed());
                same.push(waiter);
                self.publish(&waiting);
                woken
            };
            if self.position() >= position {
                return;
            }
            // It is never dropped unsent but with all of this.
            let _ = woken.await;
        }
    }

    fn publish(&self, waiting: &BTreeMap<u64, Vec<oneshot::Sender<()>>>) {
        let least = waiting
            .first_key_value()
            .map_or(u64::MAX, |(first, _)| *first);
        self.awaited.store(least, SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Vec<oneshot::Sender<()>>>> {
        // Nothing in here panics between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::{Pin, pin},
        sync::Arc,
        task::{Context, Waker},
    };

    fn is_ready(wait: &mut Pin<&mut impl Future<Output = ()>>) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        wait.as_mut().poll(&mut cx).is_ready()
    }

    #[test]
    fn who_waits_is_ready_when_it_is_reached() {
        let reached = Reached::default();
        reached.set(5);
        assert!(is_ready(&mut pin!(reached.wait(5))));
        let (mut nine, mut seven) = (pin!(reached.wait(9)), pin!(reached.wait(7)));
        assert!(!is_ready(&mut nine) && !is_ready(&mut seven));
        reached.set(8);
        assert!(is_ready(&mut seven) && !is_ready(&mut nine));
        // A restart reads some of it again.
        reached.set(6);
        assert!(!is_ready(&mut nine));
        reached.set(9);
        assert!(is_ready(&mut nine));
        assert!(reached.lock().is_empty());
    }

    #[test]
    fn no_wake_up_is_lost() {
        let reached = Arc::new(Reached::default());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        let job = Arc::clone(&reached);
        let setting = std::thread::spawn(move || {
            for position in 1..=20_000 {
                job.set(position);
            }
        });
        runtime.block_on(async {
            for position in 1..=20_000 {
                reached.wait(position).await;
            }
        });
        setting.join().unwrap();
    }
}
