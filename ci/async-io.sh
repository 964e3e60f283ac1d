#!/usr/bin/env bash
# Proves that adapters/async-io, which is outside the workspace, keeps to the rules of the house: format, clippy, tests on
# each back end, documentation. Its tests run smol and its relatives on it. Takes a minute once built.
# Arguments go to `cargo test`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/async-io
case $CARGO_TARGET_DIR in /*) ;; *) CARGO_TARGET_DIR=$PWD/$CARGO_TARGET_DIR ;; esac
cd adapters/async-io
# The lock file of the workspace: the same versions.
cp ../../Cargo.lock Cargo.lock
trap 'rm -f Cargo.lock' EXIT
cargo fmt --check
cargo clippy --all-targets --all-features -- -D warnings
cargo test "$@"
UNTETHER_BACKEND=portable cargo test "$@"
RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings" cargo doc --no-deps --document-private-items
cargo tree --quiet --invert async-io --depth 1
