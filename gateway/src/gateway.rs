//! What the services share.

use crate::{
    catalogue::ItemCatalogue,
    config::Config,
    convert,
    dead_letters::DeadLetters,
    error::{Error, Result},
    hub::Hub,
    job::Job,
    log::{IngestLog, Request},
    proto::{
        log::{Entry, entry},
        v1::{Update, UserProfile},
    },
};
use recsys::{CatalogueItem, Explanation};
use std::{sync::Arc, time::Duration};
use time_engine::Clock;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// One gateway. Every field is a handle that many tasks use at once.
#[derive(Debug)]
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    /// What `clock` showed at the start.
    pub(crate) started: Duration,
    pub(crate) log: IngestLog,
    pub(crate) letters: DeadLetters,
    pub(crate) catalogue: ItemCatalogue,
    pub(crate) hub: Arc<Hub>,
    pub(crate) job: Job,
    /// Cancelled when nothing more is taken.
    pub(crate) closing: CancellationToken,
    /// The streams being served.
    pub(crate) tasks: TaskTracker,
}

impl Gateway {
    /// Adds or replaces items; the log position behind them. They are durable when it returns.
    ///
    /// Into the log first, where the job learns of them in turn with the events. A crash in between
    /// leaves the catalogue behind it, and nobody was told otherwise: they are sent again.
    ///
    /// # Errors
    /// Those of the log, and [`Error::Io`].
    pub(crate) async fn upsert_items(&self, items: Vec<CatalogueItem>) -> Result<u64> {
        let slots = items
            .iter()
            .map(|item| {
                let kind = Some(entry::Kind::Item(convert::item_to_proto(item)));
                Some(Entry {
                    kind,
                    ..Entry::default()
                })
            })
            .collect();
        let position = self.append(slots).await?;
        let catalogue = self.catalogue.clone();
        tokio::task::spawn_blocking(move || catalogue.upsert(items))
            .await
            .map_err(|_| Error::ShuttingDown)??;
        Ok(position)
    }

    /// Puts one thing that changes the recommender into the log; the position behind it. It is durable
    /// when it returns.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] and those of the log.
    pub(crate) async fn record(&self, kind: entry::Kind) -> Result<u64> {
        if self.closing.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let kind = Some(kind);
        self.append(vec![Some(Entry {
            kind,
            ..Entry::default()
        })])
        .await
    }

    async fn append(&self, slots: Vec<Option<Entry>>) -> Result<u64> {
        let request = Request {
            slots,
            ..Request::default()
        };
        Ok(self.log.append(request).await?.position)
    }

    /// Waits while the job is too far behind the log: the way in which a slow job slows its clients.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub(crate) async fn wait_for_job(&self) -> Result<()> {
        loop {
            if self.closing.is_cancelled() {
                return Err(Error::ShuttingDown);
            }
            let lag = self.log.stats().end.saturating_sub(self.job.position());
            if lag <= self.config.log.max_lag {
                return Ok(());
            }
            let enough = self.log.stats().end.saturating_sub(self.config.log.max_lag);
            self.reaches(enough).await?;
        }
    }

    /// Waits until everything before `position` is in the lists.
    ///
    /// # Errors
    /// [`Error::LogPosition`] for a position the log has not reached, [`Error::ShuttingDown`].
    pub(crate) async fn lists_reach(&self, position: u64) -> Result<()> {
        self.is_in_log(position)?;
        self.reaches(position).await
    }

    fn is_in_log(&self, position: u64) -> Result<()> {
        let stats = self.log.stats();
        if position > stats.end {
            return Err(Error::LogPosition {
                requested: position,
                first: stats.first,
                end: stats.end,
            });
        }
        Ok(())
    }

    async fn reaches(&self, position: u64) -> Result<()> {
        self.unless_closing(async {
            self.job.reaches(position).await;
            Ok(())
        })
        .await
    }

    /// Waits until everything before `position` is in all profiles.
    ///
    /// # Errors
    /// As for [`Gateway::lists_reach`].
    pub(crate) async fn profiles_reach(&self, position: u64) -> Result<()> {
        self.is_in_log(position)?;
        self.unless_closing(async {
            self.job.profiles_reach(position).await;
            Ok(())
        })
        .await
    }

    /// The list of a user, everything before `position` included.
    ///
    /// # Errors
    /// As for [`Gateway::lists_reach`], and those of the job.
    pub(crate) async fn list(&self, user: &str, k: usize, position: u64) -> Result<Update> {
        self.is_in_log(position)?;
        self.unless_closing(self.job.list(user, k, position)).await
    }

    /// Why an item is, or is not, in that list.
    ///
    /// # Errors
    /// As for [`Gateway::list`].
    pub(crate) async fn explain(
        &self,
        user: &str,
        item: &str,
        k: usize,
        position: u64,
    ) -> Result<Explanation> {
        self.is_in_log(position)?;
        self.unless_closing(self.job.explain(user, item, k, position))
            .await
    }

    /// What is known of a user, everything before `position` included.
    ///
    /// # Errors
    /// As for [`Gateway::list`].
    pub(crate) async fn profile(
        &self,
        user: &str,
        history: usize,
        position: u64,
    ) -> Result<Option<UserProfile>> {
        self.is_in_log(position)?;
        self.unless_closing(self.job.profile(user, history, position))
            .await
    }

    /// What may wait for ever is given up when the gateway closes.
    async fn unless_closing<T>(&self, waits: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = waits => done,
            () = self.closing.cancelled() => Err(Error::ShuttingDown),
        }
    }
}
