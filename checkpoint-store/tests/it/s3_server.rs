//! moto's S3 server in a process of its own. Also a module of the tests of the whole.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

/// A server in a process that ends with its standard input.
pub(crate) struct Server {
    pub(crate) child: Child,
    _output: BufReader<ChildStdout>,
    pub(crate) url: String,
}

/// Starts `tests/python/serve_s3.py` of this crate.
pub(crate) fn serve(python: PathBuf, crate_dir: &Path, arguments: &[&str]) -> Server {
    let mut child = Command::new(python)
        .arg(crate_dir.join("tests/python/serve_s3.py"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = BufReader::new(child.stdout.take().unwrap());
    let mut url = String::new();
    output.read_line(&mut url).unwrap();
    let url = url.trim().to_owned();
    assert!(url.starts_with("http"), "the server did not start");
    Server {
        child,
        _output: output,
        url,
    }
}

/// The interpreter with what the server needs: `WEIR_PYTHON`, or that of the environment which
/// `tests/python/venv s3` makes. None, and a word about it, where it is missing.
pub(crate) fn python(crate_dir: &Path) -> Option<PathBuf> {
    let own = crate_dir.join("../target/python/bin/python");
    let python = std::env::var_os("WEIR_PYTHON").map_or(own, PathBuf::from);
    let imports = "import moto, boto3, flask, werkzeug";
    let output = Command::new(&python).args(["-c", imports]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!(
        "skipped: {} with moto is missing; run checkpoint-store/tests/python/venv s3",
        python.display()
    );
    None
}
