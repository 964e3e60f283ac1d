#!/usr/bin/env bash
# Proves that what was written for async-io works on untether: the published test suites of async-io and of crates that
# stand on it, byte for byte, with async-io replaced by adapters/async-io through `[patch.crates-io]`. `cargo tree` shows
# that the replacement is in force. Each suite also runs with the original: the table compares the two, and a suite that
# passes less often with ours is a failure. The suites are fetched from crates.io into a folder outside this repository;
# nothing of them is kept. Left out of them: benchmarks, and tests that look up public hosts.
#
# Usage: ci/downstream.sh [SUITE...]   (`ci/downstream.sh --list` shows them). Takes 10 minutes on two cores.
# RUNS="original ours" chooses the runs; beside these two there is `portable`, which is ours on that back end. Without the
# original every failure counts. KEEP=1 leaves the folder for a closer look.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# crate, version | features | development dependencies that only its benchmarks and examples need | tests not to run
suites="
async-io         2.6.0  |              | criterion                                 |
async-net        2.0.0  |              |                                           |
async-process    2.5.0  |              |                                           |
async-signal     0.2.14 |              |                                           |
async-executor   1.14.1 |              | criterion                                 |
piper            0.2.5  |              | criterion                                 |
smol             2.0.2  |              | anyhow async-dup async-h1 async-native-tls async-tungstenite ctrlc http http-body-util http-types hyper macro_rules_attribute native-tls scraper smol-hyper smol-macros surf tokio url |
smol-macros      0.1.1  |              |                                           |
async-std        1.13.2 | unstable attributes | wasm-bindgen-test getrandom             |
async-h1         2.3.4  |              |                                           |
async-tls        0.13.0 |              |                                           | google
futures-rustls   0.26.0 |              |                                           | badssl
tide             0.16.0 |              | criterion juniper                         |
libp2p-tcp       0.42.0 | async-io     |                                           |
"

if [ "${1:-}" = --list ]; then
    awk -F'[ |]+' 'NF > 1 { print $1, $2 }' <<<"$suites"
    exit
fi
wanted=" $* "
root=$PWD
target=${CARGO_TARGET_DIR:-$root/target}
case $target in /*) ;; *) target=$root/$target ;; esac
export CARGO_TARGET_DIR=$target/downstream
# Nobody debugs them.
export CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_TEST_DEBUG=0 CARGO_INCREMENTAL=0
work=$(mktemp -d)
if [ -z "${KEEP:-}" ]; then
    trap 'rm -rf "$work"' EXIT
else
    echo "the suites are in $work"
fi

chosen=()
while IFS='|' read -r crate features unneeded skipped; do
    read -r name version <<<"$crate"
    if [ -n "$name" ] && { [ $# -eq 0 ] || [[ $wanted == *" $name "* ]]; }; then
        chosen+=("$name|$version|$features|$unneeded|$skipped")
    fi
done <<<"$suites"

# A crate that depends on them makes cargo fetch them, and `cargo metadata` tells where to.
mkdir -p "$work/fetch/src"
touch "$work/fetch/src/lib.rs"
{
    printf '[package]\nname = "fetch"\nedition = "2021"\n[workspace]\n[dependencies]\n'
    for suite in "${chosen[@]}"; do
        IFS='|' read -r name version _ <<<"$suite"
        echo "$name = \"=$version\""
    done
} >"$work/fetch/Cargo.toml"
cargo metadata --quiet --format-version 1 --manifest-path "$work/fetch/Cargo.toml" >"$work/metadata"

source_of() { # name, version
    local manifest
    manifest=$(grep -o "\"manifest_path\":\"[^\"]*/$1-$2/Cargo.toml\"" "$work/metadata" | head -n 1 | cut -d '"' -f 4)
    dirname "$manifest"
}

# Cargo.toml without some development dependencies, and without what it says of benchmarks, examples and left-out tests.
trimmed() { # manifest, unneeded dependencies, skipped tests
    awk -v unneeded=" $2 " -v skipped=" $3 " '
        function flush() { if (keep) printf "%s", section; section = ""; keep = 1 }
        BEGIN { keep = 1 }
        /^\[/ {
            flush()
            name = $0
            gsub(/^.*dev-dependencies\.|\]$/, "", name)
            if ($0 ~ /dev-dependencies\./ && index(unneeded, " " name " ")) keep = 0
            if ($0 ~ /^\[\[(bench|example)\]\]/) keep = 0
        }
        /^name = / && section ~ /^\[\[test\]\]/ { split($0, part, "\""); if (index(skipped, " " part[2] " ")) keep = 0 }
        { section = section $0 "\n" }
        END { flush() }' "$1"
}

# Lays a workspace with a copy of each suite.
lay() { # folder
    local suite name version features unneeded skipped test from to
    mkdir -p "$1"
    for suite in "${chosen[@]}"; do
        IFS='|' read -r name version features unneeded skipped <<<"$suite"
        from=$(source_of "$name" "$version")
        to=$1/$name
        cp -r "$from" "$to"
        rm -rf "$to/benches" "$to/Cargo.lock" "$to/.cargo-ok" "$to/.cargo_vcs_info.json"
        [ "$name" = async-io ] || rm -rf "$to/examples"
        for test in $skipped; do rm -f "$to/tests/$test.rs"; done
        trimmed "$from/Cargo.toml" "$unneeded" "$skipped" >"$to/Cargo.toml"
        if [ "$name" = async-io ]; then stand_in "$from" "$to"; fi
    done
    {
        printf '[workspace]\nresolver = "2"\nmembers = ['
        for suite in "${chosen[@]}"; do printf '"%s", ' "${suite%%|*}"; done
        printf ']\n'
    } >"$1/Cargo.toml"
    # The versions that this repository is tested with, as far as they are shared.
    cp "$root/Cargo.lock" "$1/Cargo.lock"
}

# async-io cannot be replaced in itself: its tests, examples and documentation move into a crate that depends on it.
stand_in() { # original, copy
    local source name
    rm -rf "$2/src" "$2/build.rs" "$2/tests/issue_182.rs"
    mkdir -p "$2/src" "$2/docs"
    cp "$root/adapters/async-io/tests/it/interface.rs" "$2/tests/"
    awk '/^\[package\]|^\[dependencies|^\[dev-|^\[target/ { exit }' "$1/Cargo.toml"
    cat >"$2/Cargo.toml" <<EOF
[package]
name = "suite-of-async-io"
version = "2.6.0"
edition = "2021"
[dependencies]
async-io = "=2.6.0"
[dev-dependencies]
async-channel = "2"
async-net = "2"
blocking = "1"
futures-io = "0.3"
futures-lite = "2"
getrandom = "0.3"
rustix = { version = "1", features = ["event", "fs", "net"] }
signal-hook = "0.3"
tempfile = "3"
[target.'cfg(target_os = "linux")'.dev-dependencies]
inotify = { version = "0.11", default-features = false }
timerfd = "1"
EOF
    rm -f "$2"/examples/windows-*.rs "$2"/examples/kqueue-*.rs
    # The examples in the documentation, one file of prose and code for each source file that has some here.
    for source in lib driver os/unix; do
        name=${source//\//_}
        awk '/^ *\/\/[\/!]/ { sub(/^ *\/\/[\/!] ?/, ""); print; next } { print "" }' "$1/src/$source.rs" >"$2/docs/$name.md"
        echo "#[doc = include_str!(\"../docs/$name.md\")] pub mod documentation_of_$name {}"
    done >"$2/src/lib.rs"
}

# `cargo` in a workspace, with the replacement if it is ours.
workspace=
in_force=()
choose() { # run
    workspace=$work/ours
    in_force=(--config "patch.crates-io.async-io.path=\"$root/adapters/async-io\"")
    unset UNTETHER_BACKEND
    case $1 in
        original) workspace=$work/original in_force=() ;;
        portable) export UNTETHER_BACKEND=portable ;;
    esac
}
cargo_there() { # command, arguments
    (cd "$workspace" && cargo "${@:1:1}" ${in_force[@]+"${in_force[@]}"} "${@:2}")
}

# Which async-io the suites stand on.
check_tree() { # run
    local versions
    versions=$(cargo_there tree --quiet --workspace --edges all --target all --prefix none --format '{p}' |
        sed 's/ (\*)$//' | sort -u | grep '^async-io v2')
    echo "$versions"
    case $1 in
        original) [[ $versions != *"("* ]] ;;
        *) [ "$versions" = "async-io v2.6.0 ($root/adapters/async-io)" ] ;;
    esac || {
        echo "this is not the async-io that was asked for" >&2
        exit 1
    }
}

# The features that the suites ask for; or only those of one.
features() { # [suite]
    local suite name chosen_features feature list=
    for suite in "${chosen[@]}"; do
        IFS='|' read -r name _ chosen_features _ <<<"$suite"
        if [ -n "${1:-}" ] && [ "$1" != "$name" ]; then continue; fi
        for feature in $chosen_features; do list+=,$name/$feature; done
    done
    echo "${list#,}"
}

# A hang must end as a failure, too. FreeBSD and macOS have no `timeout` by that name.
limited() {
    if command -v timeout >/dev/null; then timeout --kill-after=5 180 "$@"; else "$@"; fi
}

# Adds up what a test runner has said, and a failure if it ended badly without saying so.
count() { # run, suite, log, status
    local passed failed
    read -r passed failed < <(awk '/^test result: / { p += $4; f += $6 } END { print p + 0, f + 0 }' "$3")
    if [ "$4" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
    echo "$1 $2 $passed $failed" >>"$work/counts"
    if [ "$failed" -gt 0 ]; then
        # Not the runner's last line: .ci/run would add it to what our own tests have said.
        grep -E '^(test .*FAILED$|---- |thread |error)|panicked' "$3" | head -n 40 || true
        if [ "$4" -ge 124 ]; then tail -n 5 "$3"; fi
    fi
}

# Runs all tests of a workspace.
run() { # run
    local executable folder name test package status log=$work/log
    choose "$1"
    echo "=== with $1"
    check_tree "$1"
    cargo_there test --workspace --tests --features "$(features)" --no-run
    cargo_there test --workspace --tests --features "$(features)" --no-run --quiet --message-format json |
        sed -n 's/.*"manifest_path":"\([^"]*\)\/Cargo.toml".*"name":"\([^"]*\)".*"executable":"\([^"]*\)".*/\1 \2 \3/p' |
        sort -u >"$work/executables"
    while read -r folder test executable; do
        name=$(basename "$folder")
        status=0
        (cd "$folder" && CARGO_MANIFEST_DIR=$folder limited "$executable") </dev/null >"$log" 2>&1 || status=$?
        echo "$name $test: $(sed -n 's/^test result: //p' "$log")"
        count "$1" "$name" "$log" $status
    done <"$work/executables"
    for suite in "${chosen[@]}"; do
        name=${suite%%|*}
        status=0
        package=path+file://$workspace/$name
        if [ "$name" = async-io ]; then package="suite-of-async-io"; fi
        cargo_there test --doc -p "$package" --features "$(features "$name")" >"$log" 2>&1 || status=$?
        echo "$name documentation: $(sed -n 's/^test result: //p' "$log" | tr '\n' ' ')"
        count "$1" "$name" "$log" $status
    done
    if [ "$(uname -s)" = Linux ] && [ -e "$workspace/async-io" ]; then examples "$1"; fi
}

examples() { # run
    choose "$1"
    cargo_there build --quiet -p suite-of-async-io --examples
    show "$1" linux-timerfd : 'Woke up'
    # shellcheck disable=SC2016
    show "$1" unix-signal 'if grep -qs Waiting "$out"; then kill -INT "$pid" || true; fi' 'Done!'
    # shellcheck disable=SC2016
    show "$1" linux-inotify 'if grep -qs Watching "$out"; then touch "$work/news"; fi' 'news'
}

# An example that waits for something: does `$3` to it, then expects `$4` in what it prints.
show() { # run, example, shell code that sees $pid and $out, expected text
    local example=$2 out=$work/$2.out pid passed=0
    rm -f "$work/news"
    (cd "$work" && exec "$CARGO_TARGET_DIR/debug/examples/$example") >"$out" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        eval "$3"
        sleep 0.1
        if grep -q "$4" "$out"; then break; fi
    done
    kill "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    if grep -q "$4" "$out"; then passed=1; else cat "$out"; fi
    echo "async-io example $example: $passed passed"
    echo "$1 async-io $passed $((1 - passed))" >>"$work/counts"
}

lay "$work/original"
cp -r "$work/original" "$work/ours"
read -ra runs <<<"${RUNS:-original ours portable}"
for one in "${runs[@]}"; do
    run "$one"
    if [ "$one" = original ]; then cp "$work/original/Cargo.lock" "$work/ours/Cargo.lock"; fi
done

echo
echo "published suites, with async-io itself (original) and with adapters/async-io in its place: passed/failed"
{
    printf '%-15s %-7s' suite version
    printf ' %12s' "${runs[@]}"
    echo
    for suite in "${chosen[@]}"; do
        IFS='|' read -r name version _ <<<"$suite"
        awk -v name="$name" -v version="$version" -v runs="${runs[*]}" '
            $2 == name { passed[$1] += $3; failed[$1] += $4 }
            END {
                printf "%-15s %-7s", name, version
                count = split(runs, run, " ")
                for (i = 1; i <= count; i++) {
                    p = passed[run[i]] + 0
                    f = failed[run[i]] + 0
                    printf " %12s", p "/" f
                    if (p == 0 || f > failed["original"] + 0 || p < passed["original"] + 0) worse = 1
                }
                print worse ? "  WORSE" : ""
            }' "$work/counts"
    done
} | tee "$work/table"
if grep -q WORSE "$work/table"; then exit 1; fi
