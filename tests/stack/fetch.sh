#!/bin/sh
# Fetches the real servers that tests/stack.rs pushes to, into DEST/bin (default: .tools of this repository).
#
#   tests/stack/fetch.sh [DEST [SUITE...]]        (suites tried in turn; default: sid trixie)
#
# Gives prometheus, promtool, alertmanager, amtool, victoria-metrics, vmagent, vmalert from Debian's newer suites,
# unpacked and never installed; rotel-agent, an OTLP collector, from the `rotel` wheel; Python's prometheus_client and yaml,
# into DEST/python; and grafatui, which draws Grafana's dashboards in a terminal, from crates.io. Needs apt-get, dpkg, python3
# with pip, cargo; about 300 MB, a minute, and a few more to build grafatui. Whatever is there already is left alone. Hosts
# are those that apt, pip and cargo are configured for: none is named here.
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
dest=${1:-$here/.tools}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- sid trixie
mkdir -p "$dest/bin"
dest=$(cd "$dest" && pwd)
work=$dest/.work
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM

# The first stanza of the machine's own apt sources, with another suite.
sources() {
    if [ -f /etc/apt/sources.list.d/debian.sources ]; then
        sed -e '/^[[:space:]]*$/,$d' -e "s/^Suites:.*/Suites: $1/" /etc/apt/sources.list.d/debian.sources >"$2/suite.sources"
    else
        sed -n -e "/^deb /{s/^\(deb \(\[[^]]*\] \)\{0,1\}[^ ]* \)[^ ]*/\1$1/p;q}" /etc/apt/sources.list >"$2/suite.list"
    fi
}

# Downloads PACKAGES of SUITE and unpacks them to $work/root. apt's own state stays untouched.
unpack() {
    suite=$1
    shift
    rm -rf "$work"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/parts" "$work/debs"
    : >"$work/status"
    sources "$suite" "$work/parts"
    options="-o Dir::Etc::SourceList=/dev/null -o Dir::Etc::SourceParts=$work/parts
        -o Dir::State=$work -o Dir::State::Lists=$work/lists -o Dir::State::status=$work/status
        -o Dir::Cache=$work/cache -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::Retries=3
        -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
        -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false"
    # shellcheck disable=SC2086  # the options are words
    (cd "$work/debs" && apt-get -qq $options update && apt-get -qq $options download "$@") || return 1
    for deb in "$work"/debs/*.deb; do
        dpkg -x "$deb" "$work/root" || return 1
    done
}

servers() {
    for suite in "$@"; do
        if unpack "$suite" prometheus promtool prometheus-alertmanager victoria-metrics; then
            for binary in prometheus promtool amtool victoria-metrics vmagent vmalert; do
                mv -f "$work/root/usr/bin/$binary" "$dest/bin/"
            done
            # Debian's alertmanager reads its templates from a path under /usr that is compiled in: make it relative
            # (of the same length) and start it from where the templates are.
            mkdir -p "$dest/share"
            rm -rf "$dest/share/am"
            mv "$work/root/usr/share/prometheus/alertmanager" "$dest/share/am"
            sed 's#/usr/share/prometheus/alertmanager#././././././././././././././././am#g' \
                "$work/root/usr/bin/prometheus-alertmanager" >"$dest/bin/alertmanager.bin"
            cat >"$dest/bin/alertmanager" <<'WRAPPER'
#!/bin/sh
bin=$(cd "$(dirname "$0")" && pwd)
cd "$bin/../share" && exec "$bin/alertmanager.bin" "$@"
WRAPPER
            chmod 755 "$dest"/bin/*
            echo "$suite" >"$dest/suite"
            return 0
        fi
        echo "fetch.sh: suite $suite did not work, trying the next" >&2
    done
    return 1
}

# pip installs PACKAGES without what they depend on: wheel DIRECTORY PACKAGE
wheel() {
    rm -rf "$work"
    mkdir -p "$work"
    if python3 -m pip --version >/dev/null 2>&1; then
        python="python3"
    else
        python3 -m venv "$work/venv" && python="$work/venv/bin/python"
    fi
    "$python" -m pip install --quiet --root-user-action=ignore --no-deps --target "$1" "$2"
}

collector() {
    # A pre-release, hence the exact version.
    wheel "$work/wheel" "rotel==${ROTEL_VERSION:-0.0.1a15}" || return 1
    agent=$(find "$work/wheel" -name rotel-agent -type f -size +1M | head -n 1)
    [ -n "$agent" ] || return 1
    mv -f "$agent" "$dest/bin/rotel-agent"
    chmod 755 "$dest/bin/rotel-agent"
}

# What tests/stack/otlp2prom.py runs with, which stands between OTLP and a Prometheus without a receiver for it.
bridge() {
    python3 -m venv "$dest/bridge" || return 1
    "$dest/bridge/bin/python" -m pip install --quiet requests cramjam opentelemetry-proto grpcio-tools
}

failed=
[ -x "$dest/bin/victoria-metrics" ] && [ -x "$dest/bin/alertmanager" ] || servers "$@" || failed="$failed servers"
[ -x "$dest/bin/rotel-agent" ] || collector || failed="$failed rotel-agent"
# Built without optimisation: it draws one screen.
[ -x "$dest/bin/grafatui" ] ||
    CARGO_TARGET_DIR="$dest/.grafatui" CARGO_PROFILE_DEV_DEBUG=0 \
        cargo install --quiet --locked --debug --root "$dest" grafatui || failed="$failed grafatui"
rm -rf "$dest/.grafatui"
for module in prometheus_client:prometheus-client yaml:pyyaml standardwebhooks:standardwebhooks; do
    [ -d "$dest/python/${module%:*}" ] || wheel "$dest/python" "${module#*:}" || failed="$failed ${module#*:}"
done
[ -d "$dest/bridge" ] || bridge || failed="$failed bridge"
if [ -n "$failed" ]; then
    echo "fetch.sh: could not fetch:$failed" >&2
    exit 1
fi
echo "fetch.sh: $dest/bin holds $(ls "$dest/bin" | tr '\n' ' ')"
