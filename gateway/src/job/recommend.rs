//! The lists: the recommender over keyed state, its questions, its updates for subscribers.
//!
//! Its records are read across users and items, so all lie under one key and one subtask owns them. It
//! takes the log in its order, which makes them a function of the log alone.

use super::{input::Input, reached::Reached};
use crate::{catalogue::ItemCatalogue, convert, hub::Hub, proto::v1::Update};
use operators::{Collector, Element, Operator, OperatorContext, QueryOperator, Result};
use recsys::{
    Answer, KeyedRecommenders, Question, Recommendation, Request,
    model::{Options, Ranking},
};
use state_backend::{StateCatalog, StateStore, StoreOptions, ValueDef, ValueState};
use std::sync::Arc;

const POSITION: ValueDef<u64> = ValueDef::new("position");

/// Learns every event and makes the lists. An answer comes with the position behind the last entry that
/// it knows of.
#[derive(Debug)]
pub(super) struct RecommendOperator {
    recommenders: KeyedRecommenders,
    catalogue: ItemCatalogue,
    hub: Arc<Hub>,
    /// Where it stands, for those who wait for it.
    reached: Arc<Reached>,
    position: ValueState<u64>,
}

/// The states that [`RecommendOperator`] keeps.
pub(super) fn catalog() -> state_backend::Result<StateCatalog> {
    let mut store = StateStore::open(StoreOptions::new())?;
    recsys::RecordStates::open(&mut store)?;
    store.value(&POSITION)?;
    Ok(store.catalog())
}

/// A list as subscribers and callers get it.
pub(super) fn update(
    user_id: String,
    position: u64,
    list: &[Recommendation],
    catalogue: &ItemCatalogue,
) -> Update {
    let catalogue = catalogue.read();
    let recommendations = list
        .iter()
        .zip(1..)
        .map(|(item, rank)| convert::recommendation_to_proto(item, rank, &catalogue))
        .collect();
    Update {
        user_id,
        position,
        recommendations,
    }
}

impl RecommendOperator {
    pub(super) fn new(
        ranking: Ranking,
        catalogue: ItemCatalogue,
        hub: Arc<Hub>,
        reached: Arc<Reached>,
    ) -> Self {
        Self {
            recommenders: KeyedRecommenders::new(Options::default()).with_ranking(ranking),
            catalogue,
            hub,
            reached,
            position: ValueState::default(),
        }
    }
}

impl Operator for RecommendOperator {
    type In = Input;
    type Out = Update;

    fn open(&mut self, store: &mut StateStore) -> Result<()> {
        self.recommenders.open(store)?;
        self.position = store.value(&POSITION)?;
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
        self.position.set(&mut cx.state, after)?;
        if let Some((event, _)) = input.event() {
            self.recommenders.observe(event, &mut cx.state)?;
            let user = &event.user_id;
            if let Some(k) = self.hub.wanted(user.as_str()) {
                let request = Request::new(user.clone(), k);
                let list = self.recommenders.recommend(&request, &mut cx.state)?;
                let user = user.as_str().to_owned();
                out.collect(update(user, after, &list, &self.catalogue));
            }
        } else if let Some(command) = input.command() {
            self.recommenders.apply(command, &mut cx.state)?;
        }
        self.reached.set(after);
        Ok(())
    }
}

impl QueryOperator for RecommendOperator {
    type Request = Question;
    type Reply = (u64, Answer);

    fn on_query(
        &mut self,
        question: Question,
        cx: &mut OperatorContext<'_>,
    ) -> Result<(u64, Answer)> {
        let position = self.position.get(&mut cx.state)?.copied().unwrap_or(0);
        Ok((
            position,
            self.recommenders.answer(&question, &mut cx.state)?,
        ))
    }
}
