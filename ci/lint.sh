#!/usr/bin/env bash
# Proves that clippy and the compiler have nothing to say about any target: libraries, binaries, tests, examples.
# Takes a minute the first time, seconds after that.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo clippy --workspace --all-targets --locked -- -D warnings
