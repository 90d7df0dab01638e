#!/usr/bin/env bash
# Says in one sentence why the lab cannot run on this machine; prints nothing if it can.
set -euo pipefail

fail() {
    echo "preflight: $*" >&2
    exit 1
}

[[ $(uname -s) == Linux ]] || fail "the lab mounts disks and makes network namespaces, so it needs Linux; this is $(uname -s)"
[[ $(id -u) == 0 ]] || fail "the lab mounts disks and makes network namespaces, so it needs root; run \`sudo make …\`"
[[ -c /dev/fuse ]] || modprobe fuse 2>/dev/null || true
[[ -c /dev/fuse ]] || fail "the lab's disks are served over FUSE and /dev/fuse is missing; load the kernel module fuse, or give the container --device /dev/fuse"
