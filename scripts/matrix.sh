#!/usr/bin/env bash
# Runs the node's side on every supported Python that this machine has, and says which ones it has not (root, Linux).
#   scripts/matrix.sh                     tests/guest and the loading of the Salt files, on each
#   scripts/matrix.sh tests/guest/test_x.py -k word     what else pytest is to be told
#   VERSIONS='3.13 3.14' scripts/matrix.sh              these alone
# An interpreter is found as pythonX.Y on PATH, among pyenv's, or among uv's (`build/venv/bin/uv python install X.Y`).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
[[ -x $venv/bin/uv ]] || fail "$venv has no uv; run \`make setup\` first"
export_pip_settings_for_uv

read -ra versions <<<"${VERSIONS:-3.10 3.11 3.12 3.13 3.14}"
tests=("$@")
[[ ${#tests[@]} -gt 0 ]] || tests=(tests/guest tests/packaging/test_wheel.py tests/packaging/test_bootstrap_block.py)

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

prepare() { # interpreter, directory
    local made_from
    made_from="$("$1" -VV) $(digest_of requirements/dev.txt)"
    [[ $(cat "$2/.made-from" 2>/dev/null) != "$made_from" ]] || return 0
    rm -rf "$2"
    "$venv/bin/uv" venv --quiet --python "$1" "$2"
    "$venv/bin/uv" pip install --quiet --python "$2/bin/python" --no-deps --build-constraints requirements/dev.txt \
        --requirements requirements/dev.txt
    echo "$made_from" >"$2/.made-from"
}

one() { # version
    local python directory=build/matrix/$1
    python=$(find_python "$1")
    if [[ -z $python ]]; then
        results+=("$1 not found on this machine")
        return
    fi
    echo "matrix: Python $1 ($python)"
    if ! prepare "$python" "$directory"; then
        results+=("$1 FAILED: requirements/dev.txt cannot be installed")
    elif "$directory/bin/python" -m pytest --durations=0 -q -p no:cacheprovider "${tests[@]}"; then
        results+=("$1 passed")
    else
        results+=("$1 FAILED")
    fi
}

results=()
for version in "${versions[@]}"; do one "$version"; done
printf 'matrix: Python %s\n' "${results[@]}"
[[ "${results[*]}" == *passed* || "${results[*]}" == *FAILED* ]] || fail "no supported Python was found; install one, for example with \`$venv/bin/uv python install 3.14\`"
[[ "${results[*]}" != *FAILED* ]]
