#!/bin/sh
# Instruction budgets of the hot path: what one operation costs under callgrind, which counts the
# same on a busy machine as on an idle one. Fails when a budget is exceeded by more than 5%.
# The engine's own threads are in the count, hence two million times.
# `tests/instructions.sh --print` prints what is measured, to set the budgets below anew: they
# hold for the toolchain of CI, x86-64, release profile, no link-time optimisation.
set -eu
cd "$(dirname "$0")/.."
command -v valgrind >/dev/null || { echo "SKIPPED: no valgrind"; exit 0; }
cargo build --quiet --release -p highwater-instructions
program=${CARGO_TARGET_DIR:-target}/release/highwater-instructions

# case     instructions, the loop around it included; quiet: of a series that is seldom recorded
budgets="
quiet_timed  288
quiet_record 257
timed        122
try_timed    127
thinned       40
record        76
counter       14
watch          6
macro        241
by_text      145
disabled       6
"

collected() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" "$1" "$2" 2>&1 |
        awk '/Collected/ { print $4; found = 1 } END { exit !found }'
}

failed=0
for case in $(echo "$budgets" | awk 'NF { print $1 }'); do
    few=$(collected "$case" 10000)
    many=$(collected "$case" 2010000)
    budget=$(echo "$budgets" | awk -v case="$case" '$1 == case { print $2 }')
    awk -v case="$case" -v few="$few" -v many="$many" -v budget="$budget" 'BEGIN {
        # An instruction more is allowed where 5% is less than that.
        cost = (many - few) / 2000000; most = budget * 1.05; if (most < budget + 1) most = budget + 1
        printf "%-12s %6.1f instructions, budget %d\n", case, cost, budget
        if (cost < 1) { print "  that cannot be: nothing was measured"; exit 1 }
        exit cost > most
    }' || { echo "  over budget: $case"; failed=1; }
done
[ "${1:-}" = "--print" ] || exit $failed
