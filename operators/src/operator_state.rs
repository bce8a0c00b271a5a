//! State of an operator that belongs to no key: lists that are split, united or copied on rescale.

use crate::error::{Error, Result};
use checkpoint_store::{Item, OperatorSnapshot, SubtaskSnapshot};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

pub use state_backend::operator_state::ListMode;
use state_backend::operator_state::{ListSnapshot, redistribute};

/// An operator, function or sink that keeps state of its own beside keyed state (Flink's interface of
/// the same name).
///
/// [`initialize_state`](Self::initialize_state) is called once before the first element, on a fresh start
/// too; [`snapshot_state`](Self::snapshot_state) at each barrier.
pub trait CheckpointedFunction {
    /// Takes back what [`snapshot_state`](Self::snapshot_state) saved, perhaps from other subtasks.
    ///
    /// # Errors
    /// Saved bytes that do not decode.
    fn initialize_state(&mut self, state: &OperatorState) -> Result<()>;

    /// Saves what must survive. The state handed in is empty.
    ///
    /// # Errors
    /// A value that does not encode.
    fn snapshot_state(&mut self, state: &mut OperatorState) -> Result<()>;
}

/// The operator state of one subtask: named lists, each with its mode.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorState {
    pub(crate) lists: BTreeMap<String, ListSnapshot>,
    pub(crate) restored: bool,
}

impl OperatorState {
    /// Whether this is a restore rather than a fresh start.
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// The elements of a list; none when there is no such list.
    ///
    /// # Errors
    /// An element that does not decode as `T`.
    pub fn list<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let Some(list) = self.lists.get(name) else {
            return Ok(Vec::new());
        };
        list.items
            .iter()
            .map(|bytes| postcard::from_bytes(bytes).map_err(Error::user))
            .collect()
    }

    /// The elements of a list, in bytes.
    pub(crate) fn bytes(&self, name: &str) -> &[Vec<u8>] {
        self.lists.get(name).map_or(&[], |list| &list.items)
    }

    /// Saves a list whose elements are bytes already.
    pub(crate) fn put_bytes(&mut self, name: &str, mode: ListMode, items: Vec<Vec<u8>>) {
        self.lists
            .insert(name.to_owned(), ListSnapshot { mode, items });
    }

    /// Saves a list. [`ListMode::Split`] deals the elements out over the subtasks on rescale,
    /// [`ListMode::Union`] gives all of them to each subtask, [`ListMode::Broadcast`] gives each subtask
    /// the copy of one.
    ///
    /// # Errors
    /// An element that does not encode.
    pub fn put<'a, T: Serialize + 'a>(
        &mut self,
        name: &str,
        mode: ListMode,
        elements: impl IntoIterator<Item = &'a T>,
    ) -> Result<()> {
        let items = elements
            .into_iter()
            .map(|element| postcard::to_stdvec(element).map_err(Error::user))
            .collect::<Result<_>>()?;
        self.put_bytes(name, mode, items);
        Ok(())
    }
}

/// One subtask's share of what all old subtasks saved, by Flink's rules.
pub(crate) fn redistributed(
    snapshot: &OperatorSnapshot,
    parallelism: usize,
    subtask: usize,
) -> Result<OperatorState> {
    let old: Vec<BTreeMap<String, ListSnapshot>> = snapshot
        .subtasks
        .iter()
        .map(|old| {
            let lists = old.operator_state.iter();
            lists
                .map(|(name, entry)| (name.clone(), entry.clone().into()))
                .collect()
        })
        .collect();
    let mut new = redistribute(&old, parallelism)?;
    let lists = if subtask < new.len() {
        new.swap_remove(subtask)
    } else {
        BTreeMap::new()
    };
    Ok(OperatorState {
        lists,
        restored: true,
    })
}

/// What goes into the manifest.
pub(crate) fn saved(state: OperatorState, in_flight: Vec<Vec<u8>>) -> SubtaskSnapshot {
    SubtaskSnapshot {
        operator_state: state
            .lists
            .into_iter()
            .map(|(name, list)| (name, list.into()))
            .collect(),
        in_flight: in_flight.into_iter().map(Item).collect(),
    }
}
