#!/usr/bin/env bash
# Lays out the jars of Apache Flink 1.20.5 as DIR/lib, for scripts/flink-workloads.sh: they are in the source distribution of
# the Python package apache-flink-libraries, which pip fetches (230 MB).
set -euo pipefail
version=1.20.5

if [ $# -ne 1 ]; then
    echo "usage: $0 DIR" >&2
    exit 2
fi
target=$1
if [ -e "$target/lib/flink-dist-$version.jar" ]; then
    echo "Flink $version is in $target already"
    exit 0
fi
if [ -e "$target/lib" ]; then
    echo "$target/lib exists and is not Flink $version: name another folder" >&2
    exit 2
fi
if ! python3 -m pip --version >/dev/null 2>&1; then
    echo "python3 with pip is needed to fetch Flink. Flink's own binary release does as well: unpack it and set FLINK_HOME." >&2
    exit 1
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# pip unpacks the package to read its metadata; its dependencies are not needed.
TMPDIR=$scratch python3 -m pip download --quiet --disable-pip-version-check --no-deps \
    --no-binary apache-flink-libraries --dest "$scratch" "apache-flink-libraries==$version"
package=$scratch/unpacked
mkdir -p "$package" "$target"
tar xzf "$scratch"/apache*flink*libraries-"$version".tar.gz -C "$package" --strip-components=1
if [ ! -e "$package/deps/lib/flink-dist-$version.jar" ]; then
    echo "the package has no deps/lib/flink-dist-$version.jar" >&2
    exit 1
fi
mv "$package/LICENSE" "$package/NOTICE" "$target/"
# Last: the jar's presence says that all is there.
mv "$package/deps/lib" "$target/lib"
echo "Flink $version is in $target: export FLINK_HOME=$target"
