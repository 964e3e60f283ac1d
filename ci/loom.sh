#!/usr/bin/env bash
# Proves, for every interleaving with at most LOOM_MAX_PREEMPTIONS preemptions (3 by default), that no wake-up is lost and
# nothing is freed too early in the lock-free parts: the models in modules named `loom_tests`. Takes about 2 minutes.
# Arguments select models: `ci/loom.sh chair`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-3}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"

# Each crate by itself: the flag reaches every dependency, and some of those compile under it only with a feature.
for manifest in reactor/Cargo.toml executors/Cargo.toml; do
    grep -q '^loom' "$manifest" || continue
    package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
    log=$(mktemp)
    echo "=== loom: $package, at most $LOOM_MAX_PREEMPTIONS preemptions"
    cargo test --locked --release --package "$package" --lib "${1:-loom}" 2>&1 | tee "$log"
    ran=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log")
    rm -f "$log"
    # A filter that matches nothing also exits with success: say so.
    if [ "${ran:-0}" -eq 0 ]; then
        echo "no model of $package ran" >&2
        exit 1
    fi
done
