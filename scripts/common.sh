# Sourced by the other scripts: where the venv is, how to fail, how to install a pinned package.
# shellcheck shell=bash
venv=build/venv

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

pip_setting() { # option, environment variable
    if [[ -n ${!2:-} ]]; then echo "${!2}"; else "$venv/bin/pip" config get "global.$1" 2>/dev/null || true; fi
}

# uv reads settings of its own only: tell it what pip was told, unless it was told something itself.
export_pip_settings_for_uv() {
    local index extra cert links
    index=$(pip_setting index-url PIP_INDEX_URL)
    extra=$(pip_setting extra-index-url PIP_EXTRA_INDEX_URL)
    cert=$(pip_setting cert PIP_CERT)
    links=$(pip_setting find-links PIP_FIND_LINKS)
    [[ -z $index || -n ${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-} ]] || export UV_DEFAULT_INDEX=$index
    [[ -z $extra || -n ${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-} ]] || export UV_INDEX=$extra
    [[ -z $cert || -n ${SSL_CERT_FILE:-} ]] || export SSL_CERT_FILE=$cert
    [[ -z $links || -n ${UV_FIND_LINKS:-} ]] || export UV_FIND_LINKS=${links// /,}
    # The machine's own certificates, as Debian's pip does: a company's index may be signed by a CA of its own.
    export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180} UV_LINK_MODE=${UV_LINK_MODE:-copy}
}

# Digest of the given files' names and contents, so that a touched file alone causes no work.
digest_of() {
    sha256sum -- "$@" | sha256sum | cut -d' ' -f1
}
