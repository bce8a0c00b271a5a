//! workload

fn main() {}
