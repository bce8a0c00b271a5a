#!/usr/bin/env bash
# Runs every example of every crate, each to its end; an example with a `NAME.args` file beside it gets those arguments.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --workspace --all-targets --locked
output=$(mktemp)
trap 'rm -f "$output"' EXIT
count=0
for source in */examples/*.rs */examples/*/main.rs; do
    [ -e "$source" ] || continue
    crate=${source%%/*}
    name=${source#*/examples/}
    name=${name%/main.rs}
    name=${name%.rs}
    arguments=()
    if [ -e "$crate/examples/$name.args" ]; then
        read -r -a arguments <"$crate/examples/$name.args"
    fi
    printf -- '--> %s/%s %s\n' "$crate" "$name" "${arguments[*]:-}"
    "${CARGO_TARGET_DIR:-target}/debug/examples/$name" "${arguments[@]}" >"$output" 2>&1 </dev/null || {
        cat "$output"
        echo "example $crate/$name failed" >&2
        exit 1
    }
    count=$((count + 1))
done
echo "$count examples ran"
