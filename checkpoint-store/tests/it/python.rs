//! What we write opens in pyarrow, DuckDB and polars, without our code.
//!
//! Needs Python with the packages of `tests/python/requirements.txt`; `tests/python/venv` makes such an
//! environment below `target/`. Where it is missing the tests say so and pass.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter: `WEIR_PYTHON`, or that of the environment which `tests/python/venv` makes.
pub(crate) fn python(packages: &[&str]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = root.join("../target/python/bin/python");
    let python = std::env::var_os("WEIR_PYTHON").map_or(own, PathBuf::from);
    let imports = format!("import {}", packages.join(", "));
    let output = Command::new(&python).args(["-c", &imports]).output();
    match output {
        Ok(output) if output.status.success() => Some(python),
        _ => {
            println!(
                "skipped: {} with {} is missing; run checkpoint-store/tests/python/venv s3",
                python.display(),
                packages.join(", ")
            );
            None
        }
    }
}

fn run(script: &str, arguments: &[&Path], packages: &[&str]) {
    let Some(python) = python(packages) else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(script);
    let output = Command::new(python)
        .arg(&script)
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
}

#[test]
fn pyarrow_and_duckdb_read_checkpoints() {
    let dir = crate::fixtures::fixture();
    run("read_checkpoint.py", &[&dir], &["pyarrow", "duckdb"]);
}

#[test]
fn polars_reads_checkpoints() {
    let dir = crate::fixtures::fixture();
    run("read_polars.py", &[&dir], &["polars"]);
}

#[test]
fn duckdb_queries_typed_columns() {
    let dir = tempfile::tempdir().unwrap();
    crate::typed::export_all(dir.path());
    run("query_typed.py", &[dir.path()], &["pyarrow", "duckdb"]);
}
