//! A scan over write buffers and tree at once: the newest change of each row counts.

use std::iter::Peekable;
use std::ops::{Bound, ControlFlow};

use super::memtable::{Memtable, row_name};
use super::tree::Rows;
use crate::{StateId, Visit};

/// Visits the rows of a state whose key starts with `prefix` and is greater than `after`.
pub(super) fn scan_after(
    tables: &[&Memtable],
    rows: &Rows,
    (state, prefix): (StateId, &[u8]),
    after: Option<&[u8]>,
    visit: Visit<'_>,
) -> Result<(), ::redb::Error> {
    let mut row = Vec::new();
    row_name(state, prefix, &mut row);
    let mut last = Vec::new();
    let from = match after {
        Some(after) if after >= prefix => {
            row_name(state, after, &mut last);
            Bound::Excluded(last.as_slice())
        }
        _ => Bound::Included(row.as_slice()),
    };
    scan(tables, rows, &row, from, visit)
}

/// Visits the rows behind `from` that start with `prefix`, both with the state in front, which `visit` does not get to see.
fn scan(
    tables: &[&Memtable],
    rows: &Rows,
    prefix: &[u8],
    from: Bound<&[u8]>,
    visit: Visit<'_>,
) -> Result<(), ::redb::Error> {
    let mut buffers: Vec<Peekable<_>> = tables
        .iter()
        .map(|table| {
            table
                .range(from)
                .take_while(|(row, _)| row.starts_with(prefix))
                .peekable()
        })
        .collect();
    let mut stored = rows.range::<&[u8]>((from, Bound::Unbounded))?;
    let mut next = stored.next().transpose()?;
    loop {
        let in_tree = next
            .as_ref()
            .map(|(row, _)| row.value())
            .filter(|row| row.starts_with(prefix));
        let buffered = buffers
            .iter_mut()
            .filter_map(|buffer| buffer.peek().map(|(row, _)| *row))
            .min();
        let flow = match (buffered, in_tree) {
            (None, None) => return Ok(()),
            (Some(row), stored_row) if stored_row.is_none_or(|stored| row <= stored) => {
                let overwritten = stored_row == Some(row);
                // Newest first: the first that knows the row tells what it is.
                let mut value = None;
                for buffer in &mut buffers {
                    if let Some((_, change)) = buffer.next_if(|(next, _)| *next == row) {
                        value = value.or(Some(change));
                    }
                }
                if overwritten {
                    next = stored.next().transpose()?;
                }
                match value.flatten() {
                    Some(value) => visit(&row[2..], value),
                    None => ControlFlow::Continue(()),
                }
            }
            _ => {
                let Some((row, value)) = next.take() else {
                    return Ok(());
                };
                let flow = visit(&row.value()[2..], value.value());
                next = stored.next().transpose()?;
                flow
            }
        };
        if flow == ControlFlow::Break(()) {
            return Ok(());
        }
    }
}
