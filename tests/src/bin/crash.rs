//! crash

fn main() {}
