#!/bin/sh
# valgrind's memcheck over the tests of every module with `unsafe`: clock, storage, shards, allocator.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "SKIPPED: no valgrind"; exit 0; }
tests=$(cargo test --lib --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
# Memory that is kept for the process' life is no leak of ours. Property tests run fewer cases.
PROPTEST_CASES=4 valgrind --quiet --error-exitcode=1 --leak-check=no "$tests" --test-threads 1 \
    clock:: instrument::counter instrument::histogram instrument::lease instrument::query \
    instrument::shard instrument::storage --skip churn
tests=$(cargo test --test allocator --features allocator --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
# Not the test of rules: samplers read what valgrind hides. It has no 4 TiB either.
valgrind --quiet --error-exitcode=1 --leak-check=no "$tests" --test-threads 1 --skip a_rule --skip cannot_be
echo "memcheck found nothing"
