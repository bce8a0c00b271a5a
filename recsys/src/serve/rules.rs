use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::catalogue::{CatalogueItem, UNKNOWN_CATEGORY};
use crate::error::{Error, Result};
use crate::ids::ItemId;

/// The most items in one list of the rules.
const MAX_LISTED: usize = 100_000;

/// What may be recommended, and what is to be preferred: business rules, changeable while running.
///
/// Rules never change what is learnt, only what is shown. The default leaves out what the user has
/// had already and restricts nothing else.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// What of the items the user has had already.
    pub seen: SeenRule,
    /// If not empty, only these items.
    pub allow: BTreeSet<ItemId>,
    /// Never these items.
    pub deny: BTreeSet<ItemId>,
    /// If not empty, only items of these categories.
    pub categories: BTreeSet<String>,
    /// Never items of these categories.
    pub deny_categories: BTreeSet<String>,
    /// At most so many items of one category in a list; 0 is any number.
    pub per_category: usize,
    /// What an item's attributes must be.
    pub require: Vec<Requirement>,
    /// What is to be preferred, by how much.
    pub boosts: Vec<Boost>,
    /// 0 to 1: how much an item is held back for being like those above it (maximal marginal
    /// relevance: same category, or touched by the same users).
    pub diversity: f32,
    /// Places given to items to learn about them.
    pub exploration: Exploration,
}

/// What of the items the user has had already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenRule {
    /// They are left out.
    #[default]
    Exclude,
    /// They are left out for so many milliseconds after the last event, by the events' clock.
    ExcludeForMs(u64),
    /// They may come again.
    Allow,
}

/// A condition on an attribute of the catalogue, like a stock of at least one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Requirement {
    /// The attribute's name.
    pub attribute: String,
    /// The condition. An item without the attribute fulfils none but `Absent`.
    pub is: Condition,
}

/// A condition on a value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// The same text.
    Equals(String),
    /// A number of at least this.
    AtLeast(f64),
    /// A number of at most this.
    AtMost(f64),
    /// There is a value.
    Present,
    /// There is none.
    Absent,
}

/// A preference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boost {
    /// For which items.
    pub on: Matches,
    /// Added to the score; 1 makes an item about 2.7 times as likely in the model's view.
    pub by: f32,
}

/// A choice of items.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Matches {
    /// This item.
    Item(ItemId),
    /// Items of a category.
    Category(String),
    /// Items with an attribute.
    Attribute(Requirement),
}

/// Places given to items of which little is known, so that they get a chance. Seeded: the same
/// state gives the same list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exploration {
    /// None.
    #[default]
    Off,
    /// Each place below the first shows a new item with this probability.
    Epsilon(f32),
    /// The last so many places show the new items with the best draw from what is known of their
    /// success: a Beta distribution over impressions and outcomes.
    Thompson(usize),
}

/// Why an item may not be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// There is an allow list, and it is not on it.
    NotAllowed,
    /// It is on the deny list.
    Denied,
    /// The catalogue says `hidden = true`.
    Hidden,
    /// Its category is not wanted.
    Category(String),
    /// An attribute is not as required.
    Attribute(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAllowed => f.write_str("it is not on the allow list"),
            Self::Denied => f.write_str("it is on the deny list"),
            Self::Hidden => f.write_str("the catalogue hides it"),
            Self::Category(category) => write!(f, "its category {category:?} is left out"),
            Self::Attribute(name) => write!(f, "its attribute {name:?} is not as required"),
        }
    }
}

impl Rules {
    /// Checks the bounds.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the field.
    pub fn validate(&self) -> Result<()> {
        for (field, len) in [("allow", self.allow.len()), ("deny", self.deny.len())] {
            if len > MAX_LISTED {
                return Err(Error::invalid(
                    field,
                    format!("{len} items, at most {MAX_LISTED}"),
                ));
            }
        }
        let count = self.boosts.len() + self.require.len();
        if count + self.categories.len() + self.deny_categories.len() > 1000 {
            return Err(Error::invalid("rules", "more than 1000 conditions"));
        }
        if !(0.0..=1.0).contains(&self.diversity) {
            return Err(Error::invalid("diversity", "must lie between 0 and 1"));
        }
        if !self.boosts.iter().all(|b| b.by.abs() <= 1000.0) {
            return Err(Error::invalid("boosts", "must lie between -1000 and 1000"));
        }
        if let Exploration::Epsilon(share) = self.exploration
            && !(0.0..=1.0).contains(&share)
        {
            return Err(Error::invalid(
                "exploration",
                "epsilon must lie between 0 and 1",
            ));
        }
        Ok(())
    }

    /// True when every item may be shown, in the model's order.
    pub(crate) fn change_nothing(&self) -> bool {
        let plain = Self {
            seen: self.seen,
            ..Self::default()
        };
        *self == plain
    }

    pub(crate) fn judge(&self, id: &str, item: Option<&CatalogueItem>) -> Result<(), Verdict> {
        let listed = |set: &BTreeSet<ItemId>| set.iter().any(|i| i.as_str() == id);
        let contains = |set: &BTreeSet<ItemId>| match item {
            Some(item) => set.contains(&item.item_id),
            None => listed(set),
        };
        if !self.allow.is_empty() && !contains(&self.allow) {
            return Err(Verdict::NotAllowed);
        }
        if !self.deny.is_empty() && contains(&self.deny) {
            return Err(Verdict::Denied);
        }
        if attribute(item, "hidden").is_some_and(|hidden| hidden == "true") {
            return Err(Verdict::Hidden);
        }
        let category = item.map_or(UNKNOWN_CATEGORY, |i| &i.category);
        if (!self.categories.is_empty() && !self.categories.contains(category))
            || self.deny_categories.contains(category)
        {
            return Err(Verdict::Category(category.to_owned()));
        }
        match self.require.iter().find(|r| !r.holds(item)) {
            Some(failed) => Err(Verdict::Attribute(failed.attribute.clone())),
            None => Ok(()),
        }
    }

    pub(crate) fn boost(&self, id: &str, item: Option<&CatalogueItem>) -> f32 {
        let matches = |on: &Matches| match on {
            Matches::Item(wanted) => wanted.as_str() == id,
            Matches::Category(wanted) => item.map_or(UNKNOWN_CATEGORY, |i| &i.category) == wanted,
            Matches::Attribute(requirement) => requirement.holds(item),
        };
        self.boosts
            .iter()
            .filter(|b| matches(&b.on))
            .map(|b| b.by)
            .sum()
    }
}

impl Requirement {
    fn holds(&self, item: Option<&CatalogueItem>) -> bool {
        let value = attribute(item, &self.attribute);
        let number = || value.and_then(|v| v.parse::<f64>().ok());
        match &self.is {
            Condition::Equals(text) => value == Some(text),
            Condition::AtLeast(least) => number().is_some_and(|n| n >= *least),
            Condition::AtMost(most) => number().is_some_and(|n| n <= *most),
            Condition::Present => value.is_some(),
            Condition::Absent => value.is_none(),
        }
    }
}

fn attribute<'a>(item: Option<&'a CatalogueItem>, name: &str) -> Option<&'a str> {
    let attributes: &BTreeMap<_, _> = &item?.attributes;
    attributes.get(name).map(String::as_str)
}
