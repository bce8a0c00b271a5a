//! Recommendations learnt from an event stream, event by event.

mod catalogue;
mod error;
pub mod evaluate;
mod event;
mod ids;
pub mod model;
mod profile;
mod recommendation;
mod serve;
mod state;
mod time;

pub use catalogue::{Catalogue, CatalogueItem, MAX_ATTRIBUTES, MAX_TEXT_BYTES, UNKNOWN_CATEGORY};
pub use error::{Error, Result};
pub use event::{EventType, MAX_METADATA_BYTES, UserEvent};
pub use ids::{ItemId, MAX_ID_BYTES, SessionId, UserId};
pub use profile::{INTEREST_ALPHA, MAX_INTERESTS, MAX_PATTERNS, UserProfile};
pub use recommendation::{Contribution, Recommendation, Source};
pub use serve::{
    Boost, Command, Condition, Counts, Engine, Experiment, Explanation, Exploration, Matches,
    Outcome, Recommender, Request, Requirement, Rules, SeenRule, Shown, Variant, VariantReport,
    Verdict,
};
pub use state::{RecordStates, StateRecords};
