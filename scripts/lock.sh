#!/usr/bin/env bash
# Resolves requirements/dev.in into the complete pinned list requirements/dev.txt, for Linux and Python 3.10 to 3.14.
#   scripts/lock.sh             keeps the versions that are pinned already
#   scripts/lock.sh --upgrade   takes the newest ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
[[ -x $venv/bin/uv ]] || fail "$venv has no uv; run \`make setup\` first"

export_pip_settings_for_uv
# timelib is left out: it has no wheels, so it would ask every machine for a C compiler, and salt runs without it.
"$venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --no-emit-index-url --no-emit-package timelib \
    --override requirements/overrides.txt --no-annotate --custom-compile-command 'make lock' \
    "$@" requirements/dev.in --output-file requirements/dev.txt
# The list is for Linux only, so the marker that says so on every line is noise.
sed -i -E "s/ (and|;) sys_platform == 'linux'//; s/^# timelib$//; /^# The following packages were excluded/d; /^$/d" requirements/dev.txt
