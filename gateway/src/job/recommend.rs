//! The lists: the recommender over keyed state, its questions, its updates for subscribers.
//!
//! Its records are read across users and items, so all lie under one key and one subtask owns them. It
//! takes the log in its order, which makes them a function of the log alone.

use super::input::Input;
use crate::{catalogue::ItemCatalogue, convert, hub::Hub, proto::v1::Update};
use operators::{Collector, Element, Error, Operator, OperatorContext, QueryOperator, Result};
use recsys::{Command, Engine, RecordStates, Request, StateRecords, UserId, model::Options};
use state_backend::{KeyScope, StateCatalog, StateStore, StoreOptions, ValueDef, ValueState};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// A question for a user's list.
#[derive(Debug)]
pub(super) struct ListQuery {
    pub(super) user: String,
    pub(super) k: usize,
}

/// Learns every event and makes the lists.
#[derive(Debug)]
pub(super) struct RecommendOperator {
    catalogue: ItemCatalogue,
    hub: Arc<Hub>,
    /// Where it stands, for those who wait for it.
    shown: Arc<AtomicU64>,
    states: Option<States>,
    /// Opened at the first use, when there is a key to find its records under.
    engine: Option<Engine>,
}

#[derive(Debug, Clone, Copy)]
struct States {
    records: RecordStates,
    position: ValueState<u64>,
}

impl States {
    fn register(store: &mut StateStore) -> state_backend::Result<Self> {
        Ok(Self {
            records: RecordStates::open(store)?,
            position: store.value(&ValueDef::new("position"))?,
        })
    }
}

/// The states that [`RecommendOperator`] keeps.
pub(super) fn catalog() -> state_backend::Result<StateCatalog> {
    let mut store = StateStore::open(StoreOptions::new())?;
    States::register(&mut store)?;
    Ok(store.catalog())
}

impl RecommendOperator {
    pub(super) fn new(catalogue: ItemCatalogue, hub: Arc<Hub>, shown: Arc<AtomicU64>) -> Self {
        Self {
            catalogue,
            hub,
            shown,
            states: None,
            engine: None,
        }
    }

    fn with<T>(
        &mut self,
        scope: &mut KeyScope<'_>,
        work: impl FnOnce(&mut Engine, &mut StateRecords<'_, '_>) -> recsys::Result<T>,
    ) -> Result<T> {
        let states = self.states.ok_or(Error::NotRunning)?;
        let mut records = states.records.of(scope);
        let engine = match &mut self.engine {
            Some(engine) => engine,
            none => none.insert(Engine::open(&mut records, Options::default()).map_err(user)?),
        };
        work(engine, &mut records).map_err(user)
    }

    fn list(
        &mut self,
        name: &str,
        k: usize,
        position: u64,
        scope: &mut KeyScope<'_>,
    ) -> Result<Update> {
        let request = Request::new(UserId::new(name).map_err(user)?, k);
        let list = self.with(scope, |engine, records| engine.recommend(records, &request))?;
        let catalogue = self.catalogue.read();
        let recommendations = list
            .iter()
            .zip(1..)
            .map(|(item, rank)| convert::recommendation_to_proto(item, rank, &catalogue))
            .collect();
        Ok(Update {
            user_id: name.to_owned(),
            position,
            recommendations,
        })
    }
}

fn user(error: recsys::Error) -> Error {
    Error::User(Box::new(error))
}

impl Operator for RecommendOperator {
    type In = Input;
    type Out = Update;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.states = Some(States::register(store)?);
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Input>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Update>,
    ) -> Result<()> {
        let input = element.value;
        let after = input.after();
        if let Some(states) = self.states {
            states.position.set(&mut cx.state, after)?;
        }
        if let Some((event, _)) = input.event() {
            self.with(&mut cx.state, |engine, records| {
                engine.observe(records, event)
            })?;
            let name = event.user_id.as_str();
            if let Some(k) = self.hub.wanted(name) {
                out.collect(self.list(name, k, after, &mut cx.state)?);
            }
        } else if let Some(item) = input.item() {
            let command = Command::Upsert(item.clone());
            self.with(&mut cx.state, |engine, records| {
                engine.apply(records, &command)
            })?;
        }
        self.shown.store(after, Ordering::Release);
        Ok(())
    }
}

impl QueryOperator for RecommendOperator {
    type Request = ListQuery;
    type Reply = Update;

    fn on_query(&mut self, request: ListQuery, cx: &mut OperatorContext<'_>) -> Result<Update> {
        let position = match self.states {
            Some(states) => states.position.get(&mut cx.state)?.copied().unwrap_or(0),
            None => 0,
        };
        self.list(&request.user, request.k, position, &mut cx.state)
    }
}
