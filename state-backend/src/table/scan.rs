//! Going through rows in key order, those in the table and those beneath together.

use super::{Addr, Table, group::Group};
use crate::{
    Result,
    engine::Engine,
    row_key::{RowKey, hash_row},
};
use std::ops::{Bound, ControlFlow};

/// Rows of the backend looked at in one scan.
const SLICE: usize = 1024;

impl<P: Send + 'static> Table<P> {
    /// Keys of the live rows under a prefix, ascending, at most about [`SLICE`] of them and all
    /// greater than `after`; none if there are no more. The first call in a group lists its rows in order.
    pub(crate) fn keys_under(
        &mut self,
        engine: &mut Engine,
        addr: Addr<'_>,
        after: Option<&[u8]>,
    ) -> Result<Vec<RowKey>> {
        self.check_group(engine, addr)?;
        engine.used += self.groups[addr.group].list_in_order();
        let row = &*addr.row();
        let group = &self.groups[addr.group];
        let prefix = &row[2..];
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(prefix),
        };
        let mut keys: Vec<RowKey> = group
            .order
            .iter()
            .flat_map(|order| order.range::<[u8], _>((start, Bound::Unbounded)))
            .take_while(|key| key.bytes().starts_with(prefix))
            .take(SLICE)
            .cloned()
            .collect();
        if group.beneath {
            self.merge_beneath(engine, group, row, after, &mut keys)?;
        }
        Ok(keys)
    }

    fn merge_beneath(
        &self,
        engine: &Engine,
        group: &Group<P>,
        row: &[u8],
        after: Option<&[u8]>,
        keys: &mut Vec<RowKey>,
    ) -> Result<()> {
        let after = after.map(|after| [&row[..2], after].concat());
        let full = keys.len() == SLICE;
        let end = keys.last().cloned();
        let mut more = Vec::new();
        let mut cut = None;
        engine
            .backend
            .scan(self.id, row, after.as_deref(), &mut |row, _| {
                let key = &row[2..];
                if full && end.as_ref().is_some_and(|end| key > end.bytes()) {
                    return ControlFlow::Break(());
                }
                // What is in the table, alive or deleted, counts as it is there.
                if group.place_of(hash_row(key), key).is_none() {
                    more.push(RowKey::new(key));
                }
                if more.len() == SLICE {
                    cut = more.last().cloned();
                    return ControlFlow::Break(());
                }
                ControlFlow::Continue(())
            })?;
        if let Some(cut) = cut {
            keys.retain(|key| *key <= cut);
        }
        keys.append(&mut more);
        keys.sort_unstable();
        Ok(())
    }

    /// Visits every live row of the state, by group and then by key, without changing anything and
    /// without bringing rows into memory. `visit` gets the key without the group.
    pub(crate) fn for_each(
        &self,
        engine: &Engine,
        mut visit: impl FnMut(&[u8], &P) -> ControlFlow<()>,
    ) -> Result<()> {
        for at in 0..self.groups.len() {
            let group = &self.groups[at];
            let mut places: Vec<u32> = (0..group.rows.places())
                .filter(|&place| {
                    group
                        .rows
                        .get(place)
                        .is_some_and(|entry| entry.value.is_some())
                        && !self.is_hidden(engine, at, place)
                })
                .map(|place| place as u32)
                .collect();
            let key_of = |place: &u32| group.entry(*place as usize).key.bytes();
            places.sort_unstable_by(|a, b| key_of(a).cmp(key_of(b)));
            let flow = if group.beneath {
                self.visit_merged(engine, at, &places, &mut visit)?
            } else {
                places.iter().try_for_each(|&place| {
                    let place = place as usize;
                    visit(group.entry(place).key.bytes(), self.payload(at, place))
                })
            };
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn visit_merged(
        &self,
        engine: &Engine,
        at: usize,
        places: &[u32],
        visit: &mut impl FnMut(&[u8], &P) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>> {
        let group = &self.groups[at];
        let (format, now) = (self.rows.format(), engine.now);
        let mut resident = places.iter().map(|&place| place as usize).peekable();
        let mut outcome = Ok(());
        let mut flow = ControlFlow::Continue(());
        engine.backend.scan(
            self.id,
            &engine.group_at(at).to_be_bytes(),
            None,
            &mut |row, value| {
                let key = &row[2..];
                while let Some(place) =
                    resident.next_if(|&place| group.entry(place).key.bytes() < key)
                {
                    flow = visit(group.entry(place).key.bytes(), self.payload(at, place));
                    flow?;
                }
                if group.place_of(hash_row(key), key).is_some() {
                    return ControlFlow::Continue(());
                }
                match self.rows.decode(value, format, now) {
                    Ok((payload, written)) => {
                        let hidden = self.ttl.is_some_and(|ttl| {
                            !ttl.returns_expired()
                                && self.rows.is_expired(&payload, written, &ttl, now)
                        });
                        if !hidden {
                            flow = visit(key, &payload);
                        }
                    }
                    Err(reason) => {
                        outcome = Err(self.damaged(reason));
                        flow = ControlFlow::Break(());
                    }
                }
                flow
            },
        )?;
        outcome?;
        for place in resident {
            if flow.is_break() {
                break;
            }
            flow = visit(group.entry(place).key.bytes(), self.payload(at, place));
        }
        Ok(flow)
    }

    fn is_hidden(&self, engine: &Engine, at: usize, place: usize) -> bool {
        self.ttl.is_some_and(|ttl| !ttl.returns_expired()) && self.is_expired(engine, at, place)
    }
}
