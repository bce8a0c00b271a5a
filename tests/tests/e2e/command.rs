//! The commands of the real binary, as a user runs them.

use std::{
    ffi::OsStr,
    io::Read,
    path::PathBuf,
    process::{Command, Stdio},
    sync::LazyLock,
};
use tests::weir::binary;

static BINARY: LazyLock<PathBuf> = LazyLock::new(|| binary().unwrap());

/// Exit code, output and errors of `weir ARGUMENTS...`.
pub(crate) fn weir<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> (i32, String, String) {
    let output = Command::new(&*BINARY).args(arguments).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// Exit code and errors of `weir ARGUMENTS...` into a pipe that nobody reads any more.
pub(crate) fn weir_unread<A: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = A>,
) -> (Option<i32>, String) {
    let (unread, output) = std::io::pipe().unwrap();
    drop(unread);
    let mut child = Command::new(&*BINARY)
        .args(arguments)
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut errors = String::new();
    let mut stderr = child.stderr.take().unwrap();
    stderr.read_to_string(&mut errors).unwrap();
    (child.wait().unwrap().code(), errors)
}

/// A build that does not see `.cargo/config.toml` works, in more memory and without a sign of it but this.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_allocator_is_set_up_as_the_repository_says() {
    let config = include_str!("../../../.cargo/config.toml");
    let options = config
        .lines()
        .find_map(|line| line.strip_prefix("JEMALLOC_SYS_WITH_MALLOC_CONF = "));
    let output = Command::new(&*BINARY)
        .arg("--version")
        .env("_RJEM_MALLOC_CONF", "confirm_conf:true")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    let set = said
        .lines()
        .filter_map(|line| line.strip_prefix("<jemalloc>: -- Set conf value: "));
    let set: Vec<_> = set
        .filter(|option| *option != "confirm_conf:true")
        .collect();
    let wanted: Vec<_> = options.unwrap().trim_matches('"').split(',').collect();
    assert_eq!(
        set,
        ["background_thread:true"]
            .into_iter()
            .chain(wanted)
            .collect::<Vec<_>>()
    );
}
