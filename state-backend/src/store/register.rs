//! Registering states: a definition goes in, a handle comes out.

use super::{StateStore, entry_of};
use crate::{
    AggregateFunction, AggregatingDef, AggregatingState, Codec, Error, ListDef, ListState, MapDef,
    MapState, ReducingDef, ReducingState, Result, StateId, StateKey, StateKind, Ttl, ValueDef,
    ValueState,
    catalog::StateEntry,
    table::{
        Table, TableInfo,
        any::AnyTable,
        rows::{ListItems, ListRows, Rows, SingleRows},
    },
};

impl StateStore {
    /// Registers a value state, or finds it registered.
    ///
    /// # Errors
    /// The name has another kind, type or version already (here, or in what was restored); the
    /// definition is no good; restored rows do not decode.
    pub fn value<V: Send + 'static>(&mut self, def: &ValueDef<V>) -> Result<ValueState<V>> {
        self.register_single(StateKind::Value, &def.name, def.codec, def.ttl)
            .map(ValueState::new)
    }

    /// Registers a list state, or finds it registered.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn list<T: Send + 'static>(&mut self, def: &ListDef<T>) -> Result<ListState<T>> {
        let rows = ListRows {
            codec: def.codec,
            timed: def.ttl.is_some(),
        };
        self.register::<ListItems<T>>(
            StateKind::List,
            &def.name,
            def.codec.type_name(),
            def.ttl,
            def.codec.migrate.is_some(),
            Box::new(rows),
        )
        .map(|slot| ListState::new(slot, def.codec.heap_bytes))
    }

    /// Registers a map state, or finds it registered.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn map<UK: StateKey, V: Send + 'static>(
        &mut self,
        def: &MapDef<UK, V>,
    ) -> Result<MapState<UK, V>> {
        let rows = SingleRows {
            codec: def.codec,
            timed: def.ttl.is_some(),
        };
        self.register::<V>(
            StateKind::Map,
            &def.name,
            def.type_name(),
            def.ttl,
            def.codec.migrate.is_some(),
            Box::new(rows),
        )
        .map(MapState::new)
    }

    /// Registers a reducing state, or finds it registered.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn reducing<V: Send + 'static>(
        &mut self,
        def: &ReducingDef<V>,
    ) -> Result<ReducingState<V>> {
        self.register_single(StateKind::Reducing, &def.name, def.codec, def.ttl)
            .map(|slot| ReducingState::new(slot, def.reduce))
    }

    /// Registers an aggregating state, or finds it registered.
    ///
    /// # Errors
    /// As [`value`](Self::value).
    pub fn aggregating<A: AggregateFunction>(
        &mut self,
        def: &AggregatingDef<A>,
    ) -> Result<AggregatingState<A>> {
        self.register_single(StateKind::Aggregating, &def.name, def.codec, def.ttl)
            .map(|slot| AggregatingState::new(slot, def.function))
    }

    fn register_single<V: Send + 'static>(
        &mut self,
        kind: StateKind,
        name: &str,
        codec: Codec<V>,
        ttl: Option<Ttl>,
    ) -> Result<usize> {
        let rows = SingleRows {
            codec,
            timed: ttl.is_some(),
        };
        self.register::<V>(
            kind,
            name,
            codec.type_name(),
            ttl,
            codec.migrate.is_some(),
            Box::new(rows),
        )
    }

    fn register<P: Send + 'static>(
        &mut self,
        kind: StateKind,
        name: &str,
        type_name: String,
        ttl: Option<Ttl>,
        migrates: bool,
        rows: Box<dyn Rows<P>>,
    ) -> Result<usize> {
        let invalid = |reason: &str| Error::InvalidDefinition {
            state: name.to_owned(),
            reason: reason.to_owned(),
        };
        if ttl.is_some_and(|ttl| ttl.ttl_ms <= 0) {
            return Err(invalid("a time to live must be at least a millisecond"));
        }
        let wanted = StateEntry {
            id: StateId::STORE,
            name: name.to_owned(),
            kind,
            type_name: type_name.clone(),
            version: rows.format().version,
            ttl,
            shape: None,
        };
        if let Some(&slot) = self.slots.get(name) {
            let existing = entry_of(&*self.tables[slot]);
            existing.check(&wanted, false)?;
            if existing.ttl != ttl {
                return Err(invalid("registered before with another time to live"));
            }
            // Same name, kind and type name, yet another type: two types of one name.
            self.table::<P>(slot).map_err(|_| Error::TypeMismatch {
                state: name.to_owned(),
                existing: existing.type_name,
                requested: std::any::type_name::<P>().to_owned(),
            })?;
            return Ok(slot);
        }
        let stored = self.dormant.get(name).cloned();
        if let Some(stored) = &stored {
            stored.check(&wanted, migrates)?;
            if self.engine.running > 0 {
                return Err(invalid(
                    "restored state cannot be registered while a snapshot is being captured",
                ));
            }
        }
        let id = match &stored {
            Some(stored) => stored.id,
            None => self.new_id(name)?,
        };
        let slot = self.tables.len();
        let info = TableInfo {
            id,
            name: name.to_owned(),
            kind,
            type_name,
            ttl,
            migrates,
        };
        let mut table = Table::new(slot, self.engine.range.len(), info, rows);
        if let Some(stored) = stored {
            let (used, source) = (self.engine.used, self.source.as_deref());
            let adopted = AnyTable::adopt(&mut table, &mut self.engine, source, stored.format());
            if let Err(error) = adopted {
                // The table goes, with all that it has taken in.
                self.engine.used = used;
                return Err(error);
            }
            self.dormant.remove(name);
            // Chunks that are still to come are as the restored catalog says.
            self.incoming.insert(name.to_owned(), stored.format());
        }
        self.tables.push(Box::new(table));
        self.slots.insert(name.to_owned(), slot);
        Ok(slot)
    }

    pub(super) fn new_id(&mut self, name: &str) -> Result<StateId> {
        let id = StateId::new(self.next_id);
        self.next_id = self
            .next_id
            .checked_add(1)
            .ok_or_else(|| Error::InvalidDefinition {
                state: name.to_owned(),
                reason: "more than 65,534 states in one store".to_owned(),
            })?;
        Ok(id)
    }

    /// Whether a restored checkpoint had this state.
    #[must_use]
    pub fn has_state(&self, name: &str) -> bool {
        self.slots.contains_key(name) || self.dormant.contains_key(name)
    }
}
