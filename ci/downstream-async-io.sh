#!/usr/bin/env bash
# Proves that programs written for async-io work on untether: async-io 2.6.0's own published tests, documentation examples
# and example programs, byte for byte, against a crate named `async_io` that only re-exports `untether` and
# `untether_executors::block_on`. They are fetched from the registry into a temporary crate outside this repository;
# nothing of them is kept. Left out: tests/issue_182.rs, which looks up a public host. Takes about 2 minutes.
#
# `ci/downstream-async-io.sh --control` runs the same against async-io itself: what fails there is not our doing.
# KEEP=1 leaves the temporary crate for a closer look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

version=2.6.0
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
export CARGO_TARGET_DIR=$target/downstream
work=$(mktemp -d)
if [ -z "${KEEP:-}" ]; then
    trap 'rm -rf "$work"' EXIT
else
    echo "the temporary crate is $work"
fi

# A crate that depends on the real one makes cargo fetch it, and `cargo metadata` tells where to.
mkdir -p "$work/fetch/src"
touch "$work/fetch/src/lib.rs"
cat >"$work/fetch/Cargo.toml" <<EOF
[package]
name = "fetch"
edition = "2021"
[dependencies]
async-io = "=$version"
EOF
manifest=$(cargo metadata --quiet --format-version 1 --manifest-path "$work/fetch/Cargo.toml" |
    grep -o "\"manifest_path\":\"[^\"]*async-io-$version/Cargo.toml\"" | cut -d '"' -f 4)
original=$(dirname "$manifest")

if [ "${1:-}" = --control ]; then
    subject="async-io $version itself"
    dependencies="original = { package = \"async-io\", version = \"=$version\" }"
    facade='pub use original::*;'
else
    subject="untether and untether_executors::block_on"
    dependencies="untether = { path = \"$root/reactor\" }
untether-executors = { path = \"$root/executors\" }"
    facade='pub use untether::*;
pub use untether_executors::block_on;'
fi

crate=$work/stand-in
mkdir -p "$crate/src" "$crate/tests" "$crate/examples" "$crate/docs"
cp "$original"/tests/*.rs "$crate/tests/"
rm "$crate/tests/issue_182.rs"
examples=(linux-timerfd linux-inotify unix-signal)
for example in "${examples[@]}"; do
    cp "$original/examples/$example.rs" "$crate/examples/"
done
# The versions that this repository is tested with, as far as they are shared.
cp "$root/Cargo.lock" "$crate/Cargo.lock"
cat >"$crate/Cargo.toml" <<EOF
[package]
name = "async-io-stand-in"
edition = "2021"
[lib]
name = "async_io"
[dependencies]
$dependencies
[dev-dependencies]
async-channel = "2"
async-net = "2"
blocking = "1"
futures-lite = "2"
getrandom = "0.3"
rustix = { version = "1", features = ["event", "fs", "net"] }
signal-hook = "0.3"
tempfile = "3"
[target.'cfg(target_os = "linux")'.dev-dependencies]
inotify = { version = "0.11", default-features = false }
timerfd = "1"
[workspace]
EOF
{
    echo "$facade"
    # The examples in the documentation, one file of prose and code for each source file that has some here.
    for source in lib driver os/unix; do
        name=${source//\//_}
        awk '/^ *\/\/[\/!]/ { sub(/^ *\/\/[\/!] ?/, ""); print; next } { print "" }' \
            "$original/src/$source.rs" >"$crate/docs/$name.md"
        echo "#[doc = include_str!(\"../docs/$name.md\")] pub mod documentation_of_$name {}"
    done
} >"$crate/src/lib.rs"

cd "$crate"
echo "=== async-io $version's tests against $subject"
cargo test --no-run

rows=()
failed=0
row() { # name, passed, failed
    rows+=("$(printf '%-28s %6s %6s' "$1" "$2" "$3")")
    failed=$((failed + $3))
}

# Runs `cargo test` with the given selection, and notes how many passed.
run() { # name, arguments
    local name=$1 log=$work/log passed lost
    shift
    # A hang must end as a failure, too. FreeBSD and macOS have no `timeout` by that name.
    local limit=()
    if command -v timeout >/dev/null; then limit=(timeout 300); fi
    if ${limit[@]+"${limit[@]}"} cargo test "$@" >"$log" 2>&1; then lost=0; else lost=1; fi
    grep -E '^(test |running|failures:|error|thread|---- )|panicked' "$log" || true
    passed=$(sed -n 's/^test result: [A-Za-z]*\. \([0-9]*\) passed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    if [ $lost -eq 1 ]; then
        tail -n 40 "$log"
        lost=$(sed -n 's/^test result: .* \([0-9]*\) failed.*/\1/p' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
        # It did not build, or was stopped.
        [ "$lost" -gt 0 ] || lost=1
    elif [ "$passed" -eq 0 ]; then
        echo "$name ran nothing"
        lost=1
    fi
    row "$name" "$passed" "$lost"
}

# An example that waits for something: does `$2` to it, then expects `$3` in what it prints.
show() { # example, shell code that sees $pid and $out, expected text
    local example=$1 out=$work/$1.out pid
    (cd "$work" && exec "$CARGO_TARGET_DIR/debug/examples/$example") >"$out" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        eval "$2"
        sleep 0.1
        if grep -q "$3" "$out"; then break; fi
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    if grep -q "$3" "$out"; then
        row "examples/$example.rs" 1 0
    else
        cat "$out"
        row "examples/$example.rs" 0 1
    fi
}

for file in tests/*.rs; do
    run "$file" --test "$(basename "$file" .rs)"
done
run "documentation" --doc
if [ "$(uname -s)" = Linux ]; then
    cargo build --quiet --examples
    show linux-timerfd : 'Woke up'
    # shellcheck disable=SC2016
    show unix-signal 'if grep -qs Waiting "$out"; then kill -INT "$pid" || true; fi' 'Done!'
    # shellcheck disable=SC2016
    show linux-inotify 'if grep -qs Watching "$out"; then touch "$work/news"; fi' 'news'
fi

echo
echo "async-io $version's own files against $subject:"
printf '%-28s %6s %6s\n' "file" "passed" "failed"
printf '%s\n' "${rows[@]}"
echo "tests/issue_182.rs           not run: it looks up a public host"
[ $failed -eq 0 ]
