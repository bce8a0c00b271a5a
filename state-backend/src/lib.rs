//! Keyed and operator state with typed handles over interchangeable backends.
