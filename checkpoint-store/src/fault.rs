//! A blob store that fails as planned.

use crate::blob::{BlobInfo, BlobStore, PutMode, PutOutcome};
use crate::error::{Error, Result, Retry};
use crate::ids::BlobPath;
use bytes::Bytes;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// One call to the store beneath.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    /// [`BlobStore::get`] and [`BlobStore::get_range`].
    Get,
    /// [`BlobStore::put`].
    Put,
    /// [`BlobStore::list`].
    List,
    /// [`BlobStore::delete`].
    Delete,
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It goes through.
    None,
    /// It fails and nothing has happened: a 5xx, a refused connection.
    Before,
    /// It happens and is reported as failed: a time-out with unknown outcome.
    After,
    /// It happens, the answer is lost, and the client repeats it by itself: a create finds its own
    /// blob, and says that it exists already.
    Repeated,
    /// A read gives only the first half of the bytes.
    Short,
}

type Plan = dyn FnMut(u64, Call, &BlobPath) -> Fault + Send;

/// Wraps a store and asks a plan, before each call, what is to become of it.
pub struct FaultyBlobs {
    inner: Arc<dyn BlobStore>,
    calls: AtomicU64,
    plan: Mutex<Box<Plan>>,
}

impl FaultyBlobs {
    /// `plan` is given the number of the call, from 0, what it is and on which path.
    pub fn new(
        inner: Arc<dyn BlobStore>,
        plan: impl FnMut(u64, Call, &BlobPath) -> Fault + Send + 'static,
    ) -> Self {
        Self {
            inner,
            calls: AtomicU64::new(0),
            plan: Mutex::new(Box::new(plan)),
        }
    }

    /// Number of calls so far.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    fn act<T>(
        &self,
        call: Call,
        path: &BlobPath,
        act: impl Fn() -> Result<T>,
        shorten: impl FnOnce(T) -> T,
    ) -> Result<T> {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = plan(number, call, path);
        drop(plan);
        let failure = || Error::Blob {
            operation: match call {
                Call::Get => "read",
                Call::Put => "write",
                Call::List => "list",
                Call::Delete => "delete",
            },
            path: path.to_string(),
            retry: Retry::MayHelp,
            source: "injected fault".into(),
        };
        match fault {
            Fault::None => act(),
            Fault::Before => Err(failure()),
            Fault::After => act().and_then(|_| Err(failure())),
            Fault::Repeated => act().and_then(|_| act()),
            Fault::Short => act().map(shorten),
        }
    }
}

impl fmt::Debug for FaultyBlobs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let calls = self.calls();
        f.debug_struct("FaultyBlobs")
            .field("inner", &self.inner)
            .field("calls", &calls)
            .finish()
    }
}

fn half(bytes: Option<Bytes>) -> Option<Bytes> {
    bytes.map(|bytes| bytes.slice(..bytes.len() / 2))
}

impl BlobStore for FaultyBlobs {
    fn get(&self, path: &BlobPath) -> Result<Option<Bytes>> {
        self.act(Call::Get, path, || self.inner.get(path), half)
    }

    fn get_range(&self, path: &BlobPath, range: Range<u64>) -> Result<Option<Bytes>> {
        self.act(
            Call::Get,
            path,
            || self.inner.get_range(path, range.clone()),
            half,
        )
    }

    fn put(&self, path: &BlobPath, bytes: Bytes, mode: PutMode) -> Result<PutOutcome> {
        self.act(
            Call::Put,
            path,
            || self.inner.put(path, bytes.clone(), mode),
            |outcome| outcome,
        )
    }

    fn list(&self, prefix: &BlobPath) -> Result<Vec<BlobInfo>> {
        self.act(
            Call::List,
            prefix,
            || self.inner.list(prefix),
            |listing| listing,
        )
    }

    fn delete(&self, path: &BlobPath) -> Result<()> {
        self.act(Call::Delete, path, || self.inner.delete(path), |done| done)
    }
}
