use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::catalogue::CatalogueItem;
use crate::event::UserEvent;
use crate::ids::{ItemId, UserId};
use crate::serve::experiment::{Counts, Experiment};
use crate::serve::rules::Rules;

/// The most items in one answer.
pub(crate) const MAX_ITEMS: usize = 500;

/// All that changes what the recommender knows. Kept in a log and replayed, the same commands lead
/// to the same state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Command {
    /// A user did something.
    Event(UserEvent),
    /// An item's entry in the catalogue, new or changed.
    Upsert(CatalogueItem),
    /// The catalogue forgets an item.
    Remove(ItemId),
    /// New rules for all.
    Rules(Rules),
    /// The experiments that run from now on; counts of those that go on are kept.
    Experiments(Vec<Experiment>),
    /// Items were shown to a user.
    Shown(Shown),
}

/// Items that were shown to a user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// To whom.
    pub user_id: UserId,
    /// What.
    pub items: Vec<ItemId>,
    /// When, in milliseconds.
    pub at_ms: i64,
}

/// A wish for recommendations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// For whom.
    pub user_id: UserId,
    /// How many, at most 500.
    pub k: usize,
    /// If not empty, only items of these categories.
    #[serde(default)]
    pub categories: BTreeSet<String>,
    /// Items not wanted this time: those in view already, say.
    #[serde(default)]
    pub exclude: BTreeSet<ItemId>,
    /// Rules instead of those in force.
    #[serde(default)]
    pub rules: Option<Rules>,
}

impl Request {
    /// The best `k` for a user.
    pub fn new(user_id: UserId, k: usize) -> Self {
        Self {
            user_id,
            k,
            categories: BTreeSet::new(),
            exclude: BTreeSet::new(),
            rules: None,
        }
    }
}

/// What was set from outside, and counted for it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    pub(crate) rules: Rules,
    pub(crate) experiments: Vec<(Experiment, Vec<Counts>)>,
}
