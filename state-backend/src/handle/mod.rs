//! Handles: what states are read and written by.
//!
//! A handle is a number with a type. It is `Copy`, and only good for the store that issued it.

mod list;
mod map;
mod single;

pub use list::{ListIter, ListState, ListView};
pub use map::MapState;
pub use single::{AggregatingState, ReducingState, ValueState};

/// Handles of states whose rows hold one value each. Sealed.
pub trait KeyedState: sealed::Sealed {
    /// What a row holds.
    type Row: Send + 'static;

    #[doc(hidden)]
    fn slot(&self) -> usize;
}

mod sealed {
    /// Keeps `KeyedState` to this crate's handles.
    pub trait Sealed {}
}

macro_rules! handle {
    ($name:ident<$($param:ident),+>) => {
        impl<$($param),+> Clone for $name<$($param),+> {
            fn clone(&self) -> Self {
                *self
            }
        }

        impl<$($param),+> Copy for $name<$($param),+> {}

        impl<$($param),+> std::fmt::Debug for $name<$($param),+> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).field("slot", &self.slot).finish_non_exhaustive()
            }
        }
    };
}
use handle;
