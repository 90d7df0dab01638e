#!/usr/bin/env bash
# Tries every line of Salt on every Python that it supports and this machine has (noxfile.py; root, Linux).
#   scripts/matrix.sh                        all of it: tests, and scenarios with that Salt's own daemons
#   scripts/matrix.sh -k '3006 and 3.11'     some of it; what nox is to be told
#   scripts/matrix.sh -- tests/guest/test_x.py -k word    what pytest is to be told instead, without scenarios
#   scripts/matrix.sh --corner               the part of `make test`: the oldest Salt, end to end
# An interpreter is found as pythonX.Y on PATH, among pyenv's, or among uv's (`build/venv/bin/uv python install X.Y`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
[[ -x $venv/bin/nox && -x $venv/bin/uv ]] || fail "$venv has no nox; run \`make setup\` first"
links=build/nox-pythons

works() { # interpreter, version
    [[ $("$1" -I -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) == "$2" ]]
}

find_python() { # version
    local candidate
    for candidate in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python \
        "$("$venv/bin/uv" python find --no-project --no-python-downloads "$1" 2>/dev/null || true)"; do
        if [[ -x $candidate ]] && works "$candidate" "$1"; then
            echo "$candidate"
            return
        fi
    done
}

# nox looks on PATH only, and a name that is there (pyenv's) may lead to no interpreter.
link_pythons() { # versions
    local version python
    mkdir -p "$links"
    for version in "$@"; do
        rm -f "$links/python$version"
        python=$(find_python "$version")
        [[ -z $python ]] || ln -s "$python" "$links/python$version"
    done
}

export_pip_settings_for_uv
link_pythons 3.10 3.11 3.12 3.13 3.14
PATH=$PWD/$links:$PWD/$venv/bin:$PATH

if [[ ${1:-} != --corner ]]; then
    exec nox --no-error-on-missing-interpreters "$@"
fi
for version in 3.11 3.10; do
    [[ ! -x $links/python$version ]] || exec nox --session "corner-$version"
done
sentence="Salt 3006 runs on Python 3.10 and 3.11, and this machine has neither; install one, or leave this to CI"
[[ ${CI:-} != true ]] || fail "$sentence"
echo "corner: left out: $sentence"
