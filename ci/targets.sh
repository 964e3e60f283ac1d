#!/usr/bin/env bash
# Proves that the crates compile for platforms that nobody runs here. It is a type check and no more: nothing is linked or
# run. Takes 3 minutes for all on two cores the first time, std included. Usage: ci/targets.sh [TARGET...]
# On Debian it uses Debian's Rust 1.85 and builds std from its sources; elsewhere rustup and its ready-made std.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=ci/debian.sh
. ci/debian.sh

packages=(--package untether --package untether-executors)
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    targets=(
        aarch64-apple-darwin      # kqueue
        x86_64-unknown-freebsd    # kqueue
        x86_64-unknown-netbsd     # kqueue
        x86_64-unknown-openbsd    # kqueue
        x86_64-unknown-illumos    # event ports
        x86_64-pc-windows-msvc    # IOCP
        aarch64-linux-android     # epoll
        x86_64-unknown-linux-musl # epoll
        aarch64-unknown-linux-gnu # epoll
        i686-unknown-linux-gnu    # epoll, 32 bits
    )
fi

base=${CARGO_TARGET_DIR:-target}/targets
mkdir -p "$base"
if [ -e /etc/debian_version ] && command -v apt-get >/dev/null && apt-cache show rustc-web >/dev/null 2>&1; then
    debian_rust
    check() { debian_cargo check --locked "${packages[@]}" -Zbuild-std=std,panic_abort --target "$1"; }
else
    check() { rustup target add "$1" && cargo check --locked "${packages[@]}" --target "$1"; }
fi

# Targets share nothing that is worth waiting for, so each has its own directory, and as many run at once as there are cores.
jobs=$(nproc 2>/dev/null || echo 2)
check_in_its_own_place() {
    local began=$SECONDS
    export CARGO_TARGET_DIR=$base/$1 CARGO_BUILD_JOBS=1
    if check "$1" >"$base/$1.log" 2>&1; then
        echo PASS >"$base/$1.result"
    else
        echo FAIL >"$base/$1.result"
    fi
    printf '%-28s %s %4d s\n' "$1" "$(cat "$base/$1.result")" $((SECONDS - began))
}
for target in "${targets[@]}"; do
    while [ "$(jobs -pr | wc -l)" -ge "$jobs" ]; do
        wait -n
    done
    check_in_its_own_place "$target" &
done
wait

failed=()
for target in "${targets[@]}"; do
    [ "$(cat "$base/$target.result")" = PASS ] || failed+=("$target")
done
for target in "${failed[@]}"; do
    echo
    echo "=== $target"
    # What is wrong, not how far the build had come.
    grep -vE '^ *(Compiling|Checking|Downloading|Downloaded|Updating|Locking|Adding) ' "$base/$target.log" | tail -n 60
done

echo
echo "type checks, nothing linked or run: $((${#targets[@]} - ${#failed[@]})) of ${#targets[@]} targets compile"
if [ ${#failed[@]} -gt 0 ]; then
    echo "these do not: ${failed[*]}"
    exit 1
fi
