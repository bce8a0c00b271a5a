//! How much memory a serde value holds, found by walking it as a serializer does.
//!
//! An estimate, as a value does not show what it has reserved: a vector is taken to be full but to have room for
//! four, as one that grew by pushing has; a map to be a B-tree, whose smallest node has room for eleven; and
//! an allocation to cost what glibc's does. Enough for a budget, and it costs no allocation itself.

use serde::{Serialize, ser};
use std::fmt;

/// Size of a `String`, `Vec` or map in its owner.
const HEADER: usize = 24;
/// Room of a vector after the first push of what is no larger than [`LARGE`].
const FIRST_ROOM: usize = 4;
const LARGE: usize = 1024;
/// Room of a B-tree's node, how much of it is used on average where there are more nodes than one, and what a
/// node has beside its entries.
const NODE_ROOM: usize = 11;
const NODE_USED: usize = 7;
const NODE_HEADER: usize = 16;

/// Memory outside the value itself, about.
pub(crate) fn heap_bytes<T: Serialize>(value: &T) -> usize {
    let mut counter = Counter { own: 0, heap: 0 };
    // A type that refuses to be serialized is met again, with a proper error, when it is encoded.
    let _ = value.serialize(&mut counter);
    // What is in a box looks as if it were in its owner.
    counter.heap + counter.own.saturating_sub(size_of::<T>())
}

/// What glibc takes for an allocation: eight bytes more, a multiple of sixteen, 32 at least.
fn allocation(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        _ => (bytes + 8).next_multiple_of(16).max(32),
    }
}

/// What a vector of so many elements has allocated, which take so many bytes beside one another.
fn vector(elements: usize, bytes: usize) -> usize {
    match bytes.checked_div(elements) {
        Some(element) if element <= LARGE => allocation(bytes.max(element * FIRST_ROOM)),
        _ => allocation(bytes),
    }
}

/// The same of a map.
fn map(entries: usize, bytes: usize) -> usize {
    let Some(entry) = bytes.checked_div(entries) else {
        return 0;
    };
    let nodes = match entries <= NODE_ROOM {
        true => 1,
        false => entries.div_ceil(NODE_USED),
    };
    nodes * allocation(NODE_HEADER + NODE_ROOM * entry)
}

struct Counter {
    /// What lies in the value itself.
    own: usize,
    /// What lies elsewhere.
    heap: usize,
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
            self.own += size_of::<$type>();
            Ok(())
        }
    )*};
}

impl<'a> ser::Serializer for &'a mut Counter {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Allocated<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Allocated<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fixed!(serialize_bool: bool, serialize_i8: i8, serialize_i16: i16, serialize_i32: i32,
        serialize_i64: i64, serialize_i128: i128, serialize_u8: u8, serialize_u16: u16,
        serialize_u32: u32, serialize_u64: u64, serialize_u128: u128, serialize_f32: f32,
        serialize_f64: f64, serialize_char: char);

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.serialize_bytes(text.as_bytes())
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.own += HEADER;
        self.heap += allocation(bytes.len());
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.own += 8;
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.own += 8;
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
        self.own += 8;
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
        self.own += 8;
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Allocated<'a>, Refused> {
        Ok(Allocated::new(self, vector))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, n: usize) -> Result<Self, Refused> {
        self.serialize_tuple(n)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        n: usize,
    ) -> Result<Self, Refused> {
        self.own += 8;
        self.serialize_tuple(n)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Allocated<'a>, Refused> {
        Ok(Allocated::new(self, map))
    }

    fn serialize_struct(self, _: &'static str, n: usize) -> Result<Self, Refused> {
        self.serialize_tuple(n)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        n: usize,
    ) -> Result<Self, Refused> {
        self.own += 8;
        self.serialize_tuple(n)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, _: &T) -> Result<(), Refused> {
        self.own += HEADER;
        self.heap += allocation(16);
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Elements that lie in an allocation of their owner.
struct Allocated<'a> {
    counter: &'a mut Counter,
    /// What the owner counted before them.
    owner: usize,
    elements: usize,
    /// What so many elements and bytes take.
    takes: fn(usize, usize) -> usize,
}

impl<'a> Allocated<'a> {
    fn new(counter: &'a mut Counter, takes: fn(usize, usize) -> usize) -> Self {
        let owner = std::mem::take(&mut counter.own) + HEADER;
        Self {
            counter,
            owner,
            elements: 0,
            takes,
        }
    }

    fn close(self) {
        let bytes = std::mem::replace(&mut self.counter.own, self.owner);
        self.counter.heap += (self.takes)(self.elements, bytes);
    }
}

impl ser::SerializeSeq for Allocated<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.elements += 1;
        value.serialize(&mut *self.counter)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

impl ser::SerializeMap for Allocated<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.elements += 1;
        key.serialize(&mut *self.counter)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.counter)
    }

    fn end(self) -> Result<(), Refused> {
        self.close();
        Ok(())
    }
}

macro_rules! in_place {
    ($($part:ident, $method:ident;)*) => {$(
        impl ser::$part for &mut Counter {
            type Ok = ();
            type Error = Refused;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )*};
}

in_place! {
    SerializeTuple, serialize_element;
    SerializeTupleStruct, serialize_field;
    SerializeTupleVariant, serialize_field;
}

macro_rules! named_in_place {
    ($($part:ident),*) => {$(
        impl ser::$part for &mut Counter {
            type Ok = ();
            type Error = Refused;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                _: &'static str,
                value: &T,
            ) -> Result<(), Refused> {
                value.serialize(&mut **self)
            }

            fn end(self) -> Result<(), Refused> {
                Ok(())
            }
        }
    )*};
}

named_in_place!(SerializeStruct, SerializeStructVariant);

#[cfg(test)]
mod tests {
    use super::heap_bytes;
    use std::collections::BTreeMap;

    #[test]
    fn counts_what_lies_outside() {
        assert_eq!(heap_bytes(&7_u64), 0);
        assert_eq!(heap_bytes(&[1_u32; 8]), 0);
        assert_eq!(heap_bytes(&String::new()), 0);
        assert_eq!(heap_bytes(&"x".repeat(100)), 112);
        assert_eq!(heap_bytes(&(1_u32, "ab".to_owned())), 32);
        assert_eq!(heap_bytes(&Box::new([0_u64; 10])), 72);
    }

    #[test]
    fn counts_what_is_reserved_as_well() {
        assert_eq!(heap_bytes(&Vec::<u64>::new()), 0);
        assert_eq!(heap_bytes(&vec![0_u64; 100]), 816);
        // Room for four.
        assert_eq!(heap_bytes(&vec![(0_u64, 0_u64)]), 80);
        assert_eq!(heap_bytes(&vec![[[0_u64; 20]; 10]]), 1_616);
        // A string of 32 bytes, and room for three more.
        assert_eq!(heap_bytes(&vec!["ab".to_owned()]), 112 + 32);
        // Room for eleven.
        let one = BTreeMap::from([(1_u64, 2_u64)]);
        assert_eq!(heap_bytes(&one), 208);
        assert_eq!(heap_bytes(&BTreeMap::<u64, u64>::new()), 0);
        let many: BTreeMap<u64, u64> = (0..70).map(|n| (n, n)).collect();
        assert_eq!(heap_bytes(&many), 2_080);
    }
}
