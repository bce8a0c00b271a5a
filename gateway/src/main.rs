//! The `weir` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    with_settled_allocator();
    gateway::cli::run()
}

/// Begins the process anew with the allocator set up for long runs, unless the environment sets it up.
///
/// Left alone, glibc has eight arenas a core, keeps in each what was freed, and takes ever larger pieces for
/// small ones that it never gives back: in a measurement half as much again as the state. These settings are
/// read once, when a process begins; without them it works the same, in more memory.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn with_settled_allocator() {
    use std::os::unix::process::CommandExt;

    const OWN: [&str; 4] = [
        "GLIBC_TUNABLES",
        "MALLOC_ARENA_MAX",
        "MALLOC_MMAP_THRESHOLD_",
        "MALLOC_TRIM_THRESHOLD_",
    ];
    if OWN.iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let Ok(weir) = std::env::current_exe() else {
        return;
    };
    let mut args = std::env::args_os();
    let mut command = std::process::Command::new(weir);
    if let Some(name) = args.next() {
        command.arg0(name);
    }
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    // Returns only if it fails: then this process goes on as it is.
    let _failed = command
        .args(args)
        .env("MALLOC_ARENA_MAX", cores.max(2).to_string())
        .env("MALLOC_MMAP_THRESHOLD_", (512 << 10).to_string())
        .env("MALLOC_TRIM_THRESHOLD_", (2 << 20).to_string())
        .exec();
}
