//! The broadcast state pattern: rules for all subtasks, elements for each.
//!
//! A stream of few elements (rules, configuration, a small table) is broadcast: each subtask sees all of it
//! and keeps the same copy of its state. The elements of the other stream, by key or not, read that state.

use crate::element::{Collector, Element};
use crate::error::{Error, Result};
use crate::function::FunctionContext;
use crate::operator::{OperatorContext, SubtaskInfo};
use crate::operator_state::{ListMode, OperatorState};
use crate::side_output::{OutputTag, SideOutputs};
use state_backend::{KeyScope, KeyedState, StateKey, StateStore, StateValue, split_row_key};
use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use time_engine::{TimeDomain, Timestamp, Watermark};

/// Names a broadcast state, a map: Flink's `MapStateDescriptor` of a `broadcast` call.
pub struct BroadcastDef<K, V> {
    name: &'static str,
    kind: PhantomData<fn() -> (K, V)>,
}

impl<K, V> BroadcastDef<K, V> {
    /// The state of this name, unique in its function.
    pub const fn new(name: &'static str) -> Self {
        let kind = PhantomData;
        Self { name, kind }
    }
}

impl<K, V> fmt::Debug for BroadcastDef<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastDef").field(&self.name).finish()
    }
}

/// A broadcast state: where [`BroadcastStates`] has it. Its default is of no use before
/// [`BroadcastStates::register`] has given the real one.
pub struct BroadcastState<K, V> {
    slot: usize,
    kind: PhantomData<fn() -> (K, V)>,
}

impl<K, V> Clone for BroadcastState<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V> Copy for BroadcastState<K, V> {}

impl<K, V> Default for BroadcastState<K, V> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            kind: PhantomData,
        }
    }
}

impl<K, V> fmt::Debug for BroadcastState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BroadcastState").field(&self.slot).finish()
    }
}

impl<K: StateKey + Ord, V: StateValue> BroadcastState<K, V> {
    /// The value of a key. A read costs a lookup in a tree in memory.
    pub fn get<'a>(&self, states: &'a BroadcastStates, key: &K) -> Option<&'a V> {
        self.map(states)?.get(key)
    }

    /// Whether there is a value.
    pub fn contains(&self, states: &BroadcastStates, key: &K) -> bool {
        self.get(states, key).is_some()
    }

    /// All entries in the order of their keys.
    pub fn iter<'a>(
        &self,
        states: &'a BroadcastStates,
    ) -> impl Iterator<Item = (&'a K, &'a V)> + 'a {
        self.map(states).into_iter().flatten()
    }

    /// Sets the value of a key; gives the one before.
    pub fn put(&self, states: &mut BroadcastStates, key: K, value: V) -> Option<V> {
        self.map_mut(states)?.insert(key, value)
    }

    /// Takes a key away; gives its value.
    pub fn remove(&self, states: &mut BroadcastStates, key: &K) -> Option<V> {
        self.map_mut(states)?.remove(key)
    }

    /// Takes all keys away.
    pub fn clear(&self, states: &mut BroadcastStates) {
        if let Some(map) = self.map_mut(states) {
            map.clear();
        }
    }

    fn map<'a>(&self, states: &'a BroadcastStates) -> Option<&'a BTreeMap<K, V>> {
        let map = states.slots.get(self.slot).map(|slot| &*slot.map);
        debug_assert!(map.is_some(), "a broadcast state that is not registered");
        map?.any().downcast_ref()
    }

    fn map_mut<'a>(&self, states: &'a mut BroadcastStates) -> Option<&'a mut BTreeMap<K, V>> {
        let map = states.slots.get_mut(self.slot).map(|slot| &mut *slot.map);
        debug_assert!(map.is_some(), "a broadcast state that is not registered");
        map?.any_mut().downcast_mut()
    }
}

/// A map whose types are its function's business.
trait Saved: Send {
    fn any(&self) -> &dyn Any;
    fn any_mut(&mut self) -> &mut dyn Any;
    fn save(&self) -> Result<Vec<Vec<u8>>>;
    fn load(&mut self, items: &[Vec<u8>]) -> Result<()>;
}

impl<K: StateKey + Ord, V: StateValue> Saved for BTreeMap<K, V> {
    fn any(&self) -> &dyn Any {
        self
    }

    fn any_mut(&mut self) -> &mut dyn Any {
        self
    }

    fn save(&self) -> Result<Vec<Vec<u8>>> {
        let item = |(key, value): (&K, &V)| {
            let mut item = Vec::new();
            key.encode(&mut item);
            value.encode(&mut item).map_err(Error::user)?;
            Ok(item)
        };
        self.iter().map(item).collect()
    }

    fn load(&mut self, items: &[Vec<u8>]) -> Result<()> {
        for item in items {
            let mut rest = item.as_slice();
            let key = K::decode(&mut rest)?;
            self.insert(key, V::decode(rest).map_err(Error::user)?);
        }
        Ok(())
    }
}

struct Slot {
    name: &'static str,
    map: Box<dyn Saved>,
}

/// The broadcast states of one subtask: in memory, the same in each subtask, and in every checkpoint.
#[derive(Default)]
pub struct BroadcastStates {
    slots: Vec<Slot>,
}

impl fmt::Debug for BroadcastStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.slots.iter().map(|slot| slot.name);
        f.debug_list().entries(names).finish()
    }
}

impl BroadcastStates {
    /// Registers a state, or finds the one registered under its name.
    ///
    /// # Errors
    /// The name is taken by a state of other types.
    pub fn register<K: StateKey + Ord, V: StateValue>(
        &mut self,
        def: &BroadcastDef<K, V>,
    ) -> Result<BroadcastState<K, V>> {
        let known = self.slots.iter().position(|slot| slot.name == def.name);
        let slot = known.unwrap_or_else(|| {
            self.slots.push(Slot {
                name: def.name,
                map: Box::new(BTreeMap::<K, V>::new()),
            });
            self.slots.len() - 1
        });
        if !self.slots[slot].map.any().is::<BTreeMap<K, V>>() {
            let name = def.name;
            return Err(Error::invalid(format!(
                "broadcast state {name:?} is registered with two types"
            )));
        }
        let kind = PhantomData;
        Ok(BroadcastState { slot, kind })
    }

    pub(crate) fn save(&self, into: &mut OperatorState) -> Result<()> {
        for slot in &self.slots {
            into.put_bytes(slot.name, ListMode::Broadcast, slot.map.save()?);
        }
        Ok(())
    }

    pub(crate) fn load(&mut self, from: &OperatorState) -> Result<()> {
        for slot in &mut self.slots {
            slot.map.load(from.bytes(slot.name))?;
        }
        Ok(())
    }
}

/// A function over a stream by key and a broadcast stream; see [`crate::KeyedStream::connect_broadcast`].
///
/// All subtasks must come to the same broadcast state: what
/// [`process_broadcast_element`](Self::process_broadcast_element) does to it must follow from the elements
/// alone, not from their order over several upstream subtasks.
pub trait KeyedBroadcastProcessFunction: Send + 'static {
    /// What comes by key.
    type In: Send + 'static;
    /// What is broadcast.
    type Broadcast: Send + 'static;
    /// What it emits.
    type Out: Send + 'static;

    /// Called once, before anything else: registers the states, keyed and broadcast.
    ///
    /// # Errors
    /// A state that was saved with another kind, type or version.
    fn open(&mut self, store: &mut StateStore, broadcast: &mut BroadcastStates) -> Result<()>;

    /// Called for each element of the stream by key: broadcast state can be read.
    ///
    /// # Errors
    /// Fails the job, which restarts from its last checkpoint.
    fn process_element(
        &mut self,
        element: Element<Self::In>,
        broadcast: &BroadcastStates,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;

    /// Called for each element of the broadcast stream, in every subtask: there is no current key.
    ///
    /// # Errors
    /// As for [`process_element`](Self::process_element).
    fn process_broadcast_element(
        &mut self,
        element: Element<Self::Broadcast>,
        cx: &mut BroadcastContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;

    /// Called when a timer is due.
    ///
    /// # Errors
    /// As for [`process_element`](Self::process_element).
    fn on_timer(
        &mut self,
        domain: TimeDomain,
        at: Timestamp,
        broadcast: &BroadcastStates,
        cx: &mut OperatorContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()> {
        let _ = (domain, at, broadcast, cx, out);
        Ok(())
    }
}

/// What a broadcast element sees.
#[derive(Debug)]
pub struct BroadcastContext<'a> {
    /// To be changed in the same way in every subtask.
    pub broadcast: &'a mut BroadcastStates,
    /// `None`: the other stream has no keys.
    pub(crate) store: Option<&'a mut StateStore>,
    pub(crate) watermark: Watermark,
    pub(crate) now: Timestamp,
    pub(crate) sides: &'a mut SideOutputs,
    pub(crate) info: &'a SubtaskInfo,
}

impl BroadcastContext<'_> {
    /// Calls `f` with each key of this subtask that has a row of `state`, in the order of key groups and keys:
    /// its state can be changed (Flink's `applyToKeyedState`). The keys are collected first, so it costs
    /// their memory, and elements wait for it.
    ///
    /// # Errors
    /// Those of `f`; a key of another type.
    pub fn apply_to_keyed_state<K: StateKey, S: KeyedState>(
        &mut self,
        state: &S,
        mut f: impl FnMut(&K, &mut KeyScope<'_>) -> Result<()>,
    ) -> Result<()> {
        let Some(store) = &mut self.store else {
            return Ok(());
        };
        let mut keys: Vec<K> = Vec::new();
        let mut damaged = None;
        store.for_each(state, |row, _| match split_row_key::<K, ()>(row) {
            // rows of one key follow each other
            Ok((key, _, _)) if keys.last() == Some(&key) => {}
            Ok((key, _, _)) => keys.push(key),
            Err(error) => damaged = Some(error),
        })?;
        if let Some(error) = damaged {
            return Err(error.into());
        }
        for key in &keys {
            f(key, &mut store.scope(key))?;
        }
        Ok(())
    }

    /// How far event time has come here.
    pub fn watermark(&self) -> Watermark {
        self.watermark
    }

    /// The clock, read once for a batch of elements.
    pub fn processing_time(&self) -> Timestamp {
        self.now
    }

    /// Emits to a side output; dropped when nobody takes it.
    pub fn side_output<T: Send + 'static>(&mut self, tag: &OutputTag<T>, element: Element<T>) {
        self.sides.emit(tag, element);
    }

    /// Which subtask this is.
    pub fn info(&self) -> &SubtaskInfo {
        self.info
    }
}

/// A function over a stream without keys and a broadcast stream; see [`crate::Stream::connect_broadcast`].
/// What [`KeyedBroadcastProcessFunction`] says of the state holds here too.
pub trait BroadcastProcessFunction: Send + 'static {
    /// What is dealt out.
    type In: Send + 'static;
    /// What is broadcast.
    type Broadcast: Send + 'static;
    /// What it emits.
    type Out: Send + 'static;

    /// Called once, before anything else: registers the states.
    ///
    /// # Errors
    /// Two states of one name.
    fn open(&mut self, broadcast: &mut BroadcastStates) -> Result<()>;

    /// Called for each element that is dealt out to this subtask.
    ///
    /// # Errors
    /// Fails the job, which restarts from its last checkpoint.
    fn process_element(
        &mut self,
        element: Element<Self::In>,
        broadcast: &BroadcastStates,
        cx: &mut FunctionContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;

    /// Called for each element of the broadcast stream, in every subtask.
    ///
    /// # Errors
    /// As for [`process_element`](Self::process_element).
    fn process_broadcast_element(
        &mut self,
        element: Element<Self::Broadcast>,
        cx: &mut BroadcastContext<'_>,
        out: &mut dyn Collector<Self::Out>,
    ) -> Result<()>;
}
