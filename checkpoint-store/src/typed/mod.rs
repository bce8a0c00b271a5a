//! Rows as their types have them: for people, and for columns that a query can use.
//!
//! A state store records the [`Shape`] of each state's type in its catalog, so all of this works on
//! a directory alone, without the program that wrote it.

mod column;
mod export;
mod key;
mod value;

use arrow_array::ArrayRef;
use arrow_schema::{ArrowError, DataType};
use column::Column;
pub use export::{Exported, ValueColumn};
pub use key::{KeyDecoder, KeyParts};
use serde_json::{Value as Json, json};
use state_backend::{Shape, StateEntry, StateKind};
use value::Value;

/// Reads the rows of one state by the shape of its type.
#[derive(Debug, Clone)]
pub struct StateDecoder {
    kind: StateKind,
    /// Of what one row holds: a list state's rows are lists.
    shape: Shape,
    timed: bool,
}

impl StateDecoder {
    /// For a state of a catalog; none when its type has no known shape.
    pub fn of(entry: &StateEntry) -> Option<Self> {
        let shape = entry.shape.clone()?;
        let shape = match entry.kind {
            StateKind::List => Shape::List(Box::new(shape)),
            _ => shape,
        };
        Some(Self {
            kind: entry.kind,
            shape,
            timed: entry.ttl.is_some(),
        })
    }

    /// One row as JSON: with a time to live, an object of `written_ms` and `value`; for a list
    /// state with one, the elements are such objects.
    ///
    /// # Errors
    /// Why the bytes do not have the shape, in words.
    pub fn to_json(&self, row: &[u8]) -> Result<Json, String> {
        let timed = |written: i64, value: Json| json!({ "written_ms": written, "value": value });
        match (self.kind, &self.shape) {
            (StateKind::List, Shape::List(of)) => {
                let items = split_list(row)?.into_iter().map(|item| {
                    let (written, bytes) = self.split_time(item)?;
                    let value = value::to_json(of, &value::decode(of, bytes)?);
                    Ok(written.map_or(value.clone(), |written| timed(written, value)))
                });
                items.collect()
            }
            _ => {
                let (written, bytes) = self.split_time(row)?;
                let value = value::to_json(&self.shape, &value::decode(&self.shape, bytes)?);
                Ok(match written {
                    Some(written) => timed(written, value),
                    None => value,
                })
            }
        }
    }

    fn split_time<'a>(&self, bytes: &'a [u8]) -> Result<(Option<i64>, &'a [u8]), String> {
        if !self.timed {
            return Ok((None, bytes));
        }
        let (written, rest) = bytes.split_first_chunk::<8>().ok_or("no write time")?;
        Ok((Some(i64::from_be_bytes(*written)), rest))
    }

    fn decode<'a>(&self, row: &'a [u8]) -> Result<Value<'a>, String> {
        match (self.kind, &self.shape) {
            (StateKind::List, Shape::List(of)) => {
                let items = split_list(row)?.into_iter();
                let items = items.map(|item| value::decode(of, self.split_time(item)?.1));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            _ => value::decode(&self.shape, self.split_time(row)?.1),
        }
    }

    /// When a row was written, for a state with a time to live that is not a list.
    pub(crate) fn written_ms(&self, row: &[u8]) -> Option<i64> {
        match self.kind {
            StateKind::List => None,
            _ => self.split_time(row).ok()?.0,
        }
    }
}

/// A list row: for each element its length (u32, big endian) and its bytes.
fn split_list(row: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut rest = row;
    let mut items = Vec::new();
    while let Some((len, tail)) = rest.split_first_chunk::<4>() {
        let len = u32::from_be_bytes(*len) as usize;
        let (item, tail) = tail.split_at_checked(len).ok_or("a list cut short")?;
        items.push(item);
        rest = tail;
    }
    match rest {
        [] => Ok(items),
        _ => Err("a list cut short".to_owned()),
    }
}

/// A column of decoded rows in the making.
#[derive(Debug)]
pub(crate) struct TypedColumn {
    decoder: StateDecoder,
    column: Column,
}

impl TypedColumn {
    pub(crate) fn new(decoder: StateDecoder) -> Self {
        let column = Column::new(&decoder.shape);
        Self { decoder, column }
    }

    /// Appends a row; one that has not the shape, or is a deletion, is null. Returns why.
    pub(crate) fn push(&mut self, row: Option<&[u8]>) -> Result<(), String> {
        let decoded = row.map(|row| self.decoder.decode(row)).transpose();
        self.column
            .push(decoded.as_ref().ok().and_then(Option::as_ref));
        decoded.map(|_| ())
    }

    /// The rows so far; begins anew.
    pub(crate) fn take(&mut self) -> Result<ArrayRef, ArrowError> {
        let fresh = Column::new(&self.decoder.shape);
        std::mem::replace(&mut self.column, fresh).finish()
    }

    /// The type of the column.
    pub(crate) fn data_type(&self) -> Result<DataType, ArrowError> {
        let empty = Column::new(&self.decoder.shape).finish()?;
        Ok(empty.data_type().clone())
    }
}
