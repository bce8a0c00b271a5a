use hashbrown::HashMap;
use prefetch_index::prefetch_index;

use crate::catalogue::{Catalogue, CatalogueItem};
use crate::error::Result;
use crate::model::category::CategoryRecord;
use crate::model::records::{Global, ItemRecord, Records, UserRecord};
use crate::model::row::Row;
use crate::serve::Settings;

type Ids = HashMap<Box<str>, u32, foldhash::fast::RandomState>;

/// Records in this process's memory: for batch use, tests and evaluation.
#[derive(Clone, Debug, Default)]
pub struct MemoryRecords {
    user_ids: Ids,
    item_ids: Ids,
    category_ids: Ids,
    categories: Vec<CategoryRecord>,
    users: Vec<UserRecord>,
    items: Vec<ItemRecord>,
    rows: Vec<Row>,
    global: Global,
    catalogue: Catalogue,
    settings: Settings,
}

impl MemoryRecords {
    /// Bytes held by the records and the id tables, allocations by capacity.
    pub fn bytes(&self) -> usize {
        let ids = |ids: &Ids| {
            ids.capacity() * (size_of::<(Box<str>, u32)>() + 1)
                + ids.keys().map(|k| k.len()).sum::<usize>()
        };
        let users = self.users.iter().map(|u| {
            size_of::<UserRecord>() + u.id.len() + u.history.bytes() + u.seen.capacity() * 4
        });
        let items = self
            .items
            .iter()
            .map(|i| size_of::<ItemRecord>() + i.id.len() + i.touched_by.capacity() * 4);
        ids(&self.user_ids)
            + ids(&self.item_ids)
            + users.sum::<usize>()
            + items.sum::<usize>()
            + self.rows.iter().map(Row::bytes).sum::<usize>()
    }
}

fn slot_mut<T: Default>(all: &mut Vec<T>, slot: u32) -> &mut T {
    let slot = slot as usize;
    if slot >= all.len() {
        all.resize_with(slot + 1, T::default);
    }
    &mut all[slot]
}

fn bind(ids: &mut Ids, id: &str, slot: Option<u32>) {
    match slot {
        Some(slot) => ids.insert(id.into(), slot),
        None => ids.remove(id),
    };
}

impl Records for MemoryRecords {
    fn user_slot(&mut self, id: &str) -> Result<Option<u32>> {
        Ok(self.user_ids.get(id).copied())
    }
    fn bind_user(&mut self, id: &str, slot: Option<u32>) -> Result<()> {
        bind(&mut self.user_ids, id, slot);
        Ok(())
    }
    fn item_slot(&mut self, id: &str) -> Result<Option<u32>> {
        Ok(self.item_ids.get(id).copied())
    }
    fn bind_item(&mut self, id: &str, slot: Option<u32>) -> Result<()> {
        bind(&mut self.item_ids, id, slot);
        Ok(())
    }
    fn user(&mut self, slot: u32) -> Result<Option<&UserRecord>> {
        Ok(self.users.get(slot as usize))
    }
    fn prefetch_users(&mut self, slots: &[u32]) -> Result<()> {
        for slot in slots {
            prefetch_index(&self.users, *slot as usize);
        }
        Ok(())
    }
    fn update_user<T>(&mut self, slot: u32, f: impl FnOnce(&mut UserRecord) -> T) -> Result<T> {
        Ok(f(slot_mut(&mut self.users, slot)))
    }
    fn item(&mut self, slot: u32) -> Result<Option<&ItemRecord>> {
        Ok(self.items.get(slot as usize))
    }
    fn prefetch_items(&mut self, slots: &[u32]) -> Result<()> {
        for slot in slots {
            prefetch_index(&self.items, *slot as usize);
        }
        Ok(())
    }
    fn update_item<T>(&mut self, slot: u32, f: impl FnOnce(&mut ItemRecord) -> T) -> Result<T> {
        Ok(f(slot_mut(&mut self.items, slot)))
    }
    fn row(&mut self, slot: u32) -> Result<Option<&Row>> {
        Ok(self.rows.get(slot as usize))
    }
    fn prefetch_rows(&mut self, slots: &[u32]) -> Result<()> {
        for slot in slots {
            prefetch_index(&self.rows, *slot as usize);
        }
        Ok(())
    }
    fn update_row<T>(&mut self, slot: u32, f: impl FnOnce(&mut Row) -> T) -> Result<T> {
        Ok(f(slot_mut(&mut self.rows, slot)))
    }
    fn category_slot(&mut self, name: &str) -> Result<Option<u32>> {
        Ok(self.category_ids.get(name).copied())
    }
    fn bind_category(&mut self, name: &str, slot: Option<u32>) -> Result<()> {
        bind(&mut self.category_ids, name, slot);
        Ok(())
    }
    fn category(&mut self, slot: u32) -> Result<Option<&CategoryRecord>> {
        Ok(self.categories.get(slot as usize))
    }
    fn update_category<T>(
        &mut self,
        slot: u32,
        f: impl FnOnce(&mut CategoryRecord) -> T,
    ) -> Result<T> {
        Ok(f(slot_mut(&mut self.categories, slot)))
    }
    fn global(&mut self) -> Result<Option<&Global>> {
        Ok(Some(&self.global))
    }
    fn update_global<T>(&mut self, f: impl FnOnce(&mut Global) -> T) -> Result<T> {
        Ok(f(&mut self.global))
    }
    fn catalogue_item(&mut self, id: &str) -> Result<Option<&CatalogueItem>> {
        Ok(self.catalogue.get(id))
    }
    fn put_catalogue_item(&mut self, id: &str, item: Option<CatalogueItem>) -> Result<()> {
        match item {
            Some(item) => self.catalogue.upsert(item),
            None => {
                self.catalogue.remove(id);
            }
        }
        Ok(())
    }
    fn settings(&mut self) -> Result<Option<&Settings>> {
        Ok(Some(&self.settings))
    }
    fn update_settings<T>(&mut self, f: impl FnOnce(&mut Settings) -> T) -> Result<T> {
        Ok(f(&mut self.settings))
    }
}
