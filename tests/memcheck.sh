#!/bin/sh
# valgrind's memcheck over the tests of every module with `unsafe`: clock, storage, shards.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "SKIPPED: no valgrind"; exit 0; }
tests=$(cargo test --lib --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1)
# Memory that is kept for the process' life is no leak of ours. Property tests run fewer cases.
PROPTEST_CASES=4 valgrind --quiet --error-exitcode=1 --leak-check=no "$tests" --test-threads 1 \
    clock:: instrument::counter instrument::histogram instrument::lease instrument::query \
    instrument::shard instrument::storage --skip churn
echo "memcheck found nothing"
