//! Parquet checkpoints of evolving keyed state.
