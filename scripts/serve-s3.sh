#!/usr/bin/env bash
# Starts a server that speaks S3 (moto, from PyPI, state in memory) with an empty bucket `weir`, and prints
# the variables that `weir` needs to use it. Ends with Ctrl-C. Needs Python.
set -euo pipefail
cd "$(dirname "$0")/.."
checkpoint-store/tests/python/venv s3
# The server ends when its input does.
coproc SERVER { exec target/python/bin/python checkpoint-store/tests/python/serve_s3.py; }
server=$SERVER_PID
trap 'kill "$server" 2>/dev/null || true' EXIT
read -r url <&"${SERVER[0]}"
cat <<EOF
export AWS_ENDPOINT_URL=$url AWS_ALLOW_HTTP=true AWS_REGION=us-east-1
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test
# then: cargo run --release -p gateway --features s3 -- serve --config weir.toml
# with, in weir.toml, under [checkpoint]: dir = "s3://weir/jobs/one"
EOF
wait "$server"
