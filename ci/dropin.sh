#!/usr/bin/env bash
# Measures what the replacement of async-io brings: one echo server written for smol and async-net (compat-tests/dropin),
# built with async-io and with adapters/async-io in its place, side by side in shuffled windows. It proves nothing, so it is
# no part of .ci/run; nothing else should run beside it. Linux only. Takes 3 minutes once built.
# Arguments go to untether-bench: `ci/dropin.sh --rounds 31 --only guests/C=64`.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

target=${CARGO_TARGET_DIR:-target}
cargo build --release --locked --package untether-bench
bench=$target/release/untether-bench
manifest=compat-tests/dropin/Cargo.toml
# The versions that this repository is tested with.
trap 'rm -f compat-tests/dropin/Cargo.lock' EXIT
for build in original ours; do
    cp Cargo.lock compat-tests/dropin/Cargo.lock
    patch=()
    if [ $build = ours ]; then patch=(--config "patch.crates-io.async-io.path=\"$PWD/adapters/async-io\""); fi
    cargo build --release --manifest-path $manifest --target-dir "$target/dropin" ${patch[@]+"${patch[@]}"}
    cp "$target/dropin/release/dropin" "$target/dropin/$build"
    cargo tree --manifest-path $manifest ${patch[@]+"${patch[@]}"} --invert async-io --depth 0
done
original=$target/dropin/original
ours=$target/dropin/ours

echo "=== one thread, on one core: smol::LocalExecutor"
"$bench" --server "original=$original local" --server "ours=$ours local" "$@"
echo "=== one thread beside the main one, on one core: smol::spawn"
"$bench" --server "original=$original spawn" --server "ours=$ours spawn" "$@"
echo "=== two threads beside the main one, on any core: smol::spawn, SMOL_THREADS=2"
two="env SMOL_THREADS=2"
"$bench" --unpinned --server "original=$two $original spawn" --server "ours=$two $ours spawn" "$@"
