#!/usr/bin/env bash
# Proves that every Rust file is as rustfmt's default style leaves it. Takes 1 second.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

cargo fmt --all --check
