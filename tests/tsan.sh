#!/bin/sh
# ThreadSanitizer over recording, reading and recycling with a churn of threads. The sanitizer's
# flag is unstable, its runtime comes with every toolchain: hence RUSTC_BOOTSTRAP. std is
# not instrumented, so what it synchronises inside itself looks like a race: what is left out is in
# tests/tsan/suppressions.txt, and two canary races must still be seen.
set -eu
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')
runtime=$(rustc --print sysroot)/lib/rustlib/$host/lib
ls "$runtime" | grep -q tsan || { echo "SKIPPED: this toolchain has no ThreadSanitizer"; exit 0; }
target=${CARGO_TARGET_DIR:-target}/tsan
mkdir -p "$target"
flags="-Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
export TSAN_OPTIONS="suppressions=$PWD/tests/tsan/suppressions.txt halt_on_error=0 exitcode=66"

run() {
    RUSTFLAGS="$flags" CARGO_TARGET_DIR="$target" \
        RUSTC_BOOTSTRAP=1 cargo run --quiet --target "$host" -p highwater-tsan --bin "$1" >"$target/$1.log" 2>&1
}

if run canary || ! grep -q "ThreadSanitizer: data race.*canary::main" "$target/canary.log" ||
    ! grep -q "ThreadSanitizer: data race.*race_in_a_destructor" "$target/canary.log"; then
    cat "$target/canary.log"
    echo "the canary races were not reported"
    exit 1
fi
echo "the canary races are reported"
run churn || { cat "$target/churn.log"; exit 1; }
echo "no race in the churn"
