#!/bin/sh
# Miri over the tests of the modules with `unsafe`, where there is a Miri (the nightly must have
# the component). Ticks are then nanoseconds of `Instant`.
set -eu
cd "$(dirname "$0")/.."
cargo +nightly miri --version >/dev/null 2>&1 || { echo "SKIPPED: no Miri"; exit 0; }
PROPTEST_CASES=2 MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks ${MIRIFLAGS:-}" \
    cargo +nightly miri test --lib -- \
    instrument::counter instrument::lease instrument::query instrument::storage \
    instrument::histogram::tests::what_is_recorded_is_folded_once \
    instrument::histogram::tests::a_recycled_row_starts_empty_and_its_chunks_come_back
