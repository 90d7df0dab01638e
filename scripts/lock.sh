#!/usr/bin/env bash
# Resolves each requirements/*.in that stands below into a complete pinned list (*.txt), for Linux and Python 3.10 to 3.14.
#   scripts/lock.sh             keeps the versions that are pinned already
#   scripts/lock.sh --upgrade   takes the newest ones
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
[[ -x $venv/bin/uv ]] || fail "$venv has no uv; run \`make setup\` first"

lock() { # name of the list, then options of uv
    local list=requirements/$1
    "$venv/bin/uv" pip compile --quiet --universal --python-version 3.10 --no-emit-index-url \
        --no-annotate --custom-compile-command 'make lock' "${@:2}" "$list.in" --output-file "$list.txt"
    # The list is for Linux only, so the marker that says so on every line is noise.
    sed -i -E "s/ (and|;) sys_platform (== 'linux'|!= 'win32')//; /sys_platform == 'win32'/d; s/^# timelib$//; /^# The following packages were excluded/d; /^$/d" "$list.txt"
}

export_pip_settings_for_uv
# timelib is left out: it has no wheels, so it would ask every machine for a C compiler, and salt runs without it.
lock dev --override requirements/overrides.txt --no-emit-package timelib "$@"
lock docs "$@"
for line in 3006 3007 3008; do
    lock "salt-$line" --override requirements/overrides.txt --no-emit-package timelib "$@"
done
