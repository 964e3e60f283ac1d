#!/usr/bin/env bash
# Proves that the crates compile for platforms that nobody runs here. It is a type check and no more: nothing is linked or
# run. Takes up to a minute for each target the first time, std included. Usage: ci/targets.sh [TARGET...]
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

export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/targets
mkdir -p "$CARGO_TARGET_DIR"
if [ -e /etc/debian_version ] && command -v apt-get >/dev/null && apt-cache show rustc-web >/dev/null 2>&1; then
    debian_rust
    check() { debian_cargo check --locked "${packages[@]}" -Zbuild-std=std,panic_abort --target "$1"; }
else
    check() { rustup target add "$1" && cargo check --locked "${packages[@]}" --target "$1"; }
fi

rows=()
failed=()
for target in "${targets[@]}"; do
    log=$CARGO_TARGET_DIR/$target.log
    began=$SECONDS
    if check "$target" >"$log" 2>&1; then
        result=PASS
    else
        result=FAIL
        failed+=("$target")
    fi
    rows+=("$(printf '%-28s %s %4d s' "$target" $result $((SECONDS - began)))")
    echo "${rows[-1]}"
done

for target in "${failed[@]}"; do
    echo
    echo "=== $target"
    # What is wrong, not how far the build had come.
    grep -vE '^ *(Compiling|Checking|Downloading|Downloaded|Updating|Locking|Adding) ' "$CARGO_TARGET_DIR/$target.log" |
        tail -n 60
done

echo
echo "type checks, nothing linked or run:"
printf '%s\n' "${rows[@]}"
[ ${#failed[@]} -eq 0 ]
