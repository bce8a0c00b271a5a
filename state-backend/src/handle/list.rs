//! List state.

use super::handle;
use crate::{
    Error, KeyScope, Result, StateStore,
    engine::Engine,
    table::{Addr, Table, rows::ListItems},
    ttl::Ttl,
};
use std::{fmt, iter, ops::ControlFlow, slice};

/// Handle of a list state. See [`ListDef`](crate::ListDef).
///
/// # Cost
/// A list is one row. In memory adding takes constant time and [`get`](Self::get) copies nothing; but a delta has the
/// whole list when one element was added, and over a backend on disk so has each eviction and each
/// read of what was evicted, in time and bytes in proportion to its length. (RocksDB's list state appends, and pays with a
/// merge at the next read.) With a time to live every element takes 8 bytes more, and reading and snapshots look at each.
/// A collection that grows without end, or of which single elements change, belongs into a
/// [`MapState`](crate::MapState) by number or id: a row for each element.
pub struct ListState<T> {
    slot: usize,
    heap_bytes: fn(&T) -> usize,
}

handle!(ListState<T>);

/// The handle of no store, every use of which is an error: so that an operator can derive `Default`
/// and register its states when it is opened.
impl<T> Default for ListState<T> {
    fn default() -> Self {
        Self {
            slot: usize::MAX,
            heap_bytes: |_| 0,
        }
    }
}

impl<T: Send + 'static> ListState<T> {
    pub(crate) fn new(slot: usize, heap_bytes: fn(&T) -> usize) -> Self {
        Self { slot, heap_bytes }
    }

    /// The elements, in the order they were added; none if nothing was.
    ///
    /// With a time to live each element has its own. Expired elements are passed over (or shown, if
    /// the state returns them) and stay stored until a read finds all of them expired; a state that
    /// is renewed by reading drops them with the first read.
    ///
    /// # Errors
    /// As [`ValueState::get`](crate::ValueState::get).
    pub fn get<'s>(&self, scope: &'s mut KeyScope<'_>) -> Result<ListView<'s, T>> {
        let (table, engine, addr) = scope.open::<ListItems<T>>(self.slot)?;
        let Some(place) = table.find(engine, addr)? else {
            return Ok(ListView::empty());
        };
        let Some(ttl) = table.ttl else {
            let list = table.payload(addr.group, place);
            return Ok(ListView::all(&list.items));
        };
        let now = engine.now;
        if table.is_expired(engine, addr.group, place) {
            let gone = table.expire(engine, addr.group, place)?;
            return Ok(match gone {
                Some(list) if ttl.returns_expired() => ListView::all(&list.items),
                _ => ListView::empty(),
            });
        }
        if ttl.renews_on_read() {
            return self.renew(table, engine, addr, place, &ttl);
        }
        let list = table.payload(addr.group, place);
        Ok(ListView {
            written: &list.written,
            hide: (!ttl.returns_expired()).then_some((ttl, now)),
            ..ListView::all(&list.items)
        })
    }

    /// A read that renews: only the unexpired elements stay, written now. The expired ones are seen
    /// a last time if the state returns them.
    fn renew<'s>(
        &self,
        table: &'s mut Table<ListItems<T>>,
        engine: &mut Engine,
        addr: Addr<'_>,
        place: usize,
        ttl: &Ttl,
    ) -> Result<ListView<'s, T>> {
        let now = engine.now;
        let list = table.payload(addr.group, place);
        if list.written.iter().any(|&at| at != now) {
            let heap_bytes = self.heap_bytes;
            let gone = table.update_at(engine, addr, place, |list| {
                let gone = list.split_expired(ttl, now, heap_bytes);
                list.written.fill(now);
                gone
            })?;
            if !gone.items.is_empty() {
                table.remeasure(engine, addr, place)?;
                if ttl.returns_expired() {
                    table.expired = Some(gone);
                    let table = &*table;
                    let live = table.payload(addr.group, place);
                    return Ok(match &table.expired {
                        Some(gone) => ListView {
                            gone: &gone.items,
                            gone_at: &gone.written,
                            ..ListView::all(&live.items)
                        },
                        None => ListView::all(&live.items),
                    });
                }
            }
        }
        Ok(ListView::all(&table.payload(addr.group, place).items))
    }

    /// Appends an element.
    ///
    /// # Errors
    /// As [`ValueState::set`](crate::ValueState::set); the list would be too large, and stays as it
    /// was.
    #[inline]
    pub fn add(&self, scope: &mut KeyScope<'_>, item: T) -> Result<()> {
        self.extend(scope, &mut iter::once(item))
    }

    /// Appends elements, with one write time.
    ///
    /// # Errors
    /// As [`add`](Self::add); those before the one that was too many stay added.
    pub fn add_all(
        &self,
        scope: &mut KeyScope<'_>,
        items: impl IntoIterator<Item = T>,
    ) -> Result<()> {
        self.extend(scope, &mut items.into_iter())
    }

    fn extend(&self, scope: &mut KeyScope<'_>, items: &mut dyn Iterator<Item = T>) -> Result<()> {
        let Some(first) = items.next() else {
            return Ok(());
        };
        let heap_bytes = self.heap_bytes;
        let (table, engine, addr) = scope.open::<ListItems<T>>(self.slot)?;
        let (max_value, now) = (engine.max_value, engine.now);
        let written = table.ttl.is_some().then_some(now);
        let (place, first) = match table.find(engine, addr)? {
            Some(place) => (place, Some(first)),
            None => {
                let mut list = ListItems::new();
                list.push(first, written, heap_bytes);
                table.set(engine, addr, list)?;
                match table.find(engine, addr)? {
                    Some(place) => (place, None),
                    None => return Ok(()),
                }
            }
        };
        let pushed = table.update_at(engine, addr, place, |list| {
            for item in first.into_iter().chain(items) {
                let size = list.bytes() + size_of::<T>() + heap_bytes(&item);
                if size as u64 > max_value {
                    return Err(size as u64);
                }
                list.push(item, written, heap_bytes);
            }
            Ok(())
        })?;
        pushed.map_err(|value_bytes| Error::ValueTooLarge {
            state: table.name.clone(),
            key_bytes: addr.key_len() as u64,
            value_bytes,
            limit_bytes: max_value,
        })
    }

    /// Replaces the list; an empty one clears.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn update(&self, scope: &mut KeyScope<'_>, items: Vec<T>) -> Result<()> {
        if items.is_empty() {
            return self.clear(scope);
        }
        let (table, engine, addr) = scope.open::<ListItems<T>>(self.slot)?;
        let written = match table.ttl {
            Some(_) => vec![engine.now; items.len()],
            None => Vec::new(),
        };
        let heap = items.iter().map(self.heap_bytes).sum();
        table.set(
            engine,
            addr,
            ListItems {
                items,
                written,
                heap,
            },
        )
    }

    /// Removes the list.
    ///
    /// # Errors
    /// As [`ValueState::clear`](crate::ValueState::clear).
    pub fn clear(&self, scope: &mut KeyScope<'_>) -> Result<()> {
        let (table, engine, addr) = scope.open::<ListItems<T>>(self.slot)?;
        table.remove(engine, addr)
    }
}

impl StateStore {
    /// [`for_each`](Self::for_each) for a list state: visits every list.
    ///
    /// # Errors
    /// As [`for_each`](Self::for_each).
    pub fn for_each_list<T: Send + 'static>(
        &mut self,
        state: &ListState<T>,
        mut visit: impl FnMut(&[u8], ListView<'_, T>),
    ) -> Result<()> {
        let now = self.time();
        let table = self.table::<ListItems<T>>(state.slot)?;
        let hide = table
            .ttl
            .filter(|ttl| !ttl.returns_expired())
            .map(|ttl| (ttl, now));
        table.for_each(&self.engine, |key, list| {
            visit(
                key,
                ListView {
                    written: &list.written,
                    hide,
                    ..ListView::all(&list.items)
                },
            );
            ControlFlow::Continue(())
        })
    }
}

/// The elements of a list, borrowed in place.
#[derive(Clone, Copy)]
pub struct ListView<'s, T> {
    items: &'s [T],
    written: &'s [i64],
    /// Elements expired at this time are passed over.
    hide: Option<(Ttl, i64)>,
    /// Elements that are seen a last time, and their positions.
    gone: &'s [T],
    gone_at: &'s [i64],
}

impl<'s, T> ListView<'s, T> {
    fn empty() -> Self {
        Self::all(&[])
    }

    fn all(items: &'s [T]) -> Self {
        Self {
            items,
            written: &[],
            hide: None,
            gone: &[],
            gone_at: &[],
        }
    }

    /// The elements in order.
    #[must_use]
    pub fn iter(&self) -> ListIter<'s, T> {
        ListIter {
            items: self.items.iter(),
            written: self.written.iter(),
            hide: self.hide,
            gone: self.gone.iter().zip(self.gone_at),
            position: 0,
        }
    }

    /// Number of elements; counts them if some may have expired.
    #[must_use]
    pub fn len(&self) -> usize {
        match self.hide {
            None => self.items.len() + self.gone.len(),
            Some(_) => self.iter().count(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The elements, cloned.
    #[must_use]
    pub fn to_vec(&self) -> Vec<T>
    where
        T: Clone,
    {
        self.iter().cloned().collect()
    }
}

impl<T: fmt::Debug> fmt::Debug for ListView<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<'s, T> IntoIterator for ListView<'s, T> {
    type Item = &'s T;
    type IntoIter = ListIter<'s, T>;

    fn into_iter(self) -> ListIter<'s, T> {
        self.iter()
    }
}

/// Goes through a [`ListView`].
#[derive(Clone, Debug)]
pub struct ListIter<'s, T> {
    items: slice::Iter<'s, T>,
    written: slice::Iter<'s, i64>,
    hide: Option<(Ttl, i64)>,
    gone: iter::Zip<slice::Iter<'s, T>, slice::Iter<'s, i64>>,
    position: i64,
}

impl<'s, T> Iterator for ListIter<'s, T> {
    type Item = &'s T;

    fn next(&mut self) -> Option<&'s T> {
        let next_gone = self.gone.clone().next();
        if let Some((item, &at)) = next_gone
            && at == self.position
        {
            self.gone.next();
            self.position += 1;
            return Some(item);
        }
        self.position += 1;
        loop {
            let item = self.items.next()?;
            let written = self.written.next();
            match (self.hide, written) {
                (Some((ttl, now)), Some(&written)) if ttl.is_expired(written, now) => {}
                _ => return Some(item),
            }
        }
    }
}
