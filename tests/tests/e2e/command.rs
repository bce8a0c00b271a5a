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
