#!/usr/bin/env bash
# Debian's exportfs for `make examples`, unpacked into build/nfs: installed as a package it would bring a server that starts.
set -euo pipefail

fail() {
    echo "exportfs: $*" >&2
    exit 1
}

cd "$(dirname "$0")/.."
[[ ! -x build/nfs/usr/sbin/exportfs ]] || exit 0
command -v apt-get >/dev/null && command -v dpkg-deb >/dev/null ||
    fail "this is not Debian or a child of it; put an exportfs at build/nfs/usr/sbin/exportfs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
(cd "$work" && { apt-get --quiet=2 download nfs-kernel-server 2>/dev/null ||
    { apt-get --quiet=2 update && apt-get --quiet=2 download nfs-kernel-server; }; }) ||
    fail "apt-get could not fetch nfs-kernel-server; see the lines above"
dpkg-deb --extract "$work"/nfs-kernel-server_*.deb "$work/root"
mkdir -p build
rm -rf build/nfs
cp -r "$work/root" build/nfs
