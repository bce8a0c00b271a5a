//! What a serde type looks like, found out from the type alone.
//!
//! Postcard's bytes say nothing about their structure. With the shape of the type beside them, a
//! tool that has never seen the type can print them, or turn them into columns.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess,
    SeqAccess, VariantAccess, Visitor,
};
use std::collections::BTreeMap;
use std::fmt;

/// The structure of a serde type, as its `Deserialize` asks for it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Shape {
    /// Nothing: `()`, a unit struct.
    Unit,
    /// `bool`.
    Bool,
    /// A signed integer of so many bits.
    Int(u8),
    /// An unsigned integer of so many bits.
    Uint(u8),
    /// A floating-point number of so many bits.
    Float(u8),
    /// `char`.
    Char,
    /// Text.
    Text,
    /// Bytes that are not a list of numbers to serde.
    Bytes,
    /// `Option`.
    Option(Box<Self>),
    /// Any number of elements.
    List(Box<Self>),
    /// Keys and values.
    Map(Box<Self>, Box<Self>),
    /// A fixed number of elements.
    Tuple(Vec<Self>),
    /// Named fields, in the order of the bytes.
    Struct {
        /// Name of the type.
        name: String,
        /// Names and shapes.
        fields: Vec<(String, Self)>,
    },
    /// One of several variants, in the order of their numbers.
    Enum {
        /// Name of the type.
        name: String,
        /// Names and shapes; a variant without fields is [`Unit`](Self::Unit).
        variants: Vec<(String, Self)>,
    },
}

impl Shape {
    /// The shape of `T`; none for types that cannot be traced: recursive ones, ones that depend on
    /// `deserialize_any`, and ones that refuse every made-up value (a text that must be a date).
    ///
    /// The type is asked to deserialize itself from nothing, once for each variant of its enums,
    /// and what it asks for is noted (the method of the crate `serde-reflection`).
    #[must_use]
    pub fn of<T: DeserializeOwned>() -> Option<Self> {
        let mut enums = Enums::default();
        // Each round tries at least one new variant, or is the last.
        for _ in 0..1000 {
            let mut shape = Self::Unit;
            enums.progress = false;
            T::deserialize(Tracer {
                out: &mut shape,
                enums: &mut enums,
                depth: 0,
            })
            .ok()?;
            if !enums.progress || enums.complete() {
                return enums.resolve(&shape, 0);
            }
        }
        None
    }
}

/// Deepest nesting; deeper means recursive.
const MAX_DEPTH: usize = 32;

#[derive(Default)]
struct Enums {
    /// Variants by the name of their type, as far as they have been tried.
    variants: BTreeMap<&'static str, Vec<(&'static str, Option<Shape>)>>,
    /// Whether this round tried a new one.
    progress: bool,
}

impl Enums {
    fn complete(&self) -> bool {
        let mut all = self.variants.values().flatten();
        all.all(|(_, shape)| shape.is_some())
    }

    /// Puts the variants in: while tracing, an enum is only its name.
    fn resolve(&self, shape: &Shape, depth: usize) -> Option<Shape> {
        if depth > MAX_DEPTH {
            return None;
        }
        let inner = |shape: &Shape| self.resolve(shape, depth + 1);
        let boxed = |shape: &Shape| inner(shape).map(Box::new);
        Some(match shape {
            Shape::Option(of) => Shape::Option(boxed(of)?),
            Shape::List(of) => Shape::List(boxed(of)?),
            Shape::Map(key, value) => Shape::Map(boxed(key)?, boxed(value)?),
            Shape::Tuple(parts) => Shape::Tuple(parts.iter().map(inner).collect::<Option<_>>()?),
            Shape::Struct { name, fields } => {
                let fields = fields
                    .iter()
                    .map(|(name, of)| Some((name.clone(), inner(of)?)));
                Shape::Struct {
                    name: name.clone(),
                    fields: fields.collect::<Option<_>>()?,
                }
            }
            Shape::Enum { name, .. } => {
                let variants = self.variants.get(name.as_str())?.iter();
                let variants =
                    variants.map(|(name, of)| Some(((*name).to_owned(), inner(of.as_ref()?)?)));
                Shape::Enum {
                    name: name.clone(),
                    variants: variants.collect::<Option<_>>()?,
                }
            }
            plain => plain.clone(),
        })
    }
}

#[derive(Debug)]
struct NotTraceable;

impl fmt::Display for NotTraceable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the type cannot be traced")
    }
}

impl std::error::Error for NotTraceable {}

impl de::Error for NotTraceable {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

/// Notes in `out` what a type asks for, and gives it made-up values.
struct Tracer<'a> {
    out: &'a mut Shape,
    enums: &'a mut Enums,
    depth: usize,
}

impl Tracer<'_> {
    fn child<'b>(&'b mut self, out: &'b mut Shape) -> Result<Tracer<'b>, NotTraceable> {
        if self.depth >= MAX_DEPTH {
            return Err(NotTraceable);
        }
        Ok(Tracer {
            out,
            enums: self.enums,
            depth: self.depth + 1,
        })
    }
}

macro_rules! plain {
    ($($method:ident $visit:ident $value:expr, $shape:expr;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTraceable> {
            *self.out = $shape;
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for Tracer<'_> {
    type Error = NotTraceable;

    // One rather than zero, which `NonZero` types refuse.
    plain! {
        deserialize_bool visit_bool true, Shape::Bool;
        deserialize_i8 visit_i8 1, Shape::Int(8);
        deserialize_i16 visit_i16 1, Shape::Int(16);
        deserialize_i32 visit_i32 1, Shape::Int(32);
        deserialize_i64 visit_i64 1, Shape::Int(64);
        deserialize_i128 visit_i128 1, Shape::Int(128);
        deserialize_u8 visit_u8 1, Shape::Uint(8);
        deserialize_u16 visit_u16 1, Shape::Uint(16);
        deserialize_u32 visit_u32 1, Shape::Uint(32);
        deserialize_u64 visit_u64 1, Shape::Uint(64);
        deserialize_u128 visit_u128 1, Shape::Uint(128);
        deserialize_f32 visit_f32 1.0, Shape::Float(32);
        deserialize_f64 visit_f64 1.0, Shape::Float(64);
        deserialize_char visit_char 'a', Shape::Char;
        deserialize_str visit_borrowed_str "a", Shape::Text;
        deserialize_string visit_borrowed_str "a", Shape::Text;
        deserialize_bytes visit_borrowed_bytes b"a", Shape::Bytes;
        deserialize_byte_buf visit_borrowed_bytes b"a", Shape::Bytes;
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, NotTraceable> {
        *self.out = Shape::Unit;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        self.deserialize_unit(visitor)
    }

    /// A newtype is what it wraps, as in the bytes.
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, NotTraceable> {
        let mut inner = Shape::Unit;
        let value = visitor.visit_some(self.child(&mut inner)?)?;
        *self.out = Shape::Option(Box::new(inner));
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, NotTraceable> {
        let mut parts = Vec::new();
        let value = visitor.visit_seq(Parts {
            tracer: &mut self,
            left: 1,
            parts: &mut parts,
        })?;
        *self.out = Shape::List(Box::new(parts.pop().ok_or(NotTraceable)?));
        Ok(value)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        mut self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        let mut parts = Vec::new();
        let value = visitor.visit_seq(Parts {
            tracer: &mut self,
            left: len,
            parts: &mut parts,
        })?;
        *self.out = Shape::Tuple(parts);
        Ok(value)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        self.deserialize_tuple(len, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, NotTraceable> {
        let mut parts = Vec::new();
        let value = visitor.visit_map(Parts {
            tracer: &mut self,
            left: 2,
            parts: &mut parts,
        })?;
        let [key, of] = <[Shape; 2]>::try_from(parts).map_err(|_| NotTraceable)?;
        *self.out = Shape::Map(Box::new(key), Box::new(of));
        Ok(value)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        let mut parts = Vec::new();
        let value = visitor.visit_seq(Parts {
            tracer: &mut self,
            left: fields.len(),
            parts: &mut parts,
        })?;
        *self.out = named(name, fields, parts)?;
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        *self.out = Shape::Enum {
            name: name.to_owned(),
            variants: Vec::new(),
        };
        let blank = || variants.iter().map(|variant| (*variant, None)).collect();
        let known = self.enums.variants.entry(name).or_insert_with(blank);
        // Two types of one name would be mixed up.
        if !known.iter().map(|(variant, _)| variant).eq(variants) {
            return Err(NotTraceable);
        }
        let untried = known.iter().position(|(_, shape)| shape.is_none());
        self.enums.progress |= untried.is_some();
        let index = untried.unwrap_or(0);
        let mut inner = Shape::Unit;
        let value = visitor.visit_enum(Variant {
            tracer: self.child(&mut inner)?,
            index: u32::try_from(index).map_err(|_| NotTraceable)?,
        })?;
        let known = self.enums.variants.get_mut(name);
        if let Some((_, shape)) = known.and_then(|known| known.get_mut(index)) {
            *shape = Some(inner);
        }
        Ok(value)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotTraceable> {
        Err(NotTraceable)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotTraceable> {
        Err(NotTraceable)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, NotTraceable> {
        Err(NotTraceable)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

fn named(name: &str, fields: &[&str], parts: Vec<Shape>) -> Result<Shape, NotTraceable> {
    if fields.len() != parts.len() {
        return Err(NotTraceable);
    }
    let fields = fields.iter().map(|field| (*field).to_owned()).zip(parts);
    Ok(Shape::Struct {
        name: name.to_owned(),
        fields: fields.collect(),
    })
}

/// Gives `left` elements and notes their shapes.
struct Parts<'a, 'b> {
    tracer: &'a mut Tracer<'b>,
    left: usize,
    parts: &'a mut Vec<Shape>,
}

impl Parts<'_, '_> {
    fn part<'de, T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, NotTraceable> {
        let mut shape = Shape::Unit;
        let value = seed.deserialize(self.tracer.child(&mut shape)?)?;
        self.parts.push(shape);
        self.left = self.left.saturating_sub(1);
        Ok(value)
    }
}

impl<'de> SeqAccess<'de> for Parts<'_, '_> {
    type Error = NotTraceable;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, NotTraceable> {
        match self.left {
            0 => Ok(None),
            _ => self.part(seed).map(Some),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Parts<'_, '_> {
    type Error = NotTraceable;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, NotTraceable> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, NotTraceable> {
        self.part(seed)
    }
}

/// Gives the variant of one number and notes its shape.
struct Variant<'a> {
    tracer: Tracer<'a>,
    index: u32,
}

impl<'de, 'a> EnumAccess<'de> for Variant<'a> {
    type Error = NotTraceable;
    type Variant = Tracer<'a>;

    fn variant_seed<V: DeserializeSeed<'de>>(
        self,
        seed: V,
    ) -> Result<(V::Value, Tracer<'a>), NotTraceable> {
        let index: de::value::U32Deserializer<NotTraceable> = self.index.into_deserializer();
        Ok((seed.deserialize(index)?, self.tracer))
    }
}

impl<'de> VariantAccess<'de> for Tracer<'_> {
    type Error = NotTraceable;

    fn unit_variant(self) -> Result<(), NotTraceable> {
        *self.out = Shape::Unit;
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<T::Value, NotTraceable> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        self.deserialize_tuple(len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, NotTraceable> {
        self.deserialize_struct("", fields, visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use std::collections::HashMap;
    use std::num::NonZeroU32;

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Profile {
        id: Id,
        interests: HashMap<String, f64>,
        last: Option<Event>,
        pair: (u8, bool),
        count: NonZeroU32,
        history: Vec<Event>,
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Id(u64);

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    enum Event {
        Click,
        Rated(f32),
        Bought { item: String, price: i64 },
    }

    #[test]
    fn structs_enums_and_collections_are_traced() {
        let event = Shape::Enum {
            name: "Event".into(),
            variants: vec![
                ("Click".into(), Shape::Unit),
                ("Rated".into(), Shape::Float(32)),
                (
                    "Bought".into(),
                    Shape::Struct {
                        name: String::new(),
                        fields: vec![
                            ("item".into(), Shape::Text),
                            ("price".into(), Shape::Int(64)),
                        ],
                    },
                ),
            ],
        };
        let fields = vec![
            ("id".into(), Shape::Uint(64)),
            (
                "interests".into(),
                Shape::Map(Box::new(Shape::Text), Box::new(Shape::Float(64))),
            ),
            ("last".into(), Shape::Option(Box::new(event.clone()))),
            (
                "pair".into(),
                Shape::Tuple(vec![Shape::Uint(8), Shape::Bool]),
            ),
            ("count".into(), Shape::Uint(32)),
            ("history".into(), Shape::List(Box::new(event))),
        ];
        let expected = Shape::Struct {
            name: "Profile".into(),
            fields,
        };
        assert_eq!(Shape::of::<Profile>(), Some(expected.clone()));
        let json = serde_json::to_string(&expected).unwrap();
        assert_eq!(serde_json::from_str::<Shape>(&json).unwrap(), expected);
    }

    #[derive(Deserialize)]
    #[expect(dead_code, reason = "only its shape counts")]
    struct Tree {
        children: Vec<Self>,
    }

    #[test]
    fn what_cannot_be_traced_has_no_shape() {
        assert_eq!(Shape::of::<Tree>(), None);
        assert_eq!(Shape::of::<serde_json::Value>(), None);
        assert_eq!(Shape::of::<u32>(), Some(Shape::Uint(32)));
    }
}
