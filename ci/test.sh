#!/usr/bin/env bash
# Proves what the unit, integration and documentation tests say, on the back end that this platform uses by itself.
# `UNTETHER_BACKEND=portable ci/test.sh` asks the portable one. Takes under 3 minutes once built.
# Arguments go to `cargo test`: `ci/test.sh -p untether timer`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if [ $# -gt 0 ]; then
    cargo test --locked "$@"
else
    cargo test --workspace --locked --no-fail-fast
fi
