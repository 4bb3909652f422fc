#!/bin/sh
# Checks what `examples/dashboards.rs` wrote to DIR with tools that nobody here wrote:
#
#   sh tests/grafana/check.sh DIR [TOOLS]        (default: .tools)
#
# - every dashboard against Grafana's JSON schemas, strictly; read and written by its foundation SDK (PyPI); against the
#   types of npm's @grafana/schema
# - every YAML file is YAML
# - every rule file by promtool, lint included, and by vmalert; a Prometheus and a vmalert are started with them, and say
#   that they run as many rules as the files hold
# - the runbook has a section for every rule
#
# Installs the Python and npm packages into TOOLS/grafana where they lack.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
dir=$(cd "$1" && pwd)
tools=${2:-$here/../../.tools}
mkdir -p "$tools/grafana"
tools=$(cd "$tools" && pwd)
python=$tools/grafana/python/bin/python
modules=$tools/grafana/npm/node_modules
"$python" -c 'import jsonschema, yaml, grafana_foundation_sdk' 2>/dev/null || {
    python3 -m venv "$tools/grafana/python"
    "$python" -m pip install --quiet jsonschema pyyaml grafana-foundation-sdk
}
[ -d "$modules/@grafana/schema" ] && [ -d "$modules/typescript" ] ||
    npm install --silent --no-audit --no-fund --prefix "$tools/grafana/npm" @grafana/schema typescript >/dev/null
work=$(mktemp -d)
# What was started ends with us, however that is.
started=
trap 'for pid in $started; do kill "$pid" 2>/dev/null || true; done; wait; rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

dashboards=$(find "$dir" -name '*.json' | sort)
[ "$(echo "$dashboards" | wc -l)" -eq 6 ] || { echo "there should be 3 flavours of 2 dashboards: $dashboards"; exit 1; }
# shellcheck disable=SC2086  # paths of ours, without spaces
{
    "$python" "$here/validate.py" $dashboards
    "$python" "$here/roundtrip.py" $dashboards
    node "$here/types.mjs" "$modules" "$work/types" $dashboards
}
find "$dir" -name '*.yaml' | sort | while read -r file; do
    "$python" -c 'import sys, yaml; yaml.safe_load(open(sys.argv[1]))' "$file" || { echo "$file is no YAML"; exit 1; }
done
"$python" "$here/rules.py" links "$dir"

for flavour in prometheus prometheus-classic; do
    "$tools/bin/promtool" check rules --lint=all --lint-fatal "$dir/rules/$flavour"/*.yaml >"$work/said" 2>&1 ||
        { cat "$work/said"; exit 1; }
done
"$tools/bin/vmalert" -dryRun -rule="$dir/rules/victoriametrics/*.yaml" -datasource.url=http://127.0.0.1:1 \
    -notifier.blackhole >"$work/said" 2>&1 || { cat "$work/said"; exit 1; }

port() { "$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
prometheus=$(port)
printf 'rule_files: ["%s/rules/prometheus/*.yaml"]\n' "$dir" >"$work/prometheus.yml"
"$tools/bin/prometheus" --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/data" \
    --web.listen-address="127.0.0.1:$prometheus" >"$work/prometheus.log" 2>&1 &
started="$started $!"
victoria=$(port)
"$tools/bin/victoria-metrics" -storageDataPath="$work/vm" -httpListenAddr="127.0.0.1:$victoria" \
    -retentionPeriod=1d -memory.allowedBytes=128MB >"$work/victoria.log" 2>&1 &
started="$started $!"
alert=$(port)
"$tools/bin/vmalert" -rule="$dir/rules/victoriametrics/*.yaml" -datasource.url="http://127.0.0.1:$victoria" \
    -notifier.blackhole -evaluationInterval=1s -httpListenAddr="127.0.0.1:$alert" >"$work/vmalert.log" 2>&1 &
started="$started $!"
"$python" "$here/rules.py" served "http://127.0.0.1:$prometheus" "$dir/rules/prometheus" ||
    { tail -n 20 "$work/prometheus.log"; exit 1; }
"$python" "$here/rules.py" served "http://127.0.0.1:$alert" "$dir/rules/victoriametrics" ||
    { tail -n 20 "$work/vmalert.log"; exit 1; }
