//! What lies beneath the tables: ordered byte keys and values.

use crate::Result;
use std::{fmt, fmt::Debug, ops::ControlFlow};

/// Number of a state within one store. Zero is the store's own (its catalog).
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct StateId(u16);

impl StateId {
    /// Rows of the store itself.
    pub const STORE: Self = Self(0);

    /// The state with this number.
    #[must_use]
    pub const fn new(number: u16) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for StateId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "state {}", self.0)
    }
}

/// One row to write or delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// State the row belongs to.
    pub state: StateId,
    /// Key group (u16, big endian), then the encoded key, namespace and map key.
    pub key: &'a [u8],
    /// The new value; `None` deletes the row. An empty value is a value.
    pub value: Option<&'a [u8]>,
}

/// Takes one row of a scan; breaking ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// How far a [`flush`](KeyedStateBackend::flush) goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Handed to the operating system: survives the end of the process.
    Buffered,
    /// Synced: survives power loss.
    Synced,
}

/// What one slice of [`maintain`](KeyedStateBackend::maintain) left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Nothing to do for now.
    Idle,
    /// Call again soon.
    Pending,
}

/// Sizes and counters of a backend. Estimates where exact figures would cost a scan.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackendStats {
    /// Rows stored.
    pub rows: u64,
    /// Memory held: indexes, caches, buffers.
    pub memory_bytes: u64,
    /// Space taken on disk.
    pub disk_bytes: u64,
    /// Part of `disk_bytes` that no row needs any more.
    pub dead_bytes: u64,
    /// Key and value bytes handed to `apply` and `load` so far.
    pub accepted_bytes: u64,
    /// Bytes written to disk so far, maintenance included: write amplification is this over
    /// `accepted_bytes`.
    pub written_bytes: u64,
}

/// Ordered byte keys and values: everything that the author of a backend writes.
///
/// The `StateStore` above keeps decoded values in memory and comes here on a
/// miss, to evict, to restore and to iterate. One store owns one backend and calls it from one
/// thread at a time, so nothing here needs a lock.
///
/// # Contract
/// * States are apart: a row is named by its state and its key together.
/// * A read or scan sees every change whose `apply` or `load` returned `Ok`, flushed or not.
/// * No method panics on any key or value, empty ones included.
/// * After an error from `read` or `scan` the backend is as it was. After one from `apply` it holds
///   none of that call's changes; a backend that cannot tell answers every later call with
///   [`Error::Poisoned`](crate::Error::Poisoned).
/// * What the checkpoint chain holds is the truth; a backend may lose unflushed rows in a crash, but
///   must then come back at a state that some `apply` left, or say that it is damaged.
///
/// The suite in `conformance` (feature `conformance`) tests each line.
pub trait KeyedStateBackend: Debug + Send + 'static {
    /// Calls `found` with the value in place, once, if there is one; returns whether there was.
    ///
    /// # Errors
    /// The storage failed or holds damaged bytes.
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Visits the rows whose key starts with `prefix`, in ascending byte order, until `visit`
    /// breaks. With `after`, only those whose key is strictly greater than it: scans are taken in
    /// slices, with changes between them.
    ///
    /// # Errors
    /// The storage failed or holds damaged bytes.
    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()>;

    /// Writes and deletes rows, all or nothing. Deleting what is not there is fine; of two changes
    /// to one key the later counts. The store sorts by state and key where it can.
    ///
    /// # Errors
    /// The storage failed, see the contract.
    fn apply(&mut self, changes: &[Change<'_>]) -> Result<()>;

    /// As `apply`, for restoring: one of many calls in a row, whose keys mostly ascend within a state
    /// from call to call, on a backend that was empty or just cleared. Not atomic: after an error the
    /// caller clears and starts over. Durable only after the next `flush`.
    ///
    /// # Errors
    /// The storage failed.
    fn load(&mut self, changes: &[Change<'_>]) -> Result<()>;

    /// Removes every row of every state and gives the space back.
    ///
    /// # Errors
    /// The storage failed.
    fn clear(&mut self) -> Result<()>;

    /// Makes every earlier change durable to the degree asked for. A backend without files returns
    /// `Ok`.
    ///
    /// # Errors
    /// The storage failed. A failed sync must poison the backend: it is not retried.
    fn flush(&mut self, durability: Durability) -> Result<()>;

    /// Does one slice of background work (compaction, giving space back), moving at most about
    /// `budget_bytes`; called between batches of events.
    ///
    /// # Errors
    /// The storage failed.
    fn maintain(&mut self, budget_bytes: u64) -> Result<Maintenance>;

    /// Sizes and counters.
    fn stats(&self) -> BackendStats;

    /// The rows as they are now, to be read by another thread while the backend goes on: a snapshot of state
    /// beyond memory is read by a thread of its own then. In about constant time. `None`: it cannot, or not now; the
    /// store reads the rows itself, in slices between the owner's work.
    ///
    /// # Errors
    /// The storage failed.
    fn freeze(&mut self) -> Result<Option<Box<dyn FrozenRows>>> {
        Ok(None)
    }
}

/// The rows that a backend held at one instant, whatever became of them since.
///
/// It may outlive the backend, and is `Send`. A backend that can no longer tell what it held says so by an error.
pub trait FrozenRows: Debug + Send + 'static {
    /// As [`KeyedStateBackend::read`], of that instant.
    ///
    /// # Errors
    /// The storage failed or holds damaged bytes.
    fn read(&self, state: StateId, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// As [`KeyedStateBackend::scan`], of that instant.
    ///
    /// # Errors
    /// The storage failed or holds damaged bytes.
    fn scan(
        &self,
        state: StateId,
        prefix: &[u8],
        after: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<()>;
}
