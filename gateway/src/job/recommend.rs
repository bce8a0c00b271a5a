//! The lists: the recommender over keyed state, its questions, its updates for subscribers.
//!
//! Its records are read across users and items, so all lie under one key and one subtask owns them. It
//! takes the log in its order, which makes them a function of the log alone.

use super::input::Input;
use crate::{catalogue::ItemCatalogue, convert, hub::Hub, proto::v1::Update};
use operators::{Collector, Element, Error, Operator, OperatorContext, QueryOperator, Result};
use recsys::{
    Engine, Experiment, Explanation, ItemId, RecordStates, Request, Rules, StateRecords, UserId,
    VariantReport,
    model::{Options, Ranking},
};
use state_backend::{KeyScope, StateCatalog, StateStore, StoreOptions, ValueDef, ValueState};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

/// What the recommender can be asked.
#[derive(Debug)]
pub(super) enum Question {
    /// A user's list.
    List { user: String, k: usize },
    /// Why an item is, or is not, in a user's list.
    Explain {
        user: String,
        item: String,
        k: usize,
    },
    /// The rules in force.
    Rules,
    /// The experiments that run, and what they counted.
    Experiments,
}

/// The answer to the [`Question`] of the same name.
#[derive(Debug)]
pub(super) enum Answer {
    List(Update),
    Explain(Box<Explanation>),
    Rules(Box<Rules>),
    Experiments(Vec<Experiment>, Vec<VariantReport>),
}

/// Learns every event and makes the lists.
#[derive(Debug)]
pub(super) struct RecommendOperator {
    ranking: Ranking,
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
    pub(super) fn new(
        ranking: Ranking,
        catalogue: ItemCatalogue,
        hub: Arc<Hub>,
        shown: Arc<AtomicU64>,
    ) -> Self {
        Self {
            ranking,
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
            none => {
                let engine = Engine::open(&mut records, Options::default()).map_err(user)?;
                none.insert(engine.with_ranking(self.ranking))
            }
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
        } else if let Some(command) = input.command() {
            self.with(&mut cx.state, |engine, records| {
                engine.apply(records, command)
            })?;
        }
        self.shown.store(after, Ordering::Release);
        Ok(())
    }
}

impl QueryOperator for RecommendOperator {
    type Request = Question;
    type Reply = Answer;

    fn on_query(&mut self, question: Question, cx: &mut OperatorContext<'_>) -> Result<Answer> {
        Ok(match question {
            Question::List { user, k } => {
                let position = match self.states {
                    Some(states) => states.position.get(&mut cx.state)?.copied().unwrap_or(0),
                    None => 0,
                };
                Answer::List(self.list(&user, k, position, &mut cx.state)?)
            }
            Question::Explain {
                user: name,
                item,
                k,
            } => {
                let request = Request::new(UserId::new(name).map_err(user)?, k);
                let item = ItemId::new(item).map_err(user)?;
                Answer::Explain(Box::new(self.with(&mut cx.state, |engine, records| {
                    engine.explain(records, &request, &item)
                })?))
            }
            Question::Rules => Answer::Rules(Box::new(
                self.with(&mut cx.state, |engine, records| engine.rules(records))?,
            )),
            Question::Experiments => {
                let (experiments, reports) = self.with(&mut cx.state, |engine, records| {
                    Ok((engine.experiments(records)?, engine.report(records)?))
                })?;
                Answer::Experiments(experiments, reports)
            }
        })
    }
}
