use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use operators::{Collector, Element, Operator, OperatorContext, QueryOperator};
use state_backend::{StateStore, ValueDef, ValueState};

use crate::error::Error;
use crate::event::UserEvent;
use crate::ids::{ItemId, UserId};
use crate::model::Options;
use crate::profile::UserProfile;
use crate::recommendation::Recommendation;
use crate::serve::{Command, Engine, Explanation, Request, VariantReport};
use crate::state::RecordStates;

const PROFILE: ValueDef<UserProfile> = ValueDef::new("profile");

/// Keeps a profile of each user: mission A2 as an operator, keyed by user, at any parallelism.
///
/// It takes events with the category their item had when they were accepted, so that a replay
/// makes the same profiles whatever the catalogue says by then.
#[derive(Debug, Default)]
pub struct ProfileOperator {
    profiles: Option<ValueState<UserProfile>>,
}

impl Operator for ProfileOperator {
    type In = (UserEvent, String);
    type Out = UserProfile;

    fn open(&mut self, store: &mut StateStore) -> operators::Result<()> {
        self.profiles = Some(store.value(&PROFILE)?);
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Self::In>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<UserProfile>,
    ) -> operators::Result<()> {
        let Some(profiles) = self.profiles else {
            return Err(operators::Error::NotRunning);
        };
        let (event, category) = &element.value;
        let profile = profiles.update_or_insert_with(
            &mut cx.state,
            || UserProfile::new(event.user_id.clone()),
            |profile| {
                profile.observe(event, category);
                profile.clone()
            },
        )?;
        out.collect(profile);
        Ok(())
    }
}

impl QueryOperator for ProfileOperator {
    type Request = ();
    type Reply = Option<UserProfile>;

    fn on_query(
        &mut self,
        (): (),
        cx: &mut OperatorContext<'_>,
    ) -> operators::Result<Option<UserProfile>> {
        let Some(profiles) = self.profiles else {
            return Err(operators::Error::NotRunning);
        };
        Ok(profiles.get(&mut cx.state)?.cloned())
    }
}

/// What a running recommender can be asked.
#[derive(Clone, Debug)]
pub enum Question {
    /// A list.
    Recommend(Request),
    /// Why an item is, or is not, in a list.
    Explain(Request, ItemId),
    /// What the experiments have counted.
    Report,
}

/// The answer to the [`Question`] of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The list.
    Recommend(Vec<Recommendation>),
    /// The explanation.
    Explain(Box<Explanation>),
    /// The report.
    Report(Vec<VariantReport>),
}

/// Whether somebody waits for a user's lists, and for how many items.
pub type Listening = Arc<dyn Fn(&UserId) -> Option<usize> + Send + Sync>;

/// The recommender as an operator: takes commands in the order of their log, answers questions in
/// turn with them, and emits a new list after an event of a user that somebody listens for.
///
/// The key is the recommender: all records of one (a shop, a tenant) lie under one key, because
/// they are read across users and items, and different keys are recommenders of their own, spread
/// over the subtasks as any keys. A job with one recommender keys by a constant.
pub struct RecommendOperator {
    options: Options,
    listening: Listening,
    states: Option<RecordStates>,
    engines: HashMap<Box<[u8]>, Engine, foldhash::fast::FixedState>,
}

impl fmt::Debug for RecommendOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecommendOperator")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl RecommendOperator {
    /// A recommender with these bounds that emits nothing by itself.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            listening: Arc::new(|_| None),
            states: None,
            engines: HashMap::default(),
        }
    }

    /// Emits a list after each event of a user for whom `listening` gives a number of items. What
    /// it answers changes what is emitted, never what is learnt.
    #[must_use]
    pub fn with_listening(mut self, listening: Listening) -> Self {
        self.listening = listening;
        self
    }

    /// Runs `work` with the engine and the records of the current key.
    fn with<T>(
        &mut self,
        cx: &mut OperatorContext<'_>,
        work: impl FnOnce(&mut Engine, &mut crate::StateRecords<'_, '_>) -> crate::Result<T>,
    ) -> operators::Result<T> {
        let Some(states) = self.states else {
            return Err(operators::Error::NotRunning);
        };
        let key: Box<[u8]> = (*cx.state.key_bytes()).into();
        let mut records = states.of(&mut cx.state);
        let engine = match self.engines.entry(key) {
            hashbrown::hash_map::Entry::Occupied(known) => known.into_mut(),
            hashbrown::hash_map::Entry::Vacant(new) => new
                .insert(Engine::open(&mut records, self.options).map_err(operators::Error::user)?),
        };
        work(engine, &mut records).map_err(operators::Error::user)
    }
}

impl Operator for RecommendOperator {
    type In = Command;
    type Out = Vec<Recommendation>;

    fn open(&mut self, store: &mut StateStore) -> operators::Result<()> {
        self.states = Some(RecordStates::open(store)?);
        self.engines.clear();
        Ok(())
    }

    fn on_element(
        &mut self,
        element: Element<Command>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Vec<Recommendation>>,
    ) -> operators::Result<()> {
        let listening = Arc::clone(&self.listening);
        let list = self.with(cx, |engine, records| {
            match engine.apply(records, &element.value) {
                // What the log holds was checked when it was accepted; what slipped through must
                // not stop the job for ever.
                Err(error @ Error::Invalid { .. }) if error.is_invalid_input() => return Ok(None),
                other => other?,
            }
            let Command::Event(event) = &element.value else {
                return Ok(None);
            };
            listening(&event.user_id)
                .map(|k| engine.recommend(records, &Request::new(event.user_id.clone(), k)))
                .transpose()
        })?;
        if let Some(list) = list {
            out.collect(list);
        }
        Ok(())
    }
}

impl QueryOperator for RecommendOperator {
    type Request = Question;
    type Reply = Answer;

    fn on_query(
        &mut self,
        question: Question,
        cx: &mut OperatorContext<'_>,
    ) -> operators::Result<Answer> {
        self.with(cx, |engine, records| {
            Ok(match question {
                Question::Recommend(request) => {
                    Answer::Recommend(engine.recommend(records, &request)?)
                }
                Question::Explain(request, item) => {
                    Answer::Explain(Box::new(engine.explain(records, &request, &item)?))
                }
                Question::Report => Answer::Report(engine.report(records)?),
            })
        })
    }
}

#[cfg(test)]
mod tests;
