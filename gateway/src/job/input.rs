//! What flows through the job: an entry of the log, in the domain's terms.

use crate::{
    convert,
    error::Result,
    proto::log::{Entry, entry::Kind},
};
use recsys::{Command, UserEvent};
use std::sync::Arc;
use time_engine::Timestamp;

/// An entry with its place. Clones share it, for it goes to several operators.
#[derive(Debug, Clone)]
pub(super) struct Input(Arc<Logged>);

#[derive(Debug)]
struct Logged {
    after: u64,
    what: What,
}

#[derive(Debug)]
enum What {
    Event {
        event: UserEvent,
        category: String,
    },
    /// Anything else that changes the recommender.
    Command(Command),
    /// Something a later version wrote.
    Unknown,
}

impl Input {
    /// The entry at `position`.
    ///
    /// # Errors
    /// The domain does not accept it, which was checked before it was written.
    pub(super) fn new(position: u64, entry: Entry) -> Result<Self> {
        let what = match entry.kind {
            Some(Kind::Event(event)) => What::Event {
                event: convert::event_to_domain(event)?,
                category: entry.category,
            },
            Some(Kind::Item(item)) => {
                What::Command(Command::Upsert(convert::item_to_domain(item)?))
            }
            Some(Kind::Rules(rules)) => What::Command(convert::rules_to_domain(rules)?),
            Some(Kind::Experiments(experiments)) => {
                What::Command(convert::experiments_to_domain(experiments)?)
            }
            Some(Kind::Impressions(shown)) => What::Command(convert::impressions_to_domain(shown)?),
            None => What::Unknown,
        };
        Ok(Self(Arc::new(Logged {
            after: position + 1,
            what,
        })))
    }

    /// The position behind it.
    pub(super) fn after(&self) -> u64 {
        self.0.after
    }

    /// The event, and the category its item had when it was accepted.
    pub(super) fn event(&self) -> Option<(&UserEvent, &str)> {
        match &self.0.what {
            What::Event { event, category } => Some((event, category)),
            What::Command(_) | What::Unknown => None,
        }
    }

    /// What else the recommender is told.
    pub(super) fn command(&self) -> Option<&Command> {
        match &self.0.what {
            What::Command(command) => Some(command),
            What::Event { .. } | What::Unknown => None,
        }
    }

    /// The key of an event; empty for anything else.
    pub(super) fn user(&self) -> &str {
        self.event().map_or("", |(event, _)| event.user_id.as_str())
    }

    /// Event time; the beginning of time for what has none, so that it moves no watermark.
    pub(super) fn timestamp(&self) -> Timestamp {
        let ms = self
            .event()
            .map_or(i64::MIN, |(event, _)| event.timestamp_ms);
        Timestamp::from_millis(ms)
    }
}
