#!/bin/sh
# valgrind's memcheck over the tests of every module with `unsafe`: clock, storage, shards, the
# allocator, a fork that reads what its parent opened, jemalloc's values by name.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "SKIPPED: no valgrind"; exit 0; }

executable() {
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

# PROGRAM FILTER... [-- OPTION...]; a filter that no test has the name of is a mistake.
check() {
    program=$1; shift
    [ -x "$program" ] || { echo "memcheck: the tests do not compile"; exit 1; }
    filters=
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        [ "$("$program" --list "$1" | grep -c ': test$')" -gt 0 ] || { echo "memcheck: no test is called $1"; exit 1; }
        filters="$filters $1"; shift
    done
    [ $# -eq 0 ] || shift
    # Memory that is kept for the process' life is no leak of ours. Property tests run fewer cases.
    # shellcheck disable=SC2086
    PROPTEST_CASES=4 valgrind --quiet --error-exitcode=1 --leak-check=no --child-silent-after-fork=yes \
        "$program" --test-threads 1 $filters "$@"
}

# Not those that churn through threads, which run one after the other here.
check "$(cargo test --lib --no-run --message-format=json 2>/dev/null | executable)" \
    clock:: instrument::counter instrument::histogram instrument::lease instrument::query \
    instrument::storage a_forked_child_does_not_read_its_parent \
    -- --skip churn --skip by_instant
# Not the test of rules: samplers read what valgrind hides. It has no 4 TiB either.
check "$(cargo test --test allocator --features allocator --no-run --message-format=json 2>/dev/null | executable)" \
    -- --skip a_rule --skip cannot_be
echo "memcheck found nothing"
