#!/usr/bin/env bash
# Proves that the reactor's and the executors' tests and the conformance matrix pass as Windows programs (IOCP and AFD)
# under Wine, on a Debian machine. What passes here is evidence about our use of these interfaces, not about Windows:
# the hosted runners have that. Installs Debian's Rust, mingw and Wine as root where they are missing.
# Takes about 8 minutes the first time, std included. Usage: ci/windows.sh [tests|matrix|all]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=ci/debian.sh
. ci/debian.sh

part=${1:-all}
debian_rust gcc-mingw-w64-x86-64 wine wine64

triple=x86_64-pc-windows-gnu
base=${CARGO_TARGET_DIR:-$PWD/target}
case $base in /*) ;; *) base=$PWD/$base ;; esac
work=$base/windows
export CARGO_TARGET_DIR=$work/build
mkdir -p "$work/link" "$work/dll"

# Rust 1.85 links two start-up objects on windows-gnu that building std does not make.
for object in rsbegin rsend; do
    [ -e "$work/link/$object.o" ] || "$RUSTC" --target $triple --emit=obj --crate-type=lib -O \
        -o "$work/link/$object.o" "$("$RUSTC" --print sysroot)/lib/rustlib/src/rust/library/rtstartup/$object.rs"
done
export RUSTFLAGS="${RUSTFLAGS:-} -L native=$work/link -Clink-arg=-L$work/link"

# std takes its random bytes from bcryptprimitives.dll, which Wine has only since version 9: one function, forwarded.
if [ ! -e "$work/dll/bcryptprimitives.dll" ]; then
    cat >"$work/dll/bcryptprimitives.c" <<'C'
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(void *buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length > 0x10000 ? 0x10000 : (ULONG)length;
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
C
    x86_64-w64-mingw32-gcc -shared -O2 -o "$work/dll/bcryptprimitives.dll" "$work/dll/bcryptprimitives.c" -ladvapi32
fi

export WINEPREFIX=$work/prefix WINEDEBUG=-all
WINEPATH="Z:$(printf %s "$work/dll" | tr / '\\')"
export WINEPATH
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_RUNNER=wine
# Stops the server of this prefix only.
trap 'wineserver -k || true' EXIT
wineboot --init >/dev/null 2>&1 || true

build_std() { # cargo's subcommand, arguments
    local subcommand=$1
    shift
    debian_cargo "$subcommand" -Zbuild-std=std,panic_unwind --target $triple --locked "$@"
}

if [ "$part" != matrix ]; then
    echo "=== tests under $(wine --version)"
    build_std test --package untether --package untether-executors --lib --tests
fi
if [ "$part" != tests ]; then
    echo "=== matrix under $(wine --version)"
    build_std run --release --package untether-matrix
fi
