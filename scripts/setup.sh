#!/usr/bin/env bash
# Makes build/venv from the pinned list requirements/dev.txt. A second call does nothing.
#   PYTHON=python3.12 scripts/setup.sh    with another interpreter (3.10 or newer)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

python=${PYTHON:-python3}
lock=requirements/dev.txt

# What the venv depends on: the pinned list and the interpreter.
fingerprint() {
    digest_of "$lock"
    "$python" -c 'import sys; print(sys.version, sys.base_prefix)'
}

check_python() {
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "$python is missing or older than 3.10; install it, or name another one with PYTHON=…"
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make virtual environments; run \`make system\` as root (Debian package python3-venv)"
}

make_venv() {
    [[ $("$venv/bin/python" -V 2>/dev/null) == "$("$python" -V)" ]] && return
    rm -rf "$venv"
    "$python" -m venv "$venv"
}

# Every version is in the list already, so nothing is resolved; the list also pins what builds salt's source.
install_with_uv() {
    "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps "$(grep -o '^uv==[0-9.]*' "$lock")" || return 1
    export_pip_settings_for_uv
    "$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps \
        --build-constraints "$lock" --compile-bytecode --requirements "$lock"
}

install_with_pip() {
    PIP_CONSTRAINT=$lock "$venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --requirement "$lock"
}

check_python
mkdir -p build
exec 9>build/.setup.lock
flock --wait 900 9 || fail "another setup has held build/.setup.lock for 15 minutes; end it and try again"

want=$(fingerprint)
if [[ $(cat "$venv/.made-from" 2>/dev/null) == "$want" ]]; then
    touch "$venv/.made-from"
    exit 0
fi

echo "setup: making $venv from $lock (once, about a minute)"
started=$SECONDS
make_venv
install_with_uv || { echo "setup: uv did not succeed, trying pip" >&2; install_with_pip; } ||
    fail "the packages of $lock could not be installed; see the lines above (is a package index reachable?)"
"$venv/bin/python" -W ignore -c 'import salt.version, pyVmomi, pyinotify, pytest, saltfactories, hypothesis' ||
    fail "$venv lacks a package that it was to have; run \`make clean\` and try again"
echo "$want" >"$venv/.made-from"
echo "setup: $venv is ready after $((SECONDS - started)) s"
