#!/usr/bin/env bash
# Proves that somebody else can test an executor of his own with the suite: a package outside the workspace, which has
# the suite as its only dependency, and one test per case. Takes a minute once built. Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}
cd compat-tests/outsider
# The lock file of the workspace: the same versions, so nothing new is fetched.
cp ../../Cargo.lock Cargo.lock
trap 'rm -f Cargo.lock' EXIT
cargo fmt --check
cargo test "$@"
