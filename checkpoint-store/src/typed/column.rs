//! Values as an Arrow column of their shape.

use super::value::Value;
use arrow_array::{
    ArrayRef, BinaryArray, BooleanArray, Float32Array, Float64Array, Int8Array, Int16Array,
    Int32Array, Int64Array, ListArray, MapArray, StringArray, StructArray, UInt8Array, UInt16Array,
    UInt32Array, UInt64Array,
};
use arrow_buffer::{BooleanBuffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow_schema::{ArrowError, DataType, Field, Fields};
use state_backend::Shape;
use std::sync::Arc;

/// A column in the making. Every column can hold nulls: an option's absence, and all parts of a
/// variant that a value is not.
///
/// | shape | column |
/// | --- | --- |
/// | integers up to 64 bits, floats, bool, text, bytes | the same |
/// | char, integers of 128 bits | text |
/// | option | the column, null for none |
/// | list; map | list; map |
/// | tuple; struct | struct (`f0`, `f1`, ...; the fields) |
/// | enum of units | text: the variant's name |
/// | other enum | struct of `variant` and a column for each variant that has fields |
/// | unit, empty struct | bool, always null |
#[derive(Debug)]
pub(super) enum Column {
    Bool(Vec<Option<bool>>),
    Int(u8, Vec<Option<i64>>),
    Uint(u8, Vec<Option<u64>>),
    Float(u8, Vec<Option<f64>>),
    Text(Vec<Option<String>>),
    Bytes(Vec<Option<Vec<u8>>>),
    List(Ends, Box<Self>),
    Map(Ends, Box<Self>, Box<Self>),
    Struct(Vec<bool>, Vec<(String, Self)>),
    UnitEnum(Vec<String>, Vec<Option<usize>>),
    Enum(Vec<bool>, Box<Self>, Vec<Option<(String, Self)>>),
}

/// Where each list ends, and which are there.
#[derive(Debug, Default)]
pub(super) struct Ends {
    ends: Vec<i32>,
    present: Vec<bool>,
}

impl Ends {
    fn push(&mut self, added: Option<usize>) {
        let before = self.ends.last().copied().unwrap_or(0);
        let added = i32::try_from(added.unwrap_or(0)).unwrap_or(i32::MAX);
        self.ends.push(before.saturating_add(added));
    }

    fn finish(self) -> (OffsetBuffer<i32>, Option<NullBuffer>) {
        let ends: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        (
            OffsetBuffer::new(ScalarBuffer::from(ends)),
            nulls(self.present),
        )
    }
}

fn nulls(present: Vec<bool>) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::from(present));
    (nulls.null_count() > 0).then_some(nulls)
}

impl Column {
    pub(super) fn new(shape: &Shape) -> Self {
        let boxed = |shape: &Shape| Box::new(Self::new(shape));
        match shape {
            Shape::Int(bits @ ..=64) => Self::Int(*bits, Vec::new()),
            Shape::Uint(bits @ ..=64) => Self::Uint(*bits, Vec::new()),
            Shape::Float(bits) => Self::Float(*bits, Vec::new()),
            Shape::Int(_) | Shape::Uint(_) | Shape::Char | Shape::Text => Self::Text(Vec::new()),
            Shape::Bytes => Self::Bytes(Vec::new()),
            Shape::Option(of) => Self::new(of),
            Shape::List(of) => Self::List(Ends::default(), boxed(of)),
            Shape::Map(key, of) => Self::Map(Ends::default(), boxed(key), boxed(of)),
            Shape::Tuple(parts) if !parts.is_empty() => {
                let parts = parts.iter().enumerate();
                let parts = parts.map(|(at, part)| (format!("f{at}"), Self::new(part)));
                Self::Struct(Vec::new(), parts.collect())
            }
            Shape::Struct { fields, .. } if !fields.is_empty() => {
                let fields = fields.iter();
                let fields = fields.map(|(name, field)| (name.clone(), Self::new(field)));
                Self::Struct(Vec::new(), fields.collect())
            }
            Shape::Enum { variants, .. } => {
                if variants.iter().all(|(_, shape)| *shape == Shape::Unit) {
                    let names = variants.iter().map(|(name, _)| name.clone()).collect();
                    return Self::UnitEnum(names, Vec::new());
                }
                let names: Vec<String> = variants.iter().map(|(name, _)| name.clone()).collect();
                let columns = variants.iter().map(|(name, shape)| {
                    (*shape != Shape::Unit).then(|| (name.clone(), Self::new(shape)))
                });
                let columns = columns.collect();
                Self::Enum(
                    Vec::new(),
                    Box::new(Self::UnitEnum(names, Vec::new())),
                    columns,
                )
            }
            _ => Self::Bool(Vec::new()),
        }
    }

    /// Appends a value of the column's shape; anything else is null.
    pub(super) fn push(&mut self, value: Option<&Value<'_>>) {
        match self {
            Self::Bool(rows) => rows.push(match value {
                Some(Value::Bool(value)) => Some(*value),
                _ => None,
            }),
            Self::Int(_, rows) => rows.push(match value {
                Some(Value::Int(value)) => i64::try_from(*value).ok(),
                _ => None,
            }),
            Self::Uint(_, rows) => rows.push(match value {
                Some(Value::Uint(value)) => u64::try_from(*value).ok(),
                _ => None,
            }),
            Self::Float(_, rows) => rows.push(match value {
                Some(Value::Float(value)) => Some(*value),
                _ => None,
            }),
            Self::Text(rows) => rows.push(match value {
                Some(Value::Text(text)) => Some((*text).to_owned()),
                Some(Value::Char(letter)) => Some(letter.to_string()),
                Some(Value::Int(value)) => Some(value.to_string()),
                Some(Value::Uint(value)) => Some(value.to_string()),
                _ => None,
            }),
            Self::Bytes(rows) => rows.push(match value {
                Some(Value::Bytes(bytes)) => Some(bytes.to_vec()),
                _ => None,
            }),
            Self::List(ends, items) => {
                let list = match value {
                    Some(Value::List(list)) => Some(list),
                    _ => None,
                };
                ends.push(list.map(Vec::len));
                ends.present.push(list.is_some());
                list.into_iter()
                    .flatten()
                    .for_each(|item| items.push(Some(item)));
            }
            Self::Map(ends, keys, values) => {
                let map = match value {
                    Some(Value::Map(map)) => Some(map),
                    _ => None,
                };
                ends.push(map.map(Vec::len));
                ends.present.push(map.is_some());
                for (key, value) in map.into_iter().flatten() {
                    keys.push(Some(key));
                    values.push(Some(value));
                }
            }
            Self::Struct(present, columns) => {
                let fields = match value {
                    Some(Value::Fields(fields)) => Some(fields),
                    _ => None,
                };
                present.push(fields.is_some());
                for (at, (_, column)) in columns.iter_mut().enumerate() {
                    column.push(fields.and_then(|fields| fields.get(at)));
                }
            }
            Self::UnitEnum(_, rows) => rows.push(match value {
                Some(Value::Variant(number, _)) => Some(*number),
                _ => None,
            }),
            Self::Enum(present, names, columns) => {
                let variant = match value {
                    Some(Value::Variant(number, value)) => Some((*number, &**value)),
                    _ => None,
                };
                present.push(variant.is_some());
                names.push(value);
                for (at, column) in columns.iter_mut().enumerate() {
                    if let Some((_, column)) = column {
                        let own = variant.filter(|(number, _)| *number == at);
                        column.push(own.map(|(_, value)| value));
                    }
                }
            }
        }
    }

    /// The values as an array.
    pub(super) fn finish(self) -> Result<ArrayRef, ArrowError> {
        Ok(match self {
            Self::Bool(rows) => Arc::new(BooleanArray::from(rows)),
            Self::Int(bits, rows) => integers(bits, rows),
            Self::Uint(bits, rows) => unsigned(bits, rows),
            Self::Float(32, rows) => {
                let rows = rows.into_iter().map(|row| row.map(|row| row as f32));
                Arc::new(rows.collect::<Float32Array>())
            }
            Self::Float(_, rows) => Arc::new(Float64Array::from(rows)),
            Self::Text(rows) => Arc::new(StringArray::from(rows)),
            Self::Bytes(rows) => Arc::new(rows.into_iter().collect::<BinaryArray>()),
            Self::List(ends, items) => {
                let (ends, nulls) = ends.finish();
                let items = items.finish()?;
                let field = Field::new("element", items.data_type().clone(), true);
                Arc::new(ListArray::try_new(Arc::new(field), ends, items, nulls)?)
            }
            Self::Map(ends, keys, values) => {
                let (ends, nulls) = ends.finish();
                let (keys, values) = (keys.finish()?, values.finish()?);
                let fields = Fields::from(vec![
                    Field::new("key", keys.data_type().clone(), false),
                    Field::new("value", values.data_type().clone(), true),
                ]);
                let entries = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
                let field = Field::new("key_value", DataType::Struct(fields), false);
                Arc::new(MapArray::try_new(
                    Arc::new(field),
                    ends,
                    entries,
                    nulls,
                    false,
                )?)
            }
            Self::Struct(present, columns) => structure(present, columns)?,
            Self::UnitEnum(names, rows) => {
                let rows = rows
                    .into_iter()
                    .map(|row| names.get(row?).map(String::as_str));
                Arc::new(rows.collect::<StringArray>())
            }
            Self::Enum(present, names, columns) => {
                let first = ("variant".to_owned(), *names);
                structure(
                    present,
                    std::iter::once(first).chain(columns.into_iter().flatten()),
                )?
            }
        })
    }
}

fn structure(
    present: Vec<bool>,
    columns: impl IntoIterator<Item = (String, Column)>,
) -> Result<ArrayRef, ArrowError> {
    let mut fields = Vec::new();
    let mut arrays = Vec::new();
    for (name, column) in columns {
        let array = column.finish()?;
        fields.push(Field::new(name, array.data_type().clone(), true));
        arrays.push(array);
    }
    Ok(Arc::new(StructArray::try_new(
        fields.into(),
        arrays,
        nulls(present),
    )?))
}

fn integers(bits: u8, rows: Vec<Option<i64>>) -> ArrayRef {
    let rows = rows.into_iter();
    // Values of a type fit its bits.
    match bits {
        8 => Arc::new(
            rows.map(|row| row.map(|row| row as i8))
                .collect::<Int8Array>(),
        ),
        16 => Arc::new(
            rows.map(|row| row.map(|row| row as i16))
                .collect::<Int16Array>(),
        ),
        32 => Arc::new(
            rows.map(|row| row.map(|row| row as i32))
                .collect::<Int32Array>(),
        ),
        _ => Arc::new(rows.collect::<Int64Array>()),
    }
}

fn unsigned(bits: u8, rows: Vec<Option<u64>>) -> ArrayRef {
    let rows = rows.into_iter();
    match bits {
        8 => Arc::new(
            rows.map(|row| row.map(|row| row as u8))
                .collect::<UInt8Array>(),
        ),
        16 => Arc::new(
            rows.map(|row| row.map(|row| row as u16))
                .collect::<UInt16Array>(),
        ),
        32 => Arc::new(
            rows.map(|row| row.map(|row| row as u32))
                .collect::<UInt32Array>(),
        ),
        _ => Arc::new(rows.collect::<UInt64Array>()),
    }
}
