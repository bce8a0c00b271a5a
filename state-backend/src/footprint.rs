//! How much memory a serde value holds, found by walking it as a serializer does.
//!
//! An estimate: a vector is taken to be full, a map half full, and an allocation to cost 16 bytes
//! beyond what it holds. Enough for a budget, and it costs no allocation itself.

use serde::{Serialize, ser};
use std::fmt;

/// What the allocator adds to each allocation.
const ALLOCATION: usize = 16;
/// Size of a `String`, `Vec` or map in its owner.
const HEADER: usize = 24;

/// Memory outside the value itself, about.
pub(crate) fn heap_bytes<T: Serialize>(value: &T) -> usize {
    let mut counter = Counter { total: 0 };
    // A type that refuses to be serialized is met again, with a proper error, when it is encoded.
    let _ = value.serialize(&mut counter);
    counter.total.saturating_sub(size_of::<T>())
}

struct Counter {
    total: usize,
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not serializable")
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! fixed {
    ($($name:ident: $type:ty),*) => {$(
        fn $name(self, _: $type) -> Result<(), Refused> {
            self.total += size_of::<$type>();
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Counter {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Elements<'a>;
    type SerializeTupleStruct = Elements<'a>;
    type SerializeTupleVariant = Elements<'a>;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Elements<'a>;
    type SerializeStructVariant = Elements<'a>;

    fixed!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char);

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.total += HEADER + ALLOCATION + text.len();
        Ok(())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.total += HEADER + ALLOCATION + bytes.len();
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.total += 8;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.total += 8;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), Refused> {
        self.total += 8;
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.total += 8;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Refused> {
        self.total += HEADER + ALLOCATION;
        Ok(Elements {
            counter: self,
            spare: 0,
        })
    }

    fn serialize_tuple(self, _: usize) -> Result<Elements<'a>, Refused> {
        Ok(Elements {
            counter: self,
            spare: 0,
        })
    }

    fn serialize_tuple_struct(self, _: &'static str, n: usize) -> Result<Elements<'a>, Refused> {
        self.serialize_tuple(n)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        n: usize,
    ) -> Result<Elements<'a>, Refused> {
        self.total += 8;
        self.serialize_tuple(n)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements<'a>, Refused> {
        self.total += HEADER + ALLOCATION;
        Ok(Elements {
            counter: self,
            spare: 2,
        })
    }

    fn serialize_struct(self, _: &'static str, n: usize) -> Result<Elements<'a>, Refused> {
        self.serialize_tuple(n)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        n: usize,
    ) -> Result<Elements<'a>, Refused> {
        self.total += 8;
        self.serialize_tuple(n)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Refused> {
        self.total += HEADER + ALLOCATION + 16;
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Elements<'a> {
    counter: &'a mut Counter,
    /// Room left free for each element, as a share of it: 0 none, 2 a half.
    spare: usize,
}

impl Elements<'_> {
    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let before = self.counter.total;
        value.serialize(&mut *self.counter)?;
        let element = self.counter.total - before;
        self.counter.total += element.checked_div(self.spare).unwrap_or(0);
        Ok(())
    }
}

macro_rules! elements {
    ($($part:ident, $method:ident;)*) => {$(
        impl ser::$part for Elements<'_> {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )*};
}

elements! {
    SerializeSeq, serialize_element;
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

impl ser::SerializeMap for Elements<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.element(value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

macro_rules! fields {
    ($($part:ident),*) => {$(
        impl ser::$part for Elements<'_> {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                self.element(value)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )*};
}

fields!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use super::heap_bytes;

    #[test]
    fn counts_what_lies_outside() {
        assert_eq!(heap_bytes(&7_u64), 0);
        assert_eq!(heap_bytes(&[1_u32; 8]), 0);
        assert_eq!(heap_bytes(&"x".repeat(100)), 116);
        assert_eq!(heap_bytes(&vec![0_u64; 100]), 816);
        assert_eq!(heap_bytes(&(1_u32, "ab".to_owned())), 14);
    }
}
