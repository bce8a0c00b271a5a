//! Categories of the catalogue: what is popular in each.

use serde::{Deserialize, Serialize};

use crate::catalogue::UNKNOWN_CATEGORY;
use crate::error::Result;
use crate::model::board::Board;
use crate::model::handle::Handle;
use crate::model::records::Records;

/// The most categories with items at a time; items of further ones have none.
const MAX_CATEGORIES: u32 = 4_096;
/// Items on the board of a category.
const BOARD: usize = 40;
/// Which half-life it counts by: a week.
pub(crate) const HALF_LIFE: usize = 3;

/// What the model keeps of a category: as long as one of the items it knows is of it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CategoryRecord {
    /// Empty when the slot is free.
    pub(crate) name: Box<str>,
    generation: u8,
    next_free: u32,
    /// How many items are of it.
    items: u32,
    pub(crate) board: Board,
}

impl CategoryRecord {
    pub(crate) fn is(&self, handle: Handle) -> bool {
        !self.name.is_empty() && self.generation == handle.generation()
    }
}

fn handle<R: Records>(r: &mut R, name: &str) -> Result<Option<Handle>> {
    if let Some(slot) = r.category_slot(name)? {
        return Ok(r
            .category(slot)?
            .map(|category| Handle::new(slot, category.generation)));
    }
    let (slots, live, free) = r.global()?.map_or((0, 0, 0), |g| {
        let dir = g.categories;
        (dir.slots, dir.live, dir.free)
    });
    if live >= MAX_CATEGORIES {
        return Ok(None);
    }
    let (slot, next_free) = match free {
        0 => (slots, 0),
        chained => {
            let next = r.category(chained - 1)?.map_or(0, |c| c.next_free);
            (chained - 1, next)
        }
    };
    let generation = r.update_category(slot, |category| {
        category.name = name.into();
        category.next_free = 0;
        category.generation
    })?;
    r.update_global(|g| g.categories.take(next_free))?;
    r.bind_category(name, Some(slot))?;
    Ok(Some(Handle::new(slot, generation)))
}

/// Puts an item into the category the catalogue gives it, out of the one it was in.
pub(crate) fn assign<R: Records>(r: &mut R, item: Handle, name: Option<&str>) -> Result<()> {
    let new = match name {
        Some(name) if !name.is_empty() && name != UNKNOWN_CATEGORY => handle(r, name)?,
        _ => None,
    };
    let old = r.item(item.slot())?.and_then(|record| record.category);
    if old == new {
        return Ok(());
    }
    leave(r, item)?;
    let key = r.update_item(item.slot(), |record| {
        record.category = new;
        record.popularity[HALF_LIFE]
    })?;
    if let Some(new) = new {
        r.update_category(new.slot(), |category| {
            category.items += 1;
            if key.is_finite() {
                category.board.update(item, f64::NEG_INFINITY, key, BOARD);
            }
        })?;
    }
    Ok(())
}

/// Takes an item out of its category; the last one takes the category with it.
pub(crate) fn leave<R: Records>(r: &mut R, item: Handle) -> Result<()> {
    let Some(old) = r.item(item.slot())?.and_then(|record| record.category) else {
        return Ok(());
    };
    r.update_item(item.slot(), |record| record.category = None)?;
    let emptied = r.update_category(old.slot(), |category| {
        category.items = category.items.saturating_sub(1);
        category.board.remove(item);
        (category.items == 0).then(|| category.name.clone())
    })?;
    if let Some(name) = emptied {
        r.bind_category(&name, None)?;
        let next_free = r.update_global(|g| g.categories.give_back(old.slot()))?;
        r.update_category(old.slot(), |category| {
            *category = CategoryRecord {
                generation: old.generation().wrapping_add(1),
                next_free,
                ..CategoryRecord::default()
            };
        })?;
    }
    Ok(())
}

/// An item's popularity has grown from one key to another.
pub(crate) fn touched<R: Records>(
    r: &mut R,
    category: Handle,
    item: Handle,
    keys: [f64; 2],
) -> Result<()> {
    let [old, new] = keys;
    r.update_category(category.slot(), |category| {
        category.board.update(item, old, new, BOARD);
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::CatalogueItem;
    use crate::ids::ItemId;
    use crate::model::{Interaction, MemoryRecords, Model, Options};

    fn touch(model: &mut Model, r: &mut MemoryRecords, user: &str, item: &str, at_ms: i64) {
        let (weight, positive) = (1.0, true);
        let event = Interaction {
            user,
            item,
            weight,
            positive,
            at_ms,
        };
        model.observe(r, event).unwrap();
    }

    fn put(model: &mut Model, r: &mut MemoryRecords, item: &str, category: &str) {
        let entry = CatalogueItem::new(ItemId::new(item).unwrap(), category, "");
        r.put_catalogue_item(item, Some(entry)).unwrap();
        model.categorise(r, item, Some(category)).unwrap();
    }

    #[test]
    fn a_category_lives_as_long_as_its_items() {
        let mut r = MemoryRecords::default();
        let options = Options::default().with_capacity(1_000, 50);
        let mut model = Model::open(&mut r, options).unwrap();
        for n in 0..5_000_i64 {
            let item = format!("i{n}");
            put(&mut model, &mut r, &item, &format!("c{}", n / 10));
            touch(&mut model, &mut r, &format!("u{}", n % 7), &item, n);
            assert!(r.global().unwrap().unwrap().categories.live <= 50);
        }
        // Fifty items are left, of no more categories than that; slots are used again.
        assert!(r.global().unwrap().unwrap().categories.slots <= 51);
        // Changed while running: the old category is empty and gone.
        put(&mut model, &mut r, "i4999", "other");
        let slot = r.category_slot("other").unwrap().unwrap();
        let board = &r.category(slot).unwrap().unwrap().board;
        assert_eq!(board.entries().len(), 1);
        model.categorise(&mut r, "i4999", None).unwrap();
        assert_eq!(r.category_slot("other").unwrap(), None);
    }

    #[test]
    fn what_is_popular_in_a_category_of_the_user_is_named() {
        let mut r = MemoryRecords::default();
        let mut model = Model::open(&mut r, Options::default()).unwrap();
        let mut at = 0;
        for (item, category) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("none", "")] {
            put(&mut model, &mut r, item, category);
        }
        for user in 0..3 {
            for item in ["a1", "a2", "b1", "none"] {
                at += 1;
                touch(&mut model, &mut r, &format!("{item}-{user}"), item, at);
            }
        }
        touch(&mut model, &mut r, "ann", "a1", at + 1);
        model.recommend(&mut r, "ann", 10).unwrap();
        let channel = crate::model::Channel::Category;
        let mut rank = |item| model.rank_by(&mut r, item, channel).unwrap();
        assert_eq!(
            (rank("a2"), rank("b1"), rank("none")),
            (Some(1), None, None)
        );
    }
}
