#!/usr/bin/env bash
# Make this machine ready: system packages, .venv with pinned packages, torch, the native SIP extension.
#
#   deploy/setup.sh [voices] [cascade] [test]
#
# voices   also the speech synthesisers that demo, eval and training call with
# cascade  also what the engine `cascade` runs on: the synthesisers, and the network that finds speech
# test     also the telephone peers, linters, test tools and Triton, and the SIP extension with assertions compiled in
#
# Safe to repeat: what is there stays, and a second run takes seconds. Read from the environment:
#   OFFHOOK_TORCH_INDEX          package index to take torch from, instead of a local CPU wheel or the default build
#   OFFHOOK_PJPROJECT_TARBALL    PJSIP's source, instead of the one in Debian's asterisk source package
set -euo pipefail
cd "$(dirname "$0")/.."

TORCH=2.13.0
TRITON=3.9.0 # for tests beside a torch without CUDA; a build with CUDA brings the version it was made with
RUN_PACKAGES="build-essential swig pkg-config ca-certificates xz-utils libssl-dev libsrtp2-dev libopus-dev libspeex-dev
    libspeexdsp-dev uuid-dev redis-server util-linux"
VOICE_PACKAGES="espeak-ng libespeak-ng1 flite libflite1 festival festvox-kallpc16k festvox-kdlpc16k"
TEST_PACKAGES="sip-tester baresip prometheus iproute2 chromium
    kamailio systemd coturn linphone-cli"
STATE=.setup # what has been done; ignored by git

say() { printf 'setup: %s\n' "$*"; }

fail() {
    printf 'setup: %s\n' "$@" >&2
    exit 1
}

# The newest supported interpreter that is called python3, or one of the versions by name.
find_python() {
    local candidate
    for candidate in python3 python3.13 python3.12 python3.11; do
        if command -v "$candidate" >/dev/null &&
            "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# A python without its headers or venv module cannot serve; the system's own gets them by apt.
python_packages() {
    local python
    python=$(find_python)
    if [ -z "$python" ]; then
        echo python3 python3-venv python3-dev
    elif [ ! -x .venv/bin/python ] && ! "$python" -c 'import ensurepip' 2>/dev/null; then
        echo "$python-venv"
    fi
    if [ -n "$python" ] && [ ! -e "$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then
        echo "$python-dev"
    fi
}

# Installed services stay off: Offhook starts its own Redis, and tests their own Prometheus.
install_packages() {
    local root=() policy=/usr/sbin/policy-rc.d
    command -v apt-get >/dev/null || fail "this machine has no apt-get. Install these packages' equivalents: $*," \
        "then run \`make\` again with dpkg-query answering for them; Debian 12 is what we support."
    local command="apt-get install -y --no-install-recommends $*"
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
            fail "system packages are missing, and this user cannot install them. As root, run:" "  $command"
        fi
        root=(sudo)
    fi
    say "installing $*"
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | "${root[@]}" tee "$policy" >/dev/null
        "${root[@]}" chmod +x "$policy"
        # shellcheck disable=SC2064
        trap "${root[*]} rm -f $policy" EXIT
    fi
    "${root[@]}" apt-get -qq update || say "apt-get update failed; trying with the lists that are there"
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive $command >"$STATE/apt.log" 2>&1 || {
        tail -n 5 "$STATE/apt.log" >&2
        fail "apt-get could not install them (see above). Mend that, or run it by hand:" "  $command"
    }
    local service
    for service in redis-server prometheus kamailio coturn; do
        case " $* " in *" $service "*) "${root[@]}" systemctl disable -q "$service" 2>/dev/null || true ;; esac
    done
}

make_venv() {
    local python
    python=$(find_python)
    [ -n "$python" ] || fail "Python 3.11 to 3.13 is missing. As root, run: apt-get install python3 python3-venv python3-dev"
    if [ ! -x .venv/bin/python ]; then
        say "making .venv with $("$python" -V)"
        "$python" -m venv .venv || fail "the virtual environment could not be made; remove .venv and try again."
    fi
    .venv/bin/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
        fail ".venv has $(.venv/bin/python -V), but we need 3.11 to 3.13; remove .venv and try again."
}

pip_install() {
    .venv/bin/python -m pip install -q --disable-pip-version-check "$@"
}

# A lock file is exact, so dependencies need no solving; the stamp is its hash.
install_locked() {
    local file=$1 stamp=$STATE/$1.sha256 hash
    hash=$(cat "$file" pyproject.toml | sha256sum)
    [ "$(cat "$stamp" 2>/dev/null)" != "$hash" ] || return 0
    say "installing $(grep -c == "$file") pinned Python packages of $file"
    pip_install --no-deps -r "$file" || fail "pip could not install $file (see above); check network and disk, then repeat."
    printf '%s' "$hash" >"$stamp"
}

install_torch() {
    .venv/bin/python -c '
import sys, importlib.metadata as installed
try: version = installed.version("torch")
except installed.PackageNotFoundError: sys.exit(1)
sys.exit(not (2, 11) <= tuple(int(part) for part in version.split(".")[:2]) < (2, 14))' 2>/dev/null && return 0
    local began=$SECONDS how
    if [ -n "${OFFHOOK_TORCH_INDEX:-}" ]; then
        how="from OFFHOOK_TORCH_INDEX"
        say "installing torch $TORCH $how"
        pip_install --index-url "$OFFHOOK_TORCH_INDEX" "torch==$TORCH" ||
            fail "OFFHOOK_TORCH_INDEX names an index that gave no torch $TORCH (see above); correct it, or unset it."
    elif pip_install --no-index --no-deps "torch==$TORCH" 2>/dev/null; then
        how="from a local wheel"
    else
        how="the default build"
        say "installing torch $TORCH, $how: several GB with CUDA. A CPU-only index in OFFHOOK_TORCH_INDEX takes 0.2 GB"
        pip_install -c requirements.txt "torch==$TORCH" ||
            fail "torch $TORCH could not be installed (see above); check network and disk, or set OFFHOOK_TORCH_INDEX."
    fi
    say "torch $TORCH, $how: $(du -sh .venv/lib/python*/site-packages/torch | cut -f 1), $((SECONDS - began)) s"
}

# Not in the lock file, whose next change would put this version over the one that a CUDA build of torch needs.
install_triton() {
    .venv/bin/python -c '
import re, sys, importlib.metadata as installed
if any(re.match(r"triton\b", wanted) for wanted in installed.requires("torch") or ()): sys.exit(0)
try: sys.exit(installed.version("triton") != sys.argv[1])
except installed.PackageNotFoundError: sys.exit(1)' "$TRITON" && return 0
    say "installing triton $TRITON for the GPU kernels' tests: 0.3 GB, 1 GB on disk"
    pip_install --no-deps "triton==$TRITON" || fail "pip could not install triton $TRITON (see above); repeat."
}

install_offhook() {
    local stamp=$STATE/offhook.sha256 hash
    hash=$(sha256sum <pyproject.toml)
    if [ "$(cat "$stamp" 2>/dev/null)" = "$hash" ] && [ -x .venv/bin/offhook ]; then return; fi
    pip_install --no-deps --no-build-isolation -e . || fail "the command offhook could not be installed (see above)."
    printf '%s' "$hash" >"$stamp"
}

wants() { case " $groups " in *" $1 "*) return 0 ;; *) return 1 ;; esac; }

groups="$*"
for group in "$@"; do
    case $group in voices | cascade | test) ;; *) fail "unknown group '$group'; use voices, cascade, test, or nothing" ;; esac
done
if wants test; then groups="$groups cascade"; fi
if wants cascade; then groups="$groups voices"; fi

mkdir -p "$STATE"
packages="$RUN_PACKAGES $(python_packages)"
if wants voices; then packages="$packages $VOICE_PACKAGES"; fi
if wants test; then packages="$packages $TEST_PACKAGES"; fi
# shellcheck disable=SC2086
missing=$(missing_packages $packages)
# shellcheck disable=SC2086
if [ -n "$missing" ]; then install_packages $missing; fi

make_venv
install_locked requirements.txt
if wants cascade; then install_locked requirements-cascade.txt; fi
if wants test; then install_locked requirements-test.txt; fi
install_torch
if wants test; then install_triton; fi
telephony/native/build.sh "$PWD/.venv/bin/python" release
if wants test; then telephony/native/build.sh "$PWD/.venv/bin/python" assertions "$PWD/$STATE/assertions"; fi
install_offhook
if [ "$SECONDS" -gt 10 ]; then say "ready after $SECONDS s"; fi
