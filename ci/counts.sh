#!/usr/bin/env bash
# Proves that the hot paths (a request, a connection, a task, a timer) cost no more instructions and system calls than is
# written in compat-tests/bench/tests/counts.rs, give or take 5 %. Linux only; needs valgrind and strace, which it installs on Debian
# if it may. The bounds hold for the compiler that is named there; others get 25 %. Takes 4 minutes once built.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=ci/debian.sh
. ci/debian.sh
for tool in valgrind strace; do
    command -v "$tool" >/dev/null || debian_packages "$tool"
done

cargo test --locked --release -p untether-bench --test counts "$@" -- --nocapture
