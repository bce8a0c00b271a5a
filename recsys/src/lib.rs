#![doc = include_str!("../README.md")]
//!
//! # Overview
//!
//! | use | for |
//! | --- | --- |
//! | [`UserEvent`], [`UserProfile`], [`Recommendation`], [`Catalogue`] | the model types, in the tutorial's JSON |
//! | [`Recommender`] | everything in one value, in a program of one's own |
//! | [`Command`], [`Request`], [`Rules`], [`Experiment`], [`Explanation`] | what goes in and what comes out |
//! | [`Engine`] with [`RecordStates`] | the same over keyed, checkpointed state |
//! | [`RecommendOperator`], [`ProfileOperator`] | in a job of `operators` |
//! | [`model`] | the core: [`model::Model`] over [`model::Records`], pure functions |
//! | [`evaluate`] | replaying a file of events and scoring what would have been served |

mod catalogue;
mod error;
pub mod evaluate;
mod event;
mod ids;
pub mod model;
mod operator;
mod profile;
mod recommendation;
mod serve;
mod state;
mod time;

pub use catalogue::{Catalogue, CatalogueItem, MAX_ATTRIBUTES, MAX_TEXT_BYTES, UNKNOWN_CATEGORY};
pub use error::{Error, Result};
pub use event::{EventType, MAX_METADATA_BYTES, UserEvent};
pub use ids::{ItemId, MAX_ID_BYTES, SessionId, UserId};
pub use operator::{
    Answer, KeyedRecommenders, Listening, ProfileOperator, Question, RecommendOperator,
};
pub use profile::{INTEREST_ALPHA, MAX_INTERESTS, MAX_PATTERNS, UserProfile};
pub use recommendation::{Contribution, Recommendation, Source};
pub use serve::{
    Boost, Command, Condition, Counts, Engine, Experiment, Explanation, Exploration, Matches,
    Outcome, Recommender, Request, Requirement, Rules, SeenRule, Shown, Variant, VariantReport,
    Verdict,
};
pub use state::{RecordStates, StateRecords};
