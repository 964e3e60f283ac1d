#!/usr/bin/env bash
# Proves that the workspace builds, and that its tests pass, with the oldest Rust it promises: 1.85. Takes 3 minutes.
# Uses rustup's 1.85.0 where that is installed, else Debian's (and installs it, as root). `ci/msrv.sh check` only checks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=ci/debian.sh
. ci/debian.sh

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/msrv
if command -v rustup >/dev/null && rustup run 1.85.0 rustc --version 2>/dev/null; then
    cargo_185() { rustup run 1.85.0 cargo "$@"; }
else
    debian_rust
    # No unstable feature may slip in here.
    unset RUSTC_BOOTSTRAP
    "$RUSTC" --version
    cargo_185() { debian_cargo "$@"; }
fi

cargo_185 check --workspace --all-targets --all-features --locked
if [ "${1:-test}" = test ]; then
    cargo_185 test --workspace --locked
fi
