#!/usr/bin/env bash
# Builds the documentation from docs/ into build/docs/html; a warning is an error. Its tools live in build/docs-venv.
#   scripts/docs.sh           build
#   scripts/docs.sh --tools   only make build/docs-venv from requirements/docs.txt
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh
[[ -x $venv/bin/uv ]] || fail "$venv has no uv; run \`make setup\` first"

tools=build/docs-venv
lock=requirements/docs.txt

make_tools() {
    local want
    want=$(digest_of "$lock"; "$venv/bin/python" -V)
    [[ $(cat "$tools/.made-from" 2>/dev/null) != "$want" ]] || return 0
    echo "docs: making $tools from $lock (once, about ten seconds)"
    export_pip_settings_for_uv
    "$venv/bin/uv" venv --quiet --clear --python "$venv/bin/python" "$tools" &&
        "$venv/bin/uv" pip install --quiet --python "$tools/bin/python" --no-deps --requirements "$lock" ||
        fail "the packages of $lock could not be installed; see the lines above (is a package index reachable?)"
    echo "$want" >"$tools/.made-from"
}

mkdir -p build/docs
exec 9>build/docs/.lock
flock --wait 300 9 || fail "another build has held build/docs/.lock for five minutes; end it and try again"
make_tools
[[ ${1:-} != --tools ]] || exit 0
"$tools/bin/python" -m sphinx --builder html --quiet --fresh-env --write-all --fail-on-warning --nitpicky \
    --doctree-dir build/docs/doctrees docs build/docs/html
echo "docs: build/docs/html/index.html"
