#!/usr/bin/env bash
# RocksDB beside Weir's backends; the package is benches/rocksdb.
#
#   scripts/bench-rocksdb.sh beyond [OPTIONS]   state beyond its memory; --help for options
#   scripts/bench-rocksdb.sh bench              the criterion bench `backends` with RocksDB in it
#   scripts/bench-rocksdb.sh test               the conformance suite on RocksDB; says so where RocksDB is missing
#
# Links to the system's library (Debian and Ubuntu: apt install librocksdb-dev; tried with 7.8 of Debian 12). BUNDLED=1 builds the one that
# the crate brings along, which takes half an hour. bindgen's libclang comes from PyPI unless LIBCLANG_PATH says where it is.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0"; }

mode=${1:-}
case $mode in
    beyond | bench | test) shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
esac

missing() {
    echo "RocksDB: $1"
    if [ "$mode" = test ]; then
        echo "the conformance suite on RocksDB was skipped"
        exit 0
    fi
    exit 1
}

if [ "${BUNDLED:-}" != 1 ] && [ -z "${ROCKSDB_LIB_DIR:-}" ]; then
    command -v gcc >/dev/null || missing "gcc is needed to find the system's library"
    library=$(gcc -print-file-name=librocksdb.so)
    [ "$library" != librocksdb.so ] || missing "no library; apt install librocksdb-dev, or BUNDLED=1 to build it"
    ROCKSDB_LIB_DIR=$(dirname "$(realpath -s "$library")")
    export ROCKSDB_LIB_DIR SNAPPY_LIB_DIR=${SNAPPY_LIB_DIR:-$ROCKSDB_LIB_DIR}
fi
if [ -z "${LIBCLANG_PATH:-}" ]; then
    clang=target/libclang
    if [ ! -d "$clang" ]; then
        command -v python3 >/dev/null || missing "no libclang (LIBCLANG_PATH), and no Python to get it with"
        python3 -m pip install --quiet --no-deps --target "$clang" libclang || missing "no libclang from PyPI"
    fi
    # It comes without its own headers; gcc's do.
    export LIBCLANG_PATH=$PWD/$clang/clang/native BINDGEN_EXTRA_CLANG_ARGS="-I$(gcc -print-file-name=include)"
fi

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/rocksdb
manifest=benches/rocksdb/Cargo.toml
case $mode in
    beyond) cargo run --release --manifest-path "$manifest" --bin beyond -- "$@" ;;
    bench) cargo bench --manifest-path "$manifest" --bench backends -- "$@" ;;
    test) cargo test --manifest-path "$manifest" "$@" ;;
esac
