//! What states a store has: goes into every checkpoint, and is checked on every restore.

use crate::{Error, Result, Shape, StateId, StateKind, Ttl, table::rows::RowFormat};

/// One state, as a checkpoint records it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateEntry {
    /// Number that the chunks of this store name it by.
    pub id: StateId,
    /// Name, unique in the store.
    pub name: String,
    /// Kind.
    pub kind: StateKind,
    /// Type of the values; for maps, `key -> value`.
    pub type_name: String,
    /// Version of the values' bytes.
    pub version: u32,
    /// Time to live; if there is one, rows carry write times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Ttl>,
    /// What a value (of a list: an element) looks like in bytes, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
}

impl StateEntry {
    pub(crate) fn format(&self) -> RowFormat {
        RowFormat {
            version: self.version,
            timed: self.ttl.is_some(),
        }
    }

    /// Whether state recorded as this can be read as `wanted`.
    pub(crate) fn check(&self, wanted: &Self, migrates: bool) -> Result<()> {
        let state = self.name.clone();
        if self.kind != wanted.kind {
            return Err(Error::KindMismatch {
                state,
                existing: self.kind,
                requested: wanted.kind,
            });
        }
        if self.version > wanted.version || (self.version < wanted.version && !migrates) {
            return Err(Error::VersionMismatch {
                state,
                stored: self.version,
                current: wanted.version,
            });
        }
        // A migration may well come from another type.
        if self.version == wanted.version && self.type_name != wanted.type_name {
            return Err(Error::TypeMismatch {
                state,
                existing: self.type_name.clone(),
                requested: wanted.type_name.clone(),
            });
        }
        Ok(())
    }
}

/// All states of a store, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StateCatalog {
    /// Type of the keys, for tools; see [`StateStore::set_key_type`](crate::StateStore::set_key_type).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_type: Option<String>,
    /// The states, in order of their names.
    pub states: Vec<StateEntry>,
}

impl StateCatalog {
    /// The state of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&StateEntry> {
        self.states.iter().find(|entry| entry.name == name)
    }

    /// The name behind the number in a chunk.
    #[must_use]
    pub fn name_of(&self, id: StateId) -> Option<&str> {
        self.states
            .iter()
            .find(|entry| entry.id == id)
            .map(|entry| entry.name.as_str())
    }
}
