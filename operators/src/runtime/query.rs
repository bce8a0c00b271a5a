//! Questions to an operator from outside, answered in turn with its elements.

use super::signal::Signal;
use crate::error::{Error, Result};
use state_backend::{MaxParallelism, PreparedKey, StateKey, subtask_of};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::{mpsc, oneshot};

/// A question on its way: which operator of the task's chain, and what only that one understands.
pub(crate) struct QueryCommand {
    pub(crate) operator: Arc<str>,
    pub(crate) request: Box<dyn Any + Send>,
}

impl fmt::Debug for QueryCommand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryCommand")
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

/// What [`QueryCommand::request`] holds.
pub(crate) struct KeyedQuery<Q, A> {
    pub(crate) key: PreparedKey,
    pub(crate) request: Q,
    pub(crate) reply: oneshot::Sender<Result<A>>,
}

/// The way to one subtask.
#[derive(Debug, Clone)]
pub(crate) struct QueryRoute {
    pub(crate) sender: mpsc::Sender<QueryCommand>,
    pub(crate) signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Routes {
    max: MaxParallelism,
    by_subtask: Vec<Option<QueryRoute>>,
}

/// The ways to the subtasks of one operator; empty while the job does not run.
#[derive(Debug, Default)]
pub(crate) struct RouteTable(RwLock<Routes>);

impl RouteTable {
    pub(crate) fn reset(&self, max: MaxParallelism, parallelism: usize) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *routes = Routes {
            max,
            by_subtask: vec![None; parallelism],
        };
    }

    pub(crate) fn set(&self, subtask: usize, route: QueryRoute) {
        let mut routes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = routes.by_subtask.get_mut(subtask) {
            *slot = Some(route);
        }
    }

    fn find<K: StateKey>(&self, key: &K) -> Result<(PreparedKey, QueryRoute)> {
        let routes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let parallelism = u16::try_from(routes.by_subtask.len()).map_err(|_| Error::NotRunning)?;
        if parallelism == 0 {
            return Err(Error::NotRunning);
        }
        let key = PreparedKey::new(key, routes.max);
        let subtask = subtask_of(key.group(), routes.max, parallelism)?;
        let route = routes
            .by_subtask
            .get(usize::from(subtask))
            .and_then(Option::as_ref);
        Ok((key, route.cloned().ok_or(Error::NotRunning)?))
    }
}

/// Asks an operator about a key. Made by [`crate::KeyedStream::process_queryable`]; works while the job
/// runs, and again after a restart.
pub struct QueryHandle<K, Q, A> {
    pub(crate) operator: Arc<str>,
    pub(crate) routes: Arc<RouteTable>,
    pub(crate) kind: PhantomData<fn(K, Q) -> A>,
}

impl<K, Q, A> Clone for QueryHandle<K, Q, A> {
    fn clone(&self) -> Self {
        Self {
            operator: Arc::clone(&self.operator),
            routes: Arc::clone(&self.routes),
            kind: PhantomData,
        }
    }
}

impl<K, Q, A> fmt::Debug for QueryHandle<K, Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryHandle")
            .field("operator", &self.operator)
            .finish_non_exhaustive()
    }
}

impl<K: StateKey, Q: Send + 'static, A: Send + 'static> QueryHandle<K, Q, A> {
    /// Asks, and waits for the answer. It is answered between two elements, when a few more were taken in
    /// at most: it may overtake those still in the operator's queue.
    ///
    /// Waits for a place when too many questions are open. Cancelling the future is safe.
    ///
    /// # Errors
    /// [`Error::NotRunning`] while the job is stopped or restarting; the operator's own error.
    pub async fn query(&self, key: &K, request: Q) -> Result<A> {
        let (key, route) = self.routes.find(key)?;
        let (reply, answer) = oneshot::channel();
        let command = self.command(key, request, reply);
        route
            .sender
            .send(command)
            .await
            .map_err(|_| Error::NotRunning)?;
        route.signal.raise();
        answer.await.map_err(|_| Error::NotRunning)?
    }

    /// [`query`](Self::query) for code that is not async. Must not be called from an async runtime.
    ///
    /// # Errors
    /// As for [`query`](Self::query).
    pub fn query_blocking(&self, key: &K, request: Q) -> Result<A> {
        let (key, route) = self.routes.find(key)?;
        let (reply, answer) = oneshot::channel();
        let command = self.command(key, request, reply);
        route
            .sender
            .blocking_send(command)
            .map_err(|_| Error::NotRunning)?;
        route.signal.raise();
        answer.blocking_recv().map_err(|_| Error::NotRunning)?
    }

    fn command(
        &self,
        key: PreparedKey,
        request: Q,
        reply: oneshot::Sender<Result<A>>,
    ) -> QueryCommand {
        QueryCommand {
            operator: Arc::clone(&self.operator),
            request: Box::new(KeyedQuery {
                key,
                request,
                reply,
            }),
        }
    }
}
