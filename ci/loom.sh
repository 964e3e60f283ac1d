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
log=$(mktemp)
trap 'rm -f "$log"' EXIT
for manifest in reactor/Cargo.toml executors/Cargo.toml; do
    grep -q '^loom' "$manifest" || continue
    package=$(sed -n 's/^name = "\(.*\)"/\1/p' "$manifest" | head -n 1)
    echo "=== loom: $package, at most $LOOM_MAX_PREEMPTIONS preemptions"
    cargo test --locked --release --package "$package" --lib "${1:-loom}" 2>&1 | tee -a "$log"
done

# A filter that matches nothing also ends in success.
models=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
echo "$models models hold"
[ "$models" -gt 0 ]
