#!/bin/sh
# jemalloc as a process' allocator: its figures, heap profiles that are really written, and
# attribution over it. A package of its own, outside the workspace: some minutes of C to compile.
set -eu
cd "$(dirname "$0")/.."
# The same versions of everything else, so that what is compiled is used again.
cp Cargo.lock tests/jemalloc/Cargo.lock
CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} cargo test --quiet --manifest-path tests/jemalloc/Cargo.toml
