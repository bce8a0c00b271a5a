use std::fmt;
use std::sync::Arc;

use hashbrown::HashMap;
use operators::{Collector, Element, Operator, OperatorContext, QueryOperator};
use state_backend::{KeyScope, StateStore, ValueDef, ValueState};

use crate::error::Error;
use crate::event::UserEvent;
use crate::ids::{ItemId, UserId};
use crate::model::{Options, Ranking};
use crate::profile::UserProfile;
use crate::recommendation::Recommendation;
use crate::serve::{Command, Engine, Experiment, Explanation, Request, Rules, VariantReport};
use crate::state::{RecordStates, StateRecords};

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
    /// The rules in force.
    Rules,
    /// The experiments that run, and what they have counted.
    Experiments,
    /// The users in so many places of the directory, from one place on; see [`Engine::users`].
    Users {
        /// The first place.
        from: u32,
        /// How many: the work that the answer is.
        places: u32,
    },
}

/// The answer to the [`Question`] of the same name.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The list.
    Recommend(Vec<Recommendation>),
    /// The explanation.
    Explain(Box<Explanation>),
    /// The rules.
    Rules(Box<Rules>),
    /// The experiments, and the report on them.
    Experiments(Vec<Experiment>, Vec<VariantReport>),
    /// The users, and where the next page begins.
    Users(Vec<String>, Option<u32>),
}

/// Whether somebody waits for a user's lists, and for how many items.
pub type Listening = Arc<dyn Fn(&UserId) -> Option<usize> + Send + Sync>;

/// The recommenders of one subtask, one under each key: what [`RecommendOperator`] is made of, for
/// operators whose elements are more than commands.
///
/// The key is the recommender: all records of one (a shop, a tenant) lie under one key, because
/// they are read across users and items, and different keys are recommenders of their own, spread
/// over the subtasks as any keys. A job with one recommender keys by a constant.
pub struct KeyedRecommenders {
    options: Options,
    ranking: Ranking,
    states: Option<RecordStates>,
    engines: HashMap<Box<[u8]>, Engine, foldhash::fast::FixedState>,
}

impl fmt::Debug for KeyedRecommenders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedRecommenders")
            .field("options", &self.options)
            .field("ranking", &self.ranking)
            .finish_non_exhaustive()
    }
}

impl KeyedRecommenders {
    /// Recommenders with these bounds.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ranking: Ranking::default(),
            states: None,
            engines: HashMap::default(),
        }
    }

    /// Puts items in another order than the learned fusion's; see [`Engine::with_ranking`].
    #[must_use]
    pub fn with_ranking(mut self, ranking: Ranking) -> Self {
        self.ranking = ranking;
        self
    }

    /// Registers the states; to be called when the operator is opened.
    ///
    /// # Errors
    /// As [`RecordStates::open`].
    pub fn open(&mut self, store: &mut StateStore) -> operators::Result<()> {
        self.states = Some(RecordStates::open(store)?);
        self.engines.clear();
        Ok(())
    }

    /// Takes in a command. What the records do not accept, though it was checked before it came into
    /// the log, changes nothing and is no error: it must not stop a job for ever.
    ///
    /// # Errors
    /// [`operators::Error::NotRunning`] before [`open`](Self::open); those of the state.
    pub fn apply(&mut self, command: &Command, key: &mut KeyScope<'_>) -> operators::Result<()> {
        self.with(key, |engine, records| {
            accepted(engine.apply(records, command))
        })
    }

    /// [`apply`](Self::apply) for an event that is in no command.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn observe(&mut self, event: &UserEvent, key: &mut KeyScope<'_>) -> operators::Result<()> {
        self.with(key, |engine, records| {
            accepted(engine.observe(records, event))
        })
    }

    /// The best items for a request.
    ///
    /// # Errors
    /// A bad request, as [`Engine::recommend`]; those of [`apply`](Self::apply).
    pub fn recommend(
        &mut self,
        request: &Request,
        key: &mut KeyScope<'_>,
    ) -> operators::Result<Vec<Recommendation>> {
        self.with(key, |engine, records| engine.recommend(records, request))
    }

    /// Answers a question.
    ///
    /// # Errors
    /// As [`recommend`](Self::recommend).
    pub fn answer(
        &mut self,
        question: &Question,
        key: &mut KeyScope<'_>,
    ) -> operators::Result<Answer> {
        self.with(key, |engine, records| {
            Ok(match question {
                Question::Recommend(request) => {
                    Answer::Recommend(engine.recommend(records, request)?)
                }
                Question::Explain(request, item) => {
                    Answer::Explain(Box::new(engine.explain(records, request, item)?))
                }
                Question::Rules => Answer::Rules(Box::new(engine.rules(records)?)),
                Question::Experiments => {
                    Answer::Experiments(engine.experiments(records)?, engine.report(records)?)
                }
                Question::Users { from, places } => {
                    let (users, next) = engine.users(records, *from, *places)?;
                    Answer::Users(users, next)
                }
            })
        })
    }

    /// Runs `work` with the engine and the records of the key.
    fn with<T>(
        &mut self,
        key: &mut KeyScope<'_>,
        work: impl FnOnce(&mut Engine, &mut StateRecords<'_, '_>) -> crate::Result<T>,
    ) -> operators::Result<T> {
        let states = self.states.ok_or(operators::Error::NotRunning)?;
        if !self.engines.contains_key(&*key.key_bytes()) {
            let bytes = (*key.key_bytes()).into();
            let engine = Engine::open(&mut states.of(key), self.options);
            let engine = engine.map_err(operators::Error::user)?;
            self.engines
                .insert(bytes, engine.with_ranking(self.ranking));
        }
        let Some(engine) = self.engines.get_mut(&*key.key_bytes()) else {
            return Err(operators::Error::NotRunning);
        };
        work(engine, &mut states.of(key)).map_err(operators::Error::user)
    }
}

fn accepted(outcome: crate::Result<()>) -> crate::Result<()> {
    match outcome {
        Err(error @ Error::Invalid { .. }) if error.is_invalid_input() => Ok(()),
        other => other,
    }
}

/// The recommender as an operator: takes commands in the order of their log, answers questions in
/// turn with them, and emits a new list after an event of a user that somebody listens for.
///
/// Each key is a recommender of its own, see [`KeyedRecommenders`].
pub struct RecommendOperator {
    recommenders: KeyedRecommenders,
    listening: Listening,
}

impl fmt::Debug for RecommendOperator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecommendOperator")
            .field("recommenders", &self.recommenders)
            .finish_non_exhaustive()
    }
}

impl RecommendOperator {
    /// A recommender with these bounds that emits nothing by itself.
    pub fn new(options: Options) -> Self {
        Self {
            recommenders: KeyedRecommenders::new(options),
            listening: Arc::new(|_| None),
        }
    }

    /// Emits a list after each event of a user for whom `listening` gives a number of items. What
    /// it answers changes what is emitted, never what is learnt.
    #[must_use]
    pub fn with_listening(mut self, listening: Listening) -> Self {
        self.listening = listening;
        self
    }
}

impl Operator for RecommendOperator {
    type In = Command;
    type Out = Vec<Recommendation>;

    fn open(&mut self, store: &mut StateStore) -> operators::Result<()> {
        self.recommenders.open(store)
    }

    fn on_element(
        &mut self,
        element: Element<Command>,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Vec<Recommendation>>,
    ) -> operators::Result<()> {
        self.recommenders.apply(&element.value, &mut cx.state)?;
        if let Command::Event(event) = element.value
            && let Some(k) = (self.listening)(&event.user_id)
        {
            let request = Request::new(event.user_id, k);
            out.collect(self.recommenders.recommend(&request, &mut cx.state)?);
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
        self.recommenders.answer(&question, &mut cx.state)
    }
}

#[cfg(test)]
mod tests;
