//! The `weir` command.

use std::process::ExitCode;

/// Gives freed memory back sooner than most systems' own, so that the process keeps to its memory budget. How soon is set
/// in `.cargo/config.toml`; the variable `_RJEM_MALLOC_CONF` changes it when a process begins.
#[cfg(all(unix, feature = "jemalloc"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    gateway::cli::run()
}
