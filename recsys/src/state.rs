use state_backend::{KeyScope, MapDef, MapState, StateStore, ValueDef, ValueState};

use crate::catalogue::CatalogueItem;
use crate::error::Result;
use crate::model::{CategoryRecord, Global, ItemRecord, Records, Row, UserRecord};
use crate::serve::Settings;

const USER_IDS: MapDef<String, u32> = MapDef::new("recommender-user-ids");
const ITEM_IDS: MapDef<String, u32> = MapDef::new("recommender-item-ids");
const USERS: MapDef<u32, UserRecord> =
    MapDef::new("recommender-users").with_version(VERSION, refuse);
const ITEMS: MapDef<u32, ItemRecord> =
    MapDef::new("recommender-items").with_version(VERSION, refuse);
const ROWS: MapDef<u32, Row> = MapDef::new("recommender-neighbours").with_version(VERSION, refuse);
const CATEGORY_IDS: MapDef<String, u32> = MapDef::new("recommender-category-ids");
const CATEGORIES: MapDef<u32, CategoryRecord> = MapDef::new("recommender-categories");
const GLOBAL: ValueDef<Global> = ValueDef::new("recommender-global").with_version(VERSION, refuse);
const CATALOGUE: MapDef<String, CatalogueItem> = MapDef::new("recommender-catalogue");
const SETTINGS: ValueDef<Settings> = ValueDef::new("recommender-settings");

/// Of the records with the last event's own time; no release wrote the versions before.
const VERSION: u32 = 4;

fn refuse<T>(version: u32, _: &[u8]) -> std::result::Result<T, String> {
    Err(format!("version {version} was never released"))
}

/// The recommender's records as keyed state: checkpointed, restored and moved with everything else.
///
/// All records of one recommender lie under one key (one shop, one tenant), as maps: they are read
/// across users and items, so they move together. Different keys are recommenders of their own.
#[derive(Clone, Copy, Debug)]
pub struct RecordStates {
    user_ids: MapState<String, u32>,
    item_ids: MapState<String, u32>,
    users: MapState<u32, UserRecord>,
    items: MapState<u32, ItemRecord>,
    rows: MapState<u32, Row>,
    category_ids: MapState<String, u32>,
    categories: MapState<u32, CategoryRecord>,
    global: ValueState<Global>,
    catalogue: MapState<String, CatalogueItem>,
    settings: ValueState<Settings>,
}

impl RecordStates {
    /// Registers the states.
    ///
    /// # Errors
    /// A state that was saved with another kind, type or version.
    pub fn open(store: &mut StateStore) -> state_backend::Result<Self> {
        Ok(Self {
            user_ids: store.map(&USER_IDS)?,
            item_ids: store.map(&ITEM_IDS)?,
            users: store.map(&USERS)?,
            items: store.map(&ITEMS)?,
            rows: store.map(&ROWS)?,
            category_ids: store.map(&CATEGORY_IDS)?,
            categories: store.map(&CATEGORIES)?,
            global: store.value(&GLOBAL)?,
            catalogue: store.map(&CATALOGUE)?,
            settings: store.value(&SETTINGS)?,
        })
    }

    /// The records under the current key.
    pub fn of<'a, 'k>(&self, scope: &'a mut KeyScope<'k>) -> StateRecords<'a, 'k> {
        StateRecords {
            states: *self,
            scope,
        }
    }
}

/// [`Records`] under one key of a state store.
#[derive(Debug)]
pub struct StateRecords<'a, 'k> {
    states: RecordStates,
    scope: &'a mut KeyScope<'k>,
}

// Look-ups are not inlined: a call costs little beside them, and their many copies cost minutes to
// compile.
impl Records for StateRecords<'_, '_> {
    #[inline(never)]
    fn user_slot(&mut self, id: &str) -> Result<Option<u32>> {
        Ok(self.states.user_ids.get(self.scope, id)?.copied())
    }
    #[inline(never)]
    fn bind_user(&mut self, id: &str, slot: Option<u32>) -> Result<()> {
        match slot {
            Some(slot) => self.states.user_ids.put(self.scope, id, slot)?,
            None => self.states.user_ids.remove(self.scope, id)?,
        }
        Ok(())
    }
    #[inline(never)]
    fn item_slot(&mut self, id: &str) -> Result<Option<u32>> {
        Ok(self.states.item_ids.get(self.scope, id)?.copied())
    }
    #[inline(never)]
    fn bind_item(&mut self, id: &str, slot: Option<u32>) -> Result<()> {
        match slot {
            Some(slot) => self.states.item_ids.put(self.scope, id, slot)?,
            None => self.states.item_ids.remove(self.scope, id)?,
        }
        Ok(())
    }
    #[inline(never)]
    fn user(&mut self, slot: u32) -> Result<Option<&UserRecord>> {
        Ok(self.states.users.get(self.scope, &slot)?)
    }
    #[inline(never)]
    fn prefetch_users(&mut self, slots: &[u32]) -> Result<()> {
        Ok(self.states.users.prefetch(self.scope, slots)?)
    }
    fn update_user<T>(&mut self, slot: u32, f: impl FnOnce(&mut UserRecord) -> T) -> Result<T> {
        let users = &self.states.users;
        Ok(users.update_or_insert_with(self.scope, &slot, UserRecord::default, f)?)
    }
    #[inline(never)]
    fn item(&mut self, slot: u32) -> Result<Option<&ItemRecord>> {
        Ok(self.states.items.get(self.scope, &slot)?)
    }
    #[inline(never)]
    fn prefetch_items(&mut self, slots: &[u32]) -> Result<()> {
        Ok(self.states.items.prefetch(self.scope, slots)?)
    }
    fn update_item<T>(&mut self, slot: u32, f: impl FnOnce(&mut ItemRecord) -> T) -> Result<T> {
        let items = &self.states.items;
        Ok(items.update_or_insert_with(self.scope, &slot, ItemRecord::default, f)?)
    }
    #[inline(never)]
    fn row(&mut self, slot: u32) -> Result<Option<&Row>> {
        Ok(self.states.rows.get(self.scope, &slot)?)
    }
    #[inline(never)]
    fn prefetch_rows(&mut self, slots: &[u32]) -> Result<()> {
        Ok(self.states.rows.prefetch(self.scope, slots)?)
    }
    fn update_row<T>(&mut self, slot: u32, f: impl FnOnce(&mut Row) -> T) -> Result<T> {
        let rows = &self.states.rows;
        Ok(rows.update_or_insert_with(self.scope, &slot, Row::default, f)?)
    }
    #[inline(never)]
    fn category_slot(&mut self, name: &str) -> Result<Option<u32>> {
        Ok(self.states.category_ids.get(self.scope, name)?.copied())
    }
    #[inline(never)]
    fn bind_category(&mut self, name: &str, slot: Option<u32>) -> Result<()> {
        match slot {
            Some(slot) => self.states.category_ids.put(self.scope, name, slot)?,
            None => self.states.category_ids.remove(self.scope, name)?,
        }
        Ok(())
    }
    #[inline(never)]
    fn category(&mut self, slot: u32) -> Result<Option<&CategoryRecord>> {
        Ok(self.states.categories.get(self.scope, &slot)?)
    }
    fn update_category<T>(
        &mut self,
        slot: u32,
        f: impl FnOnce(&mut CategoryRecord) -> T,
    ) -> Result<T> {
        let categories = &self.states.categories;
        Ok(categories.update_or_insert_with(self.scope, &slot, CategoryRecord::default, f)?)
    }
    #[inline(never)]
    fn global(&mut self) -> Result<Option<&Global>> {
        Ok(self.states.global.get(self.scope)?)
    }
    fn update_global<T>(&mut self, f: impl FnOnce(&mut Global) -> T) -> Result<T> {
        let global = &self.states.global;
        Ok(global.update_or_insert_with(self.scope, Global::default, f)?)
    }
    #[inline(never)]
    fn catalogue_item(&mut self, id: &str) -> Result<Option<&CatalogueItem>> {
        Ok(self.states.catalogue.get(self.scope, id)?)
    }
    #[inline(never)]
    fn put_catalogue_item(&mut self, id: &str, item: Option<CatalogueItem>) -> Result<()> {
        match item {
            Some(item) => self.states.catalogue.put(self.scope, id, item)?,
            None => self.states.catalogue.remove(self.scope, id)?,
        }
        Ok(())
    }
    #[inline(never)]
    fn settings(&mut self) -> Result<Option<&Settings>> {
        Ok(self.states.settings.get(self.scope)?)
    }
    fn update_settings<T>(&mut self, f: impl FnOnce(&mut Settings) -> T) -> Result<T> {
        let settings = &self.states.settings;
        Ok(settings.update_or_insert_with(self.scope, Settings::default, f)?)
    }
}

#[cfg(test)]
mod tests;
