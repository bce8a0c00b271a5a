//! Recommendations as they are served: the model's ranking under rules, with reasons.

mod experiment;
mod explain;
mod random;
mod recommender;
mod request;
mod rules;
mod select;

pub use experiment::{Counts, Experiment, Variant, VariantReport};
pub use explain::{Explanation, Outcome};
pub use recommender::{Engine, Recommender};
pub use request::{Command, Request, Shown};
pub use rules::{Boost, Condition, Exploration, Matches, Requirement, Rules, SeenRule, Verdict};

pub(crate) use random::{Random, hash};
pub(crate) use request::Settings;

#[cfg(test)]
mod tests;
