#!/usr/bin/env bash
# Measures untether beside its peers, one measure after the other, and writes what was found: `full` (10 minutes on two
# cores, once built) into docs/benchmarks.md, docs/plots/ and the table of README.md; `quick` (4 minutes) into
# target/bench/quick/. It proves nothing, and is no part of `.ci/run`: it wants a machine that does nothing else. Linux only.
# Usage: ci/bench.sh [quick|full [MEASURE...]]. With measures, only these are measured anew; the report is always of all
# that have been, and `ci/bench.sh full none` only writes it again. ROUNDS=31 makes more rounds than the usual 21, and
# takes 13 minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

extent=${1:-quick}
[ $# -eq 0 ] || shift
target=${CARGO_TARGET_DIR:-target}
kept=$target/bench/$extent
measures=(echo foreign pool work timeout spin beside connections "connection bytes" registration timers lateness
    "timer bytes" executors "task bytes" instructions syscalls hyper "hyper instructions" "hyper syscalls" idle)
case $extent in
    quick) rounds=(${ROUNDS:+--rounds "$ROUNDS"}) page=$kept/benchmarks.md plots=$kept/plots headlines=() ;;
    full)
        rounds=(--rounds "${ROUNDS:-21}") page=docs/benchmarks.md plots=docs/plots headlines=(--headlines README.md)
        ;;
    *)
        echo "usage: ci/bench.sh [quick|full [MEASURE...]]" >&2
        exit 2
        ;;
esac

# For instructions and system calls. What cannot be had is left out, and said.
# shellcheck source=ci/debian.sh
. ci/debian.sh
debian_packages valgrind strace || true

cargo build --locked --release -p untether-bench
bench=$target/release/untether-bench
mkdir -p "$kept" "$plots"
wanted=("$@")
[ $# -gt 0 ] || wanted=("${measures[@]}")

reports=()
for measure in "${measures[@]}"; do
    report="$kept/${measure// /-}.json"
    if [[ " ${wanted[*]} " == *" $measure "* ]]; then
        began=$SECONDS
        "$bench" "$extent" --only "$measure/" "${rounds[@]}" --json "$report" >"${report%.json}.txt"
        echo "$measure: $((SECONDS - began)) s"
    fi
    if [ -e "$report" ]; then
        reports+=(--from "$report")
    fi
done

# Plots that nothing is drawn into any more shall not stay.
rm -f "$plots"/*.svg
"$bench" "${reports[@]}" --svg "$plots" --markdown "$page" "${headlines[@]}" >/dev/null
echo "$page, $plots${headlines:+, README.md}: $SECONDS s"
