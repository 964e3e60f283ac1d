#!/usr/bin/env bash
# Proves that every dependency has a licence we accept, comes from crates.io, and is there in one version only, as
# deny.toml says. Needs cargo-deny (`cargo install --locked cargo-deny`). Takes 2 seconds.
# `ci/deny.sh advisories` asks the RustSec database too, which needs the network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

if ! command -v cargo-deny >/dev/null; then
    echo "cargo-deny is not installed: cargo install --locked cargo-deny" >&2
    exit 1
fi
cargo deny --locked --all-features check licenses bans sources "$@"
