//! Compaction beside a job, on a thread that has an owner.

use crate::compact::Compaction;
use crate::error::Result;
use crate::manifest::Manifest;
use crate::protocol::CompactionPolicy;
use crate::store::CheckpointStore;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};

/// Keeps the chains of a job's checkpoints short: offered each checkpoint that is committed, it
/// compacts the chains of one that needs it on a thread of its own, one at a time, and holds the
/// result until a checkpoint with it is committed.
///
/// ```
/// # use checkpoint_store::*;
/// # use std::sync::Arc;
/// # fn main() -> Result<()> {
/// # let store = CheckpointStore::open(Arc::new(MemoryBlobs::new()), StoreOptions::default())?;
/// let mut compactor = Compactor::new(store.clone(), CompactionPolicy::default());
/// // At each checkpoint:
/// let mut draft = ManifestDraft::new(store.latest()?.next_id, 0, None);
/// if let Some(compaction) = compactor.result() {
///     draft = draft.with_compaction(compaction);
/// }
/// let committed = store.commit(draft.build())?;
/// compactor.committed(&committed.manifest);
/// # Ok(())
/// # }
/// ```
///
/// Dropped, it stops the thread and waits for it: at most until the row group at hand is done.
#[derive(Debug)]
pub struct Compactor {
    store: CheckpointStore,
    policy: CompactionPolicy,
    stop: Arc<AtomicBool>,
    running: Option<JoinHandle<Result<Option<Compaction>>>>,
    result: Option<Compaction>,
}

impl Compactor {
    /// One that has nothing to do yet.
    pub fn new(store: CheckpointStore, policy: CompactionPolicy) -> Self {
        Self {
            store,
            policy,
            stop: Arc::default(),
            running: None,
            result: None,
        }
    }

    /// What is ready to go into the next checkpoint. It stays ready until
    /// [`committed`](Self::committed), so a checkpoint that fails loses nothing. A compaction that
    /// failed is forgotten; the next checkpoint begins another.
    pub fn result(&mut self) -> Option<&Compaction> {
        let finished = self.running.take_if(|thread| thread.is_finished());
        self.collect(finished)
    }

    /// Waits for the compaction that is running, if one is, and gives the [`result`](Self::result):
    /// for a last checkpoint before a stop that should leave short chains.
    pub fn wait(&mut self) -> Option<&Compaction> {
        let running = self.running.take();
        self.collect(running)
    }

    fn collect(
        &mut self,
        ended: Option<JoinHandle<Result<Option<Compaction>>>>,
    ) -> Option<&Compaction> {
        if let Some(Ok(Ok(result))) = ended.map(JoinHandle::join) {
            self.result = result;
        }
        self.result.as_ref()
    }

    /// A checkpoint has been committed, with the [`result`](Self::result) if there was one. Begins
    /// to compact its chains if they are too long and nothing is running.
    pub fn committed(&mut self, manifest: &Arc<Manifest>) {
        if self.running.is_some() {
            return;
        }
        self.result = None;
        if !manifest.needs_compaction(&self.policy) {
            return;
        }
        let (store, manifest) = (self.store.clone(), Arc::clone(manifest));
        let (policy, stop) = (self.policy, Arc::clone(&self.stop));
        let work = move || store.compact_until(&manifest, &policy, &stop);
        // Without a thread there is no compaction this time.
        self.running = Builder::new()
            .name("compaction".to_owned())
            .spawn(work)
            .ok();
    }
}

impl Drop for Compactor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.running.take() {
            // Its files, if any, are garbage.
            let _ = thread.join();
        }
    }
}
