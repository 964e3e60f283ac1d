#!/usr/bin/env bash
# Proves every conformance case on every subject, over real sockets, on each back end of this platform:
#   native    what the platform uses by itself (on Linux also called epoll)
#   portable  polling alone, as on every other platform
#   poll      Linux only: polling on poll(2), which has no edges, so the one-shot path of the reactor runs
# Takes 1-2 minutes a back end once built. Usage: ci/matrix.sh [BACKEND...] [-- arguments for the matrix]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

backends=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    backends+=("$1")
    shift
done
[ $# -eq 0 ] || shift
if [ ${#backends[@]} -eq 0 ]; then
    if [ "$(uname -s)" = Linux ]; then
        backends=(epoll portable poll)
    else
        backends=(native portable)
    fi
fi

matrix() {
    cargo run --release --locked --package untether-matrix -- "$@"
}

failed=()
for backend in "${backends[@]}"; do
    echo "=== matrix on the $backend back end"
    case $backend in
        native | epoll)
            (unset UNTETHER_BACKEND && matrix "$@")
            ;;
        portable)
            UNTETHER_BACKEND=portable matrix "$@"
            ;;
        poll)
            # Its own target directory, so that changing RUSTFLAGS does not rebuild everything twice.
            CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/poll \
                RUSTFLAGS="${RUSTFLAGS:-} --cfg polling_test_poll_backend" matrix "$@"
            ;;
        *)
            echo "no back end is called $backend: native (epoll), portable or poll" >&2
            exit 2
            ;;
    esac || failed+=("$backend")
done

if [ ${#failed[@]} -gt 0 ]; then
    echo "matrix failed on: ${failed[*]}"
    exit 1
fi
echo "matrix passed on: ${backends[*]}"
