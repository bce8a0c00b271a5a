//! Definitions of keyed states: a name, a type, and what is to happen with it.

use crate::{Codec, StateKey, StateValue, Ttl};
use std::{borrow::Cow, fmt, marker::PhantomData};

macro_rules! settings {
    ($value:ident) => {
        /// The version of the values' bytes, 1 unless set, and how to read older ones: `migrate` gets
        /// the stored version and the bytes. See [`Codec`].
        ///
        /// On restore all rows of an older version are rewritten, so the first delta is as large as
        /// the state.
        #[must_use]
        pub const fn with_version(
            mut self,
            version: u32,
            migrate: fn(u32, &[u8]) -> Result<$value, String>,
        ) -> Self {
            self.codec.version = version;
            self.codec.migrate = Some(migrate);
            self
        }

        /// The name that the value type is known by in checkpoints; Rust's own, without modules,
        /// unless set. Needed when a type is renamed.
        #[must_use]
        pub const fn with_type_name(mut self, name: &'static str) -> Self {
            self.codec.type_name = Some(name);
            self
        }

        /// Lets the state expire.
        #[must_use]
        pub const fn with_ttl(mut self, ttl: Ttl) -> Self {
            self.ttl = Some(ttl);
            self
        }

        /// The name.
        #[must_use]
        pub fn name(&self) -> &str {
            &self.name
        }
    };
}

/// One value for each key and namespace.
#[derive(Clone, Debug)]
pub struct ValueDef<V> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) codec: Codec<V>,
    pub(crate) ttl: Option<Ttl>,
}

impl<V> ValueDef<V> {
    /// A value of a type that knows its bytes: any serde type.
    #[must_use]
    pub const fn new(name: &'static str) -> Self
    where
        V: StateValue,
    {
        Self::with_codec(name, Codec::of_type())
    }

    /// A value with a codec of one's own.
    #[must_use]
    pub const fn with_codec(name: &'static str, codec: Codec<V>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            codec,
            ttl: None,
        }
    }

    /// The same under a name made at run time.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            ..self
        }
    }

    settings!(V);
}

/// A list for each key and namespace. What it costs: [`ListState`](crate::ListState).
#[derive(Clone, Debug)]
pub struct ListDef<T> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) codec: Codec<T>,
    pub(crate) ttl: Option<Ttl>,
}

impl<T> ListDef<T> {
    /// A list of elements that know their bytes: any serde type.
    #[must_use]
    pub const fn new(name: &'static str) -> Self
    where
        T: StateValue,
    {
        Self::with_codec(name, Codec::of_type())
    }

    /// A list of elements with a codec of one's own.
    #[must_use]
    pub const fn with_codec(name: &'static str, codec: Codec<T>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            codec,
            ttl: None,
        }
    }

    /// The same under a name made at run time.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            ..self
        }
    }

    settings!(T);
}

/// A map for each key and namespace; entries are rows of their own.
pub struct MapDef<UK, V> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) codec: Codec<V>,
    pub(crate) ttl: Option<Ttl>,
    key: PhantomData<fn() -> UK>,
}

impl<UK: StateKey, V> MapDef<UK, V> {
    /// A map to values that know their bytes: any serde type.
    #[must_use]
    pub const fn new(name: &'static str) -> Self
    where
        V: StateValue,
    {
        Self::with_codec(name, Codec::of_type())
    }

    /// A map to values with a codec of one's own.
    #[must_use]
    pub const fn with_codec(name: &'static str, codec: Codec<V>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            codec,
            ttl: None,
            key: PhantomData,
        }
    }

    /// The same under a name made at run time.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            ..self
        }
    }

    settings!(V);

    pub(crate) fn type_name(&self) -> String {
        format!(
            "{} -> {}",
            Codec::<UK>::name_of_type(),
            self.codec.type_name()
        )
    }
}

impl<UK, V> Clone for MapDef<UK, V> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            codec: self.codec,
            ttl: self.ttl,
            key: PhantomData,
        }
    }
}

impl<UK, V> fmt::Debug for MapDef<UK, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapDef")
            .field("name", &self.name)
            .field("codec", &self.codec)
            .field("ttl", &self.ttl)
            .finish()
    }
}

/// One value for each key and namespace, that every added value is reduced into.
#[derive(Clone, Debug)]
pub struct ReducingDef<V> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) codec: Codec<V>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) reduce: fn(&mut V, V),
}

impl<V> ReducingDef<V> {
    /// A value of a type that knows its bytes, and how another is reduced into it.
    #[must_use]
    pub const fn new(name: &'static str, reduce: fn(&mut V, V)) -> Self
    where
        V: StateValue,
    {
        Self::with_codec(name, reduce, Codec::of_type())
    }

    /// The same with a codec of one's own.
    #[must_use]
    pub const fn with_codec(name: &'static str, reduce: fn(&mut V, V), codec: Codec<V>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            codec,
            ttl: None,
            reduce,
        }
    }

    /// The same under a name made at run time.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            ..self
        }
    }

    settings!(V);
}

/// How values go into an accumulator and a result comes out: Flink's `AggregateFunction`.
pub trait AggregateFunction: Copy + Send + 'static {
    /// What is added.
    type In;
    /// What is kept.
    type Acc: Send + 'static;
    /// What a read returns.
    type Out;

    /// The accumulator of nothing.
    fn create(&self) -> Self::Acc;
    /// Adds a value.
    fn add(&self, acc: &mut Self::Acc, value: Self::In);
    /// What has been added up to.
    fn result(&self, acc: &Self::Acc) -> Self::Out;
}

/// An accumulator for each key and namespace.
pub struct AggregatingDef<A: AggregateFunction> {
    pub(crate) name: Cow<'static, str>,
    pub(crate) codec: Codec<A::Acc>,
    pub(crate) ttl: Option<Ttl>,
    pub(crate) function: A,
}

impl<A: AggregateFunction> AggregatingDef<A> {
    /// An accumulator that knows its bytes.
    #[must_use]
    pub const fn new(name: &'static str, function: A) -> Self
    where
        A::Acc: StateValue,
    {
        Self::with_codec(name, function, Codec::of_type())
    }

    /// The same with a codec of one's own.
    #[must_use]
    pub const fn with_codec(name: &'static str, function: A, codec: Codec<A::Acc>) -> Self {
        Self {
            name: Cow::Borrowed(name),
            codec,
            ttl: None,
            function,
        }
    }

    /// The same under a name made at run time.
    #[must_use]
    pub fn named(self, name: impl Into<String>) -> Self {
        Self {
            name: Cow::Owned(name.into()),
            codec: self.codec,
            ttl: self.ttl,
            function: self.function,
        }
    }

    /// The version of the accumulators' bytes and how to read older ones; see
    /// [`ValueDef::with_version`].
    #[must_use]
    pub fn with_version(
        mut self,
        version: u32,
        migrate: fn(u32, &[u8]) -> Result<A::Acc, String>,
    ) -> Self {
        self.codec.version = version;
        self.codec.migrate = Some(migrate);
        self
    }

    /// Lets the state expire.
    #[must_use]
    pub fn with_ttl(mut self, ttl: Ttl) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<A: AggregateFunction> fmt::Debug for AggregatingDef<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregatingDef")
            .field("name", &self.name)
            .field("codec", &self.codec)
            .field("ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}
