//! Row keys as their types have them.

use super::value::hex;
use state_backend::{StateCatalog, StateKind};
use std::fmt;

/// Reads the row keys of one state: `key | 0 | map key` or `key | 1 | namespace` (docs/formats.md), by
/// the types that the catalog names. Parts of other types are text where they are text, and
/// hexadecimal digits otherwise.
#[derive(Debug, Clone, Default)]
pub struct KeyDecoder {
    key: Option<KeyType>,
    map_key: Option<KeyType>,
}

/// The parts of one row key, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyParts {
    /// What the stream is keyed by; empty for `()`.
    pub key: String,
    /// The namespace, a window say.
    pub namespace: Option<String>,
    /// The key within a map state.
    pub map_key: Option<String>,
}

impl fmt::Display for KeyParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            namespace,
            map_key,
        } = self;
        match (key.as_str(), namespace, map_key) {
            ("", None, None) => f.write_str("()"),
            ("", None, Some(map_key)) => f.write_str(map_key),
            (key, None, None) => f.write_str(key),
            (key, None, Some(map_key)) => write!(f, "{key} / {map_key}"),
            (key, Some(namespace), None) => write!(f, "{key} @ {namespace}"),
            (key, Some(namespace), Some(map_key)) => write!(f, "{key} @ {namespace} / {map_key}"),
        }
    }
}

impl KeyParts {
    /// Whether `text` names this row: its key, its map key, or all of it.
    pub fn is(&self, text: &str) -> bool {
        self.key == text || self.map_key.as_deref() == Some(text) || self.to_string() == text
    }
}

impl KeyDecoder {
    /// For a state of a catalog.
    pub fn of(catalog: &StateCatalog, state: &str) -> Self {
        let entry = catalog.get(state);
        let map = entry.filter(|entry| entry.kind == StateKind::Map);
        let map_key = map.and_then(|entry| entry.type_name.split_once(" -> "));
        Self {
            key: catalog.key_type.as_deref().and_then(KeyType::parse),
            map_key: map_key.and_then(|(name, _)| KeyType::parse(name)),
        }
    }

    /// The parts of a row key.
    pub fn parts(&self, row: &[u8]) -> KeyParts {
        self.read(row).unwrap_or_else(|| KeyParts {
            key: hex(row),
            namespace: None,
            map_key: None,
        })
    }

    fn read(&self, row: &[u8]) -> Option<KeyParts> {
        let mut rest = row;
        let key = match &self.key {
            Some(kind) => kind.read(&mut rest)?,
            None => read_text(&mut rest)?,
        };
        let part = |kind: &Option<KeyType>, bytes: &[u8]| {
            let mut rest = bytes;
            let read = match kind {
                Some(kind) => kind.read(&mut rest),
                None => read_text(&mut rest),
            };
            match (read, rest) {
                (Some(text), []) => text,
                _ => hex(bytes),
            }
        };
        let (namespace, map_key) = match rest {
            [] | [0] => (None, None),
            [0, map_key @ ..] => (None, Some(part(&self.map_key, map_key))),
            [1, namespace @ ..] => (Some(part(&None, namespace)), None),
            _ => return None,
        };
        Some(KeyParts {
            key,
            namespace,
            map_key,
        })
    }
}

/// A type of keys whose bytes are known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum KeyType {
    Text,
    Bytes,
    Bool,
    /// Of so many bytes, big endian.
    Uint(usize),
    /// The same with the sign bit flipped.
    Int(usize),
    Tuple(Vec<Self>),
}

impl KeyType {
    /// By its name in Rust, without modules.
    fn parse(name: &str) -> Option<Self> {
        Some(match name.trim() {
            "String" => Self::Text,
            "Vec<u8>" => Self::Bytes,
            "bool" => Self::Bool,
            "u8" => Self::Uint(1),
            "u16" => Self::Uint(2),
            "u32" => Self::Uint(4),
            "u64" => Self::Uint(8),
            "i32" => Self::Int(4),
            "i64" => Self::Int(8),
            name => {
                let inner = name.strip_prefix('(')?.strip_suffix(')')?;
                let parts = top_level(inner).into_iter();
                Self::Tuple(parts.map(Self::parse).collect::<Option<_>>()?)
            }
        })
    }

    /// Takes a key off the front; none if the bytes are not such a key.
    fn read(&self, bytes: &mut &[u8]) -> Option<String> {
        Some(match self {
            Self::Text => read_text(bytes)?,
            Self::Bytes => hex(&read_escaped(bytes)?),
            Self::Bool => match take(bytes, 1)? {
                [0] => "false".to_owned(),
                [1] => "true".to_owned(),
                _ => return None,
            },
            Self::Uint(size) => number(take(bytes, *size)?).to_string(),
            Self::Int(size) => {
                let half = 1_i128 << (8 * size - 1);
                (i128::from(number(take(bytes, *size)?)) - half).to_string()
            }
            // The key of what is not keyed says nothing.
            Self::Tuple(parts) if parts.is_empty() => String::new(),
            Self::Tuple(parts) => {
                let parts: Option<Vec<_>> = parts.iter().map(|part| part.read(bytes)).collect();
                format!("({})", parts?.join(", "))
            }
        })
    }
}

/// Splits at the commas that are not within brackets.
fn top_level(list: &str) -> Vec<&str> {
    let mut depth = 0_u32;
    let parts = list.split(|letter| {
        match letter {
            '(' | '<' => depth += 1,
            ')' | '>' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    });
    parts.filter(|part| !part.trim().is_empty()).collect()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(count)?;
    *bytes = rest;
    Some(taken)
}

fn number(bytes: &[u8]) -> u64 {
    let start = 0_u64;
    bytes
        .iter()
        .fold(start, |number, byte| number << 8 | u64::from(*byte))
}

/// Printable text that ends with `0 1`, with zeros in it written as `0 255`.
fn read_text(bytes: &mut &[u8]) -> Option<String> {
    let text = String::from_utf8(read_escaped(bytes)?).ok()?;
    (!text.chars().any(char::is_control)).then_some(text)
}

fn read_escaped(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    loop {
        let zero = bytes.iter().position(|byte| *byte == 0)?;
        text.extend_from_slice(&bytes[..zero]);
        let mark = *bytes.get(zero + 1)?;
        *bytes = &bytes[zero + 2..];
        match mark {
            1 => return Some(text),
            255 => text.push(0),
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use state_backend::{MapDef, StateKey, StateStore, StoreOptions, ValueDef};

    fn decoder<K: StateKey>(state: &str) -> KeyDecoder {
        let mut store = StateStore::open(StoreOptions::new()).unwrap();
        store.set_key_type::<K>();
        store.value(&ValueDef::<u64>::new("value")).unwrap();
        store
            .map(&MapDef::<(u32, String), u64>::new("map"))
            .unwrap();
        KeyDecoder::of(&store.catalog(), state)
    }

    fn row<K: StateKey>(key: &K, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut row = Vec::new();
        key.encode(&mut row);
        rest(&mut row);
        row
    }

    #[test]
    fn keys_are_read_by_the_types_of_the_catalog() {
        let plain = |row: &mut Vec<u8>| row.push(0);
        let text = decoder::<String>("value").parts(&row(&"a b\0c".to_owned(), plain));
        assert_eq!(
            text.to_string(),
            hex(&row(&"a b\0c".to_owned(), plain)),
            "not printable"
        );
        let text = decoder::<String>("value").parts(&row(&"ada".to_owned(), plain));
        assert!(text.is("ada") && !text.is("ad"));
        assert_eq!(
            decoder::<i64>("value")
                .parts(&row(&-7_i64, plain))
                .to_string(),
            "-7"
        );
        assert_eq!(
            decoder::<u32>("value")
                .parts(&row(&7_u32, plain))
                .to_string(),
            "7"
        );
        let pair = (true, (i32::MIN, vec![0_u8, 255]));
        let parts = decoder::<(bool, (i32, Vec<u8>))>("value").parts(&row(&pair, plain));
        assert_eq!(parts.to_string(), "(true, (-2147483648, 0x00ff))");
        let entry = |row: &mut Vec<u8>| {
            row.push(0);
            (9_u32, "x".to_owned()).encode(row);
        };
        let parts = decoder::<()>("map").parts(&row(&(), entry));
        assert_eq!(parts.to_string(), "(9, x)");
        let parts = decoder::<u64>("map").parts(&row(&1_u64, entry));
        assert_eq!(parts.to_string(), "1 / (9, x)");
    }

    #[test]
    fn what_does_not_fit_is_shown_as_it_is() {
        assert_eq!(decoder::<u64>("value").parts(&[1, 2]).to_string(), "0x0102");
        assert_eq!(
            KeyDecoder::default().parts(b"ada\0\x01\0").to_string(),
            "ada"
        );
        let parts = KeyDecoder::default().parts(b"ada\0\x01\x01xy");
        assert_eq!(parts.to_string(), "ada @ 0x7879");
    }
}
