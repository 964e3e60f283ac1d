#!/usr/bin/env bash
# Proves that the documentation builds without a warning and that no link in it is broken: first with the private
# items, because the story of each module is told in private ones, then as users see it (left in target/doc).
# Takes half a minute.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings"
cargo doc --workspace --no-deps --locked --document-private-items
cargo doc --workspace --no-deps --locked
