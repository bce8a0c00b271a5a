//! Profile and history of each user.

use super::{input::Input, shards::Shards};
use crate::proto::v1;
use operators::{Collector, Element, Operator, OperatorContext, QueryOperator, Result};
use recsys::{UserEvent, UserProfile};
use serde::{Deserialize, Serialize};
use state_backend::{StateCatalog, StateStore, StoreOptions, ValueDef, ValueState};
use std::{collections::VecDeque, sync::Arc};

/// Items kept in a user's history: the most recent ones.
const HISTORY: usize = 200;

/// All that is kept of a user here.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct UserRecord {
    profile: UserProfile,
    events: u64,
    /// Distinct items, the most recent last.
    history: VecDeque<Seen>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Seen {
    item: Box<str>,
    /// Sum of what the events are worth.
    rating: f32,
    last_ms: i64,
}

impl UserRecord {
    fn new(event: &UserEvent) -> Self {
        Self {
            profile: UserProfile::new(event.user_id.clone()),
            events: 0,
            history: VecDeque::new(),
        }
    }

    fn observe(&mut self, event: &UserEvent, category: &str) {
        self.profile.observe(event, category);
        self.events += 1;
        let item = event.item_id.as_str();
        let before = self.history.iter().rposition(|seen| &*seen.item == item);
        let mut seen = before
            .and_then(|at| self.history.remove(at))
            .unwrap_or_else(|| Seen {
                item: item.into(),
                rating: 0.0,
                last_ms: i64::MIN,
            });
        seen.rating += event.event_type.rating();
        seen.last_ms = seen.last_ms.max(event.timestamp_ms);
        self.history.push_back(seen);
        if self.history.len() > HISTORY {
            self.history.pop_front();
        }
    }

    fn to_proto(&self, history: usize) -> v1::UserProfile {
        v1::UserProfile {
            user_id: self.profile.user_id.as_str().to_owned(),
            interests: self.profile.interests.clone(),
            behavior_patterns: self.profile.behavior_patterns.clone(),
            last_updated_ms: self.profile.last_updated_ms,
            events: self.events,
            history: self
                .history
                .iter()
                .rev()
                .take(history)
                .map(|seen| v1::HistoryEntry {
                    item_id: seen.item.to_string(),
                    rating: f64::from(seen.rating),
                    timestamp_ms: seen.last_ms,
                })
                .collect(),
        }
    }
}

/// A question about one user.
#[derive(Debug)]
pub(super) struct ProfileQuery {
    /// Items of the history in the answer.
    pub(super) history: usize,
}

/// Keeps a profile of each user. An answer comes with the position behind the last event that was taken in
/// since the state was restored, 0 before the first.
#[derive(Debug)]
pub(super) struct ProfileOperator {
    users: Option<ValueState<UserRecord>>,
    shards: Arc<Shards>,
    taken: u64,
}

impl ProfileOperator {
    /// `shards` is told of each event.
    pub(super) fn new(shards: Arc<Shards>) -> Self {
        Self {
            users: None,
            shards,
            taken: 0,
        }
    }
}

/// Registers the state.
fn register(store: &mut StateStore) -> state_backend::Result<ValueState<UserRecord>> {
    store.value(&ValueDef::new("user"))
}

/// The states that [`ProfileOperator`] keeps.
pub(super) fn catalog() -> state_backend::Result<StateCatalog> {
    let mut store = StateStore::open(StoreOptions::new())?;
    register(&mut store)?;
    Ok(store.catalog())
}

impl Operator for ProfileOperator {
    type In = Input;
    type Out = ();

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.users = Some(register(store)?);
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Input>,
        cx: &mut OperatorContext<'_>,
        _out: &mut dyn Collector<()>,
    ) -> Result<()> {
        let (Some(users), Some((event, category))) = (self.users, element.value.event()) else {
            return Ok(());
        };
        users.update_or_insert_with(
            &mut cx.state,
            || UserRecord::new(event),
            |user| user.observe(event, category),
        )?;
        self.taken = element.value.after();
        let shard = self.shards.shard_of(event.user_id.as_str());
        self.shards.is_done(shard, self.taken);
        Ok(())
    }
}

impl QueryOperator for ProfileOperator {
    type Request = ProfileQuery;
    type Reply = (u64, Option<v1::UserProfile>);

    fn on_query(
        &mut self,
        request: ProfileQuery,
        cx: &mut OperatorContext<'_>,
    ) -> Result<(u64, Option<v1::UserProfile>)> {
        let Some(users) = self.users else {
            return Ok((0, None));
        };
        let user = users.get(&mut cx.state)?;
        let profile = user.map(|user| user.to_proto(request.history));
        Ok((self.taken, profile))
    }
}
