//! Postcard's bytes, read by the shape of their type instead of by the type.

use serde_json::{Map, Number, Value as Json};
use state_backend::Shape;

/// A value as its shape has it, borrowing from the bytes.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value<'a> {
    Nothing,
    Bool(bool),
    Int(i128),
    Uint(u128),
    Float(f64),
    Char(char),
    Text(&'a str),
    Bytes(&'a [u8]),
    List(Vec<Self>),
    Map(Vec<(Self, Self)>),
    /// Of a tuple or a struct.
    Fields(Vec<Self>),
    Variant(usize, Box<Self>),
}

/// Reads a value that takes up all of `bytes`.
pub(super) fn decode<'a>(shape: &Shape, bytes: &'a [u8]) -> Result<Value<'a>, String> {
    let mut rest = bytes;
    let value = read(shape, &mut rest)?;
    match rest.len() {
        0 => Ok(value),
        left => Err(format!("{left} bytes too many")),
    }
}

fn read<'a>(shape: &Shape, rest: &mut &'a [u8]) -> Result<Value<'a>, String> {
    Ok(match shape {
        Shape::Unit => Value::Nothing,
        Shape::Bool => match take::<1>(rest)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return Err("a bool that is neither 0 nor 1".to_owned()),
        },
        Shape::Int(8) => Value::Int(i128::from(i8::from_le_bytes(take(rest)?))),
        Shape::Uint(8) => Value::Uint(u128::from(u8::from_le_bytes(take(rest)?))),
        Shape::Int(_) => {
            let zigzag = varint(rest)?;
            Value::Int((zigzag >> 1) as i128 ^ -((zigzag & 1) as i128))
        }
        Shape::Uint(_) => Value::Uint(varint(rest)?),
        Shape::Float(32) => Value::Float(f64::from(f32::from_le_bytes(take(rest)?))),
        Shape::Float(_) => Value::Float(f64::from_le_bytes(take(rest)?)),
        Shape::Char => {
            let text = text(rest)?;
            let mut letters = text.chars();
            match (letters.next(), letters.next()) {
                (Some(letter), None) => Value::Char(letter),
                _ => return Err("a char that is not one letter".to_owned()),
            }
        }
        Shape::Text => Value::Text(text(rest)?),
        Shape::Bytes => Value::Bytes(counted(rest)?),
        Shape::Option(of) => match take::<1>(rest)? {
            [0] => Value::Nothing,
            [1] => read(of, rest)?,
            _ => return Err("an option that is neither 0 nor 1".to_owned()),
        },
        Shape::List(of) => {
            let count = count(rest)?;
            Value::List(
                (0..count)
                    .map(|_| read(of, rest))
                    .collect::<Result<_, _>>()?,
            )
        }
        Shape::Map(key, of) => {
            let count = count(rest)?;
            let mut entry = || Ok((read(key, rest)?, read(of, rest)?));
            Value::Map((0..count).map(|_| entry()).collect::<Result<_, String>>()?)
        }
        Shape::Tuple(parts) => {
            let parts = parts.iter().map(|part| read(part, rest));
            Value::Fields(parts.collect::<Result<_, _>>()?)
        }
        Shape::Struct { fields, .. } => {
            let parts = fields.iter().map(|(_, field)| read(field, rest));
            Value::Fields(parts.collect::<Result<_, _>>()?)
        }
        Shape::Enum { name, variants } => {
            let number = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
            let (_, variant) = variants
                .get(number)
                .ok_or_else(|| format!("{name} has no variant {number}"))?;
            Value::Variant(number, Box::new(read(variant, rest)?))
        }
        other => return Err(format!("shape {other:?} is not known to this version")),
    })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], String> {
    let (head, tail) = rest.split_first_chunk::<N>().ok_or("cut short")?;
    *rest = tail;
    Ok(*head)
}

fn varint(rest: &mut &[u8]) -> Result<u128, String> {
    let mut value = 0_u128;
    for shift in (0..128).step_by(7) {
        let [byte] = take::<1>(rest)?;
        value |= u128::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number without end".to_owned())
}

/// A number of elements. Elements take at least a byte each, but for units, of which nobody keeps
/// many: so a count beyond the bytes that are left is damage, not a reason to allocate.
fn count(rest: &mut &[u8]) -> Result<usize, String> {
    let count = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    if count > rest.len().max(64) {
        return Err(format!("{count} elements in {} bytes", rest.len()));
    }
    Ok(count)
}

fn counted<'a>(rest: &mut &'a [u8]) -> Result<&'a [u8], String> {
    let len = usize::try_from(varint(rest)?).unwrap_or(usize::MAX);
    let (bytes, tail) = rest.split_at_checked(len).ok_or("cut short")?;
    *rest = tail;
    Ok(bytes)
}

fn text<'a>(rest: &mut &'a [u8]) -> Result<&'a str, String> {
    std::str::from_utf8(counted(rest)?).map_err(|_| "text that is not UTF-8".to_owned())
}

/// The value as JSON, in the way of serde's own JSON: a unit variant is its name, others an object
/// of one field; keys are made text.
pub(super) fn to_json(shape: &Shape, value: &Value<'_>) -> Json {
    match (shape, value) {
        (Shape::Option(_), Value::Nothing) => Json::Null,
        (Shape::Option(of), value) => to_json(of, value),
        (_, Value::Nothing) => Json::Null,
        (_, Value::Bool(value)) => Json::Bool(*value),
        (_, Value::Int(value)) => {
            Number::from_i128(*value).map_or_else(|| Json::String(value.to_string()), Json::Number)
        }
        (_, Value::Uint(value)) => {
            Number::from_u128(*value).map_or_else(|| Json::String(value.to_string()), Json::Number)
        }
        // What JSON has no number for is text.
        (_, Value::Float(value)) => {
            Number::from_f64(*value).map_or_else(|| Json::String(value.to_string()), Json::Number)
        }
        (_, Value::Char(letter)) => Json::String(letter.to_string()),
        (_, Value::Text(text)) => Json::String((*text).to_owned()),
        (_, Value::Bytes(bytes)) => Json::String(hex(bytes)),
        (Shape::List(of), Value::List(items)) => {
            Json::Array(items.iter().map(|item| to_json(of, item)).collect())
        }
        (Shape::Map(key, of), Value::Map(entries)) => {
            let entries = entries.iter().map(|(k, v)| {
                let name = match to_json(key, k) {
                    Json::String(name) => name,
                    other => other.to_string(),
                };
                (name, to_json(of, v))
            });
            Json::Object(entries.collect())
        }
        (Shape::Tuple(shapes), Value::Fields(values)) => {
            let parts = shapes.iter().zip(values);
            Json::Array(parts.map(|(shape, value)| to_json(shape, value)).collect())
        }
        (Shape::Struct { fields, .. }, Value::Fields(values)) => {
            let parts = fields.iter().zip(values);
            let parts = parts.map(|((name, shape), value)| (name.clone(), to_json(shape, value)));
            Json::Object(parts.collect())
        }
        (Shape::Enum { variants, .. }, Value::Variant(number, value)) => {
            match variants.get(*number) {
                Some((name, Shape::Unit)) => Json::String(name.clone()),
                Some((name, shape)) => {
                    Json::Object(Map::from_iter([(name.clone(), to_json(shape, value))]))
                }
                None => Json::Null,
            }
        }
        // A value is always read by the shape it is printed with.
        _ => Json::Null,
    }
}

/// Hexadecimal digits, after `0x`.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().map(|byte| format!("{byte:02x}"));
    std::iter::once("0x".to_owned()).chain(digits).collect()
}
