//! Sinks: where results leave the job.

use crate::element::Element;
use crate::error::Result;
use crate::operator::SubtaskInfo;

/// Takes the results of one subtask, on its thread.
///
/// After a restart the results since the last checkpoint come again: a sink that must show each once
/// writes idempotently, or is a [`TransactionalSink`].
pub trait Sink<T>: Send + 'static {
    /// Called once before anything else.
    ///
    /// # Errors
    /// Fails the start of the job.
    fn open(&mut self, info: &SubtaskInfo) -> Result<()> {
        let _ = info;
        Ok(())
    }

    /// Takes one result.
    ///
    /// # Errors
    /// Fails the job, which restarts from its last checkpoint.
    fn write(&mut self, element: Element<T>) -> Result<()>;

    /// Hands over what it still buffers: at each barrier and at the end.
    ///
    /// # Errors
    /// As for [`write`](Self::write).
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl<T, F: FnMut(Element<T>) -> Result<()> + Send + 'static> Sink<T> for F {
    fn write(&mut self, element: Element<T>) -> Result<()> {
        self(element)
    }
}

/// A sink whose results become visible exactly once: it takes part in the two phases of a checkpoint.
///
/// Results between two barriers form a transaction. [`prepare`](Self::prepare) makes it durable but
/// invisible and names it; the name goes into the checkpoint. When the checkpoint is complete
/// [`commit`](Self::commit) makes it visible. After a failure the transactions of the restored checkpoint
/// are committed (again, perhaps: it must be idempotent) and all later ones are dropped.
pub trait TransactionalSink<T>: Send + 'static {
    /// Called once before anything else, with the transactions of the restored checkpoint, those of all
    /// subtasks, which may have been committed already: commits them. Everything else that this subtask
    /// has prepared is to be dropped.
    ///
    /// # Errors
    /// Fails the start of the job.
    fn open(&mut self, info: &SubtaskInfo, prepared: &[Vec<u8>]) -> Result<()>;

    /// Adds a result to the open transaction.
    ///
    /// # Errors
    /// Fails the job.
    fn write(&mut self, element: Element<T>) -> Result<()>;

    /// Makes the open transaction durable and names it, and begins the next one. `None`: it was empty.
    ///
    /// # Errors
    /// Fails the job.
    fn prepare(&mut self, checkpoint: u64) -> Result<Option<Vec<u8>>>;

    /// Makes a prepared transaction visible. Idempotent, also when several subtasks do it at one time.
    ///
    /// # Errors
    /// Fails the job.
    fn commit(&mut self, transaction: &[u8]) -> Result<()>;
}
