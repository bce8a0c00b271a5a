//! Compiles the protos in pure Rust: no `protoc` on the machine.

use std::{env, fs, io, path::PathBuf};

const PROTOS: [&str; 7] = [
    "weir/v1/model.proto",
    "weir/v1/ingest.proto",
    "weir/v1/recommend.proto",
    "weir/v1/catalog.proto",
    "weir/v1/admin.proto",
    "weir/v1/steering.proto",
    "weir/log/v1/record.proto",
];

fn main() -> io::Result<()> {
    println!("cargo::rerun-if-changed=proto");
    let mut compiler = protox::Compiler::new(["proto"]).map_err(io::Error::other)?;
    compiler.include_imports(true).include_source_info(true);
    for proto in PROTOS {
        compiler.open_file(proto).map_err(io::Error::other)?;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or_else(|| io::Error::other("no OUT_DIR"))?);
    fs::write(
        out.join("weir_descriptor.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        .compile_fds(compiler.file_descriptor_set())
}
