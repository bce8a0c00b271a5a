//! Event time as Apache Flink defines it.
