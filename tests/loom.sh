#!/bin/sh
# Model checks of leases, shards, pool and folding: every order the memory model allows, up to
# three preemptions..
set -eu
cd "$(dirname "$0")/.."
RUSTFLAGS="--cfg loom ${RUSTFLAGS:-}" CARGO_TARGET_DIR=target/loom \
    cargo test --quiet --release -p highwater-loom instrument::model "$@"
