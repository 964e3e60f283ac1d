#!/usr/bin/env bash
# Proves that the tests pass N times in a row (20 by default): the cheapest way to meet a race. Stops at the first run
# that fails and shows it whole. Takes N times ci/test.sh. Usage: ci/repeat.sh [N [arguments for cargo test]]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

runs=${1:-20}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- --workspace
logs=${CARGO_TARGET_DIR:-target}/repeat
mkdir -p "$logs"

cargo test --locked --no-run "$@"
for ((run = 1; run <= runs; run++)); do
    log=$logs/$run.log
    began=$SECONDS
    if ! cargo test --locked "$@" >"$log" 2>&1; then
        cat "$log"
        echo "run $run of $runs failed; its output is above and in $log"
        exit 1
    fi
    passed=$(sed -n 's/^test result: ok\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    echo "run $run of $runs: $passed passed, $((SECONDS - began)) s"
    rm -f "$log"
done
