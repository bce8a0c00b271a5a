//! The kinds of keyed state.

use std::fmt;

/// What a keyed state holds for each key and namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StateKind {
    /// One value.
    Value,
    /// A list that is appended to.
    List,
    /// A map, whose entries are read, written and checkpointed one by one.
    Map,
    /// One value that every added value is reduced into.
    Reducing,
    /// An accumulator that every added value goes into and a result comes out of.
    Aggregating,
}

impl fmt::Display for StateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
            Self::Reducing => "reducing",
            Self::Aggregating => "aggregating",
        })
    }
}
