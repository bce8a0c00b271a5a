//! Operator state: lists and maps of a subtask rather than of a key, and how they are shared out
//! when the parallelism changes.
//!
//! Three ways, as in Flink (`RoundRobinOperatorStateRepartitioner`):
//! * a **list** is split: every element goes to exactly one new subtask;
//! * a **union list** is given whole to every new subtask;
//! * **broadcast** state is the same in all subtasks, and each new one gets a copy.
//!
//! ```
//! use state_backend::operator_state::{OperatorStateStore, redistribute};
//!
//! let mut old = OperatorStateStore::new();
//! let mut offsets = old.list::<u64>("offsets")?;
//! offsets.push(7);
//! offsets.push(8);
//! old.put(offsets)?;
//!
//! let parts = redistribute(&[old.snapshot()], 2)?;
//! let mut second = OperatorStateStore::restore(parts[1].clone());
//! assert!(second.is_restored());
//! assert_eq!(second.list::<u64>("offsets")?.items(), [8]);
//! # Ok::<(), state_backend::Error>(())
//! ```

use crate::{Error, Result, StateValue};
use std::{collections::BTreeMap, fmt};

/// How a list is shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListMode {
    /// Each element to one subtask.
    Split,
    /// All elements to all subtasks.
    Union,
    /// The same in all subtasks.
    Broadcast,
}

impl fmt::Display for ListMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => "list",
            Self::Union => "union list",
            Self::Broadcast => "broadcast",
        })
    }
}

/// One operator state of one subtask, encoded.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ListSnapshot {
    /// How it is shared out.
    pub mode: ListMode,
    /// The elements; of broadcast state, its entries.
    pub items: Vec<Vec<u8>>,
}

/// All operator state of one subtask, by name.
pub type OperatorSnapshot = BTreeMap<String, ListSnapshot>;

/// Shares the state of all old subtasks out to `parallelism` new ones.
///
/// Split lists stay where they are if the parallelism does; else all elements, in order of the old
/// subtasks, are cut into runs as equal as can be, and the subtasks that get one element more go
/// round from state to state, so that no subtask always gets more.
///
/// # Errors
/// [`Error::InvalidOptions`] for a parallelism of 0; [`Error::InvalidDefinition`] if a state has
/// different modes in different subtasks.
pub fn redistribute(old: &[OperatorSnapshot], parallelism: usize) -> Result<Vec<OperatorSnapshot>> {
    if parallelism == 0 {
        return Err(Error::InvalidOptions("parallelism 0".to_owned()));
    }
    let mut new = vec![OperatorSnapshot::new(); parallelism];
    let modes = modes_of(old)?;
    let mut first = 0;
    for (name, mode) in modes {
        let parts: Vec<&[Vec<u8>]> = old
            .iter()
            .map(|subtask| subtask.get(name).map_or(&[][..], |list| &list.items))
            .collect();
        match mode {
            ListMode::Split if old.len() == parallelism => {
                for (subtask, items) in new.iter_mut().zip(parts) {
                    put(subtask, name, mode, items.to_vec());
                }
            }
            ListMode::Split => {
                let all: Vec<&Vec<u8>> = parts.into_iter().flatten().collect();
                let (each, extra) = (all.len() / parallelism, all.len() % parallelism);
                let mut rest = all.into_iter();
                let mut runs = vec![Vec::new(); parallelism];
                for index in 0..parallelism {
                    // The run of the subtask that is `index` places after the first to get more.
                    let len = each + usize::from(index < extra);
                    runs[(first + index) % parallelism] = rest.by_ref().take(len).collect();
                }
                first = (first + extra) % parallelism;
                for (subtask, items) in new.iter_mut().zip(runs) {
                    put(subtask, name, mode, items.into_iter().cloned().collect());
                }
            }
            ListMode::Union => {
                let all: Vec<Vec<u8>> = parts.concat();
                for subtask in &mut new {
                    put(subtask, name, mode, all.clone());
                }
            }
            ListMode::Broadcast => {
                // Subtasks that never had it have nothing to copy.
                let copies: Vec<_> = old.iter().filter_map(|subtask| subtask.get(name)).collect();
                for (index, subtask) in new.iter_mut().enumerate() {
                    let copy = copies[index % copies.len()];
                    subtask.insert(name.to_owned(), copy.clone());
                }
            }
        }
    }
    Ok(new)
}

fn put(subtask: &mut OperatorSnapshot, name: &str, mode: ListMode, items: Vec<Vec<u8>>) {
    subtask.insert(name.to_owned(), ListSnapshot { mode, items });
}

fn modes_of(old: &[OperatorSnapshot]) -> Result<BTreeMap<&str, ListMode>> {
    let mut modes = BTreeMap::new();
    for (name, list) in old.iter().flatten() {
        let mode = *modes.entry(name.as_str()).or_insert(list.mode);
        if mode != list.mode {
            return Err(wrong_mode(name, mode, list.mode));
        }
    }
    Ok(modes)
}

fn wrong_mode(name: &str, existing: ListMode, requested: ListMode) -> Error {
    Error::InvalidDefinition {
        state: name.to_owned(),
        reason: format!("is {existing} state and cannot be used as {requested} state"),
    }
}

/// The operator state of one subtask.
///
/// An operator takes its states out when it starts ([`list`](Self::list) and the others give what
/// was restored, or nothing), works on them, and puts them back before each snapshot.
#[derive(Clone, Debug, Default)]
pub struct OperatorStateStore {
    states: OperatorSnapshot,
    restored: bool,
}

impl OperatorStateStore {
    /// No state, nothing restored.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// State as a snapshot has it.
    #[must_use]
    pub fn restore(states: OperatorSnapshot) -> Self {
        Self {
            states,
            restored: true,
        }
    }

    /// Whether this subtask started from a snapshot, perhaps an empty one.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.restored
    }

    /// A list that is split when the parallelism changes.
    ///
    /// # Errors
    /// The name has another mode; a restored element does not decode.
    pub fn list<T: StateValue>(&self, name: &str) -> Result<OperatorList<T>> {
        self.read(name, ListMode::Split)
    }

    /// A list that every subtask gets whole. Without removing duplicates it multiplies with each
    /// restore.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn union_list<T: StateValue>(&self, name: &str) -> Result<OperatorList<T>> {
        self.read(name, ListMode::Union)
    }

    /// A map that is the same in all subtasks.
    ///
    /// # Errors
    /// As [`list`](Self::list).
    pub fn broadcast<K, V>(&self, name: &str) -> Result<BroadcastState<K, V>>
    where
        K: Ord,
        (K, V): StateValue,
    {
        let list = self.read::<(K, V)>(name, ListMode::Broadcast)?;
        Ok(BroadcastState {
            name: list.name,
            entries: list.items.into_iter().collect(),
        })
    }

    fn read<T: StateValue>(&self, name: &str, mode: ListMode) -> Result<OperatorList<T>> {
        let mut items = Vec::new();
        if let Some(stored) = self.states.get(name) {
            if stored.mode != mode {
                return Err(wrong_mode(name, stored.mode, mode));
            }
            for bytes in &stored.items {
                let item = T::decode(bytes).map_err(|reason| {
                    Error::corrupted(format!("element of operator state {name:?}"), reason)
                })?;
                items.push(item);
            }
        }
        Ok(OperatorList {
            name: name.to_owned(),
            mode,
            items,
        })
    }

    /// Puts a list back as it is now.
    ///
    /// # Errors
    /// An element does not encode; the state then stays as it was.
    pub fn put<T: StateValue>(&mut self, list: OperatorList<T>) -> Result<()> {
        self.write(&list.name, list.mode, list.items.iter())
    }

    /// As [`put`](Self::put), and leaves the list with the operator.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn save<T: StateValue>(&mut self, list: &OperatorList<T>) -> Result<()> {
        self.write(&list.name, list.mode, list.items.iter())
    }

    /// As [`save`](Self::save), for broadcast state.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn save_broadcast<K, V>(&mut self, state: &BroadcastState<K, V>) -> Result<()>
    where
        K: Ord + Clone,
        V: Clone,
        (K, V): StateValue,
    {
        let entries: Vec<(K, V)> = state
            .entries
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        self.write(&state.name, ListMode::Broadcast, entries.iter())
    }

    fn write<'i, T: StateValue>(
        &mut self,
        name: &str,
        mode: ListMode,
        items: impl Iterator<Item = &'i T>,
    ) -> Result<()> {
        if let Some(existing) = self.states.get(name)
            && existing.mode != mode
        {
            return Err(wrong_mode(name, existing.mode, mode));
        }
        let mut encoded = Vec::new();
        for item in items {
            let mut bytes = Vec::new();
            item.encode(&mut bytes).map_err(|reason| Error::Encode {
                state: name.to_owned(),
                reason,
            })?;
            encoded.push(bytes);
        }
        put(&mut self.states, name, mode, encoded);
        Ok(())
    }

    /// All of it, for a checkpoint.
    #[must_use]
    pub fn snapshot(&self) -> OperatorSnapshot {
        self.states.clone()
    }
}

/// A list or union list of one subtask, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperatorList<T> {
    name: String,
    mode: ListMode,
    items: Vec<T>,
}

impl<T> OperatorList<T> {
    /// The elements.
    #[must_use]
    pub fn items(&self) -> &[T] {
        &self.items
    }

    /// Appends one.
    pub fn push(&mut self, item: T) {
        self.items.push(item);
    }

    /// Replaces all.
    pub fn update(&mut self, items: Vec<T>) {
        self.items = items;
    }

    /// Takes all out.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.items)
    }

    /// Removes all.
    pub fn clear(&mut self) {
        self.items.clear();
    }
}

/// Broadcast state of one subtask, decoded. All subtasks must change it alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastState<K, V> {
    name: String,
    entries: BTreeMap<K, V>,
}

impl<K: Ord, V> BroadcastState<K, V> {
    /// The entries, in order.
    #[must_use]
    pub fn entries(&self) -> &BTreeMap<K, V> {
        &self.entries
    }

    /// The entries, to be changed.
    pub fn entries_mut(&mut self) -> &mut BTreeMap<K, V> {
        &mut self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtask(mode: ListMode, items: &[u8]) -> OperatorSnapshot {
        let items = items.iter().map(|&item| vec![item]).collect();
        OperatorSnapshot::from([("s".to_owned(), ListSnapshot { mode, items })])
    }

    #[test]
    fn a_state_keeps_its_mode() {
        let mixed = [
            subtask(ListMode::Split, &[1]),
            subtask(ListMode::Union, &[2]),
        ];
        assert!(redistribute(&mixed, 2).is_err());
        let store = OperatorStateStore::restore(subtask(ListMode::Split, &[1]));
        assert!(store.union_list::<u8>("s").is_err());
        assert!(redistribute(&mixed[..1], 0).is_err());
    }

    #[test]
    fn broadcast_state_comes_back() {
        let mut store = OperatorStateStore::new();
        let mut rules = store.broadcast::<String, u32>("rules").unwrap();
        rules.entries_mut().insert("a".to_owned(), 1);
        store.save_broadcast(&rules).unwrap();
        let new = redistribute(&[store.snapshot()], 3).unwrap();
        for subtask in new {
            let store = OperatorStateStore::restore(subtask);
            assert_eq!(store.broadcast::<String, u32>("rules").unwrap(), rules);
        }
    }
}
