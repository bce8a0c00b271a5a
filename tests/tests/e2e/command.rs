//! The commands of the real binary, as a user runs them.

use std::{ffi::OsStr, path::PathBuf, process::Command, sync::LazyLock};
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
