//! A stateful, exactly-once stream runtime in one process.
