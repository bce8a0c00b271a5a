//! Blobs in memory, for tests and for state that need not outlive its process.

use super::{BlobInfo, BlobStore, PutMode, PutOutcome};
use crate::error::Result;
use crate::ids::BlobPath;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Blobs in memory. Bytes are shared with their readers, not copied.
#[derive(Debug, Default)]
pub struct MemoryBlobs {
    blobs: Mutex<BTreeMap<BlobPath, Bytes>>,
}

impl MemoryBlobs {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    // Each critical section is one map operation, so a panic elsewhere cannot leave the map
    // half changed, and a poisoned lock is as good as a sound one.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlobPath, Bytes>> {
        self.blobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BlobStore for MemoryBlobs {
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>> {
        Ok(self.lock().get(path).cloned())
    }

    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>> {
        Ok(self.lock().get(path).map(|bytes| {
            let end = usize::try_from(range.end)
                .unwrap_or(usize::MAX)
                .min(bytes.len());
            let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
            bytes.slice(start..end)
        }))
    }

    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome> {
        let mut blobs = self.lock();
        if mode == PutMode::Create && blobs.contains_key(path) {
            return Ok(PutOutcome::AlreadyExists);
        }
        blobs.insert(path.clone(), bytes);
        Ok(PutOutcome::Written)
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        let blobs = self.lock();
        let below = blobs.iter().filter(|(path, _)| path.is_below(prefix));
        Ok(below
            .map(|(path, bytes)| BlobInfo {
                path: path.clone(),
                size: bytes.len() as u64,
            })
            .collect())
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        self.lock().remove(path);
        Ok(())
    }
}
