//! Slots for ids: taken when an id is first seen, given back when it was idle for long or when
//! there is no room for a new one. Bounded work for each event, and a pure function of the log.

use crate::error::Result;
use crate::model::category;
use crate::model::handle::Handle;
use crate::model::options::Options;
use crate::model::records::{Directory, Records};

/// How many slots are looked at to find one to evict when all are taken.
const EVICT_PROBES: u32 = 16;

impl Directory {
    /// A free slot, if there is one below `max`; the caller unlinks it.
    fn room(&self, max: u32) -> bool {
        self.live < max
    }
}

/// The slots of a user and of an item that had to go.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Evicted {
    pub(crate) user: Option<u32>,
    pub(crate) item: Option<u32>,
}

impl Evicted {
    pub(crate) fn item(slot: u32) -> Self {
        Self {
            user: None,
            item: Some(slot),
        }
    }
}

/// The user's handle; a new user gets a slot. `evicted` gets the slot of one that had to go.
pub(crate) fn user_handle<R: Records>(
    r: &mut R,
    o: &Options,
    id: &str,
    evicted: &mut Evicted,
) -> Result<Handle> {
    if let Some(known) = find_user(r, id)? {
        return Ok(known);
    }
    let dir = r.global()?.map_or_else(Directory::default, |g| g.users);
    if !dir.room(o.max_users) {
        let mut oldest = (i64::MAX, 0);
        for n in 0..EVICT_PROBES.min(dir.slots) {
            let slot = (dir.hand + n) % dir.slots;
            if let Some(user) = r.user(slot)?.filter(|u| !u.id.is_empty()) {
                oldest = oldest.min((user.last_ms, slot));
            }
        }
        r.update_global(|g| g.users.hand = (dir.hand + EVICT_PROBES) % dir.slots.max(1))?;
        evict_user(r, oldest.1)?;
        evicted.user = Some(oldest.1);
    }
    let free = r.global()?.map_or(0, |g| g.users.free);
    let (slot, next_free) = match free {
        0 => (r.global()?.map_or(0, |g| g.users.slots), 0),
        chained => (chained - 1, r.user(chained - 1)?.map_or(0, |u| u.next_free)),
    };
    let generation = r.update_user(slot, |u| {
        u.id = id.into();
        u.next_free = 0;
        u.last_ms = i64::MIN;
        u.generation
    })?;
    r.update_global(|g| g.users.take(next_free))?;
    r.bind_user(id, Some(slot))?;
    Ok(Handle::new(slot, generation))
}

/// The item's handle; a new item gets a slot. `evicted` gets the slot of one that had to go.
pub(crate) fn item_handle<R: Records>(
    r: &mut R,
    o: &Options,
    id: &str,
    at_ms: i64,
    evicted: &mut Evicted,
) -> Result<Handle> {
    if let Some(known) = find_item(r, id)? {
        return Ok(known);
    }
    let dir = r.global()?.map_or_else(Directory::default, |g| g.items);
    if !dir.room(o.max_items) {
        let mut oldest = (i64::MAX, 0);
        for n in 0..EVICT_PROBES.min(dir.slots) {
            let slot = (dir.hand + n) % dir.slots;
            if let Some(item) = r.item(slot)?.filter(|i| !i.id.is_empty()) {
                oldest = oldest.min((item.last_ms, slot));
            }
        }
        r.update_global(|g| g.items.hand = (dir.hand + EVICT_PROBES) % dir.slots.max(1))?;
        evict_item(r, oldest.1)?;
        evicted.item = Some(oldest.1);
    }
    let free = r.global()?.map_or(0, |g| g.items.free);
    let (slot, next_free) = match free {
        0 => (r.global()?.map_or(0, |g| g.items.slots), 0),
        chained => (chained - 1, r.item(chained - 1)?.map_or(0, |i| i.next_free)),
    };
    let generation = r.update_item(slot, |i| {
        i.id = id.into();
        i.next_free = 0;
        i.first_ms = at_ms;
        i.generation
    })?;
    r.update_global(|g| g.items.take(next_free))?;
    r.bind_item(id, Some(slot))?;
    let handle = Handle::new(slot, generation);
    if let Some(name) = r.catalogue_item(id)?.map(|item| item.category.clone()) {
        category::assign(r, handle, Some(&name))?;
    }
    Ok(handle)
}

impl Directory {
    /// Takes the first free slot, or a new one.
    pub(super) fn take(&mut self, next_free: u32) {
        if self.free == 0 {
            self.slots += 1;
        } else {
            self.free = next_free;
        }
        self.live += 1;
    }

    pub(super) fn give_back(&mut self, slot: u32) -> u32 {
        self.live = self.live.saturating_sub(1);
        std::mem::replace(&mut self.free, slot + 1)
    }
}

/// The user's handle, if the user is known.
pub(crate) fn find_user<R: Records>(r: &mut R, id: &str) -> Result<Option<Handle>> {
    let Some(slot) = r.user_slot(id)? else {
        return Ok(None);
    };
    Ok(r.user(slot)?.map(|u| Handle::new(slot, u.generation)))
}

/// The item's handle, if the item is known.
pub(crate) fn find_item<R: Records>(r: &mut R, id: &str) -> Result<Option<Handle>> {
    let Some(slot) = r.item_slot(id)? else {
        return Ok(None);
    };
    Ok(r.item(slot)?.map(|i| Handle::new(slot, i.generation)))
}

fn evict_user<R: Records>(r: &mut R, slot: u32) -> Result<()> {
    let Some(id) = r
        .user(slot)?
        .map(|u| u.id.clone())
        .filter(|id| !id.is_empty())
    else {
        return Ok(());
    };
    r.bind_user(&id, None)?;
    let next_free = r.update_global(|g| g.users.give_back(slot))?;
    r.update_user(slot, |u| {
        let generation = u.generation.wrapping_add(1);
        *u = crate::model::UserRecord {
            generation,
            next_free,
            ..Default::default()
        };
    })
}

fn evict_item<R: Records>(r: &mut R, slot: u32) -> Result<()> {
    let found = r.item(slot)?.map(|i| (i.id.clone(), i.generation));
    let Some((id, generation)) = found.filter(|(id, _)| !id.is_empty()) else {
        return Ok(());
    };
    r.bind_item(&id, None)?;
    let handle = Handle::new(slot, generation);
    category::leave(r, handle)?;
    let next_free = r.update_global(|g| {
        for board in &mut g.boards {
            board.remove(handle);
        }
        g.trending.remove(handle);
        g.items.give_back(slot)
    })?;
    r.update_row(slot, |row| *row = super::Row::default())?;
    r.update_item(slot, |i| {
        let generation = generation.wrapping_add(1);
        *i = crate::model::ItemRecord {
            generation,
            next_free,
            ..Default::default()
        };
    })
}

/// Looks at one user and one item, in turn, and evicts them if they were idle for too long.
/// Returns their slots.
pub(crate) fn sweep<R: Records>(r: &mut R, o: &Options) -> Result<Evicted> {
    let mut evicted = Evicted::default();
    let Some((users, items, now)) = r.global()?.map(|g| (g.users, g.items, g.now_ms)) else {
        return Ok(evicted);
    };
    if users.slots > 0 {
        let slot = users.hand % users.slots;
        let idle = r
            .user(slot)?
            .is_some_and(|u| !u.id.is_empty() && now.saturating_sub(u.last_ms) > o.user_idle_ms);
        if idle {
            evict_user(r, slot)?;
            evicted.user = Some(slot);
        }
    }
    if items.slots > 0 {
        let slot = items.hand % items.slots;
        let idle = r
            .item(slot)?
            .is_some_and(|i| !i.id.is_empty() && now.saturating_sub(i.last_ms) > o.item_idle_ms);
        if idle {
            evict_item(r, slot)?;
            evicted.item = Some(slot);
        }
    }
    r.update_global(|g| {
        g.users.hand = (users.hand + 1) % users.slots.max(1);
        g.items.hand = (items.hand + 1) % items.slots.max(1);
    })?;
    Ok(evicted)
}
