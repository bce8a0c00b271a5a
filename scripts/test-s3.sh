#!/usr/bin/env bash
# The tests against a server that speaks S3 (moto, from PyPI): checkpoint-store's, and the gateway's from end
# to end. Where Python or PyPI is missing, the tests say that they were skipped.
set -euo pipefail
cd "$(dirname "$0")/.."
checkpoint-store/tests/python/venv s3 || echo "no S3 server: its tests will say that they were skipped"
cargo test --locked -p checkpoint-store --features s3 --test it -- s3 --nocapture
cargo test --locked -p tests --features s3 --test e2e -- s3 --nocapture
