#!/usr/bin/env bash
# The one list of Debian packages that the lab, the tests and the demo need; installs those that are missing.
#   scripts/system-packages.sh          install what is missing (root)
#   scripts/system-packages.sh --bench  the same, and what the comparison with other products needs
#   scripts/system-packages.sh --peers  the same, and a cluster of Pacemaker
#   scripts/system-packages.sh --guest  the same, and what an emulated guest needs
#   scripts/system-packages.sh --examples the same, and what the worked examples run
#   scripts/system-packages.sh --list   print the list
set -euo pipefail

packages=(
    make            # the entry to everything
    python3         # 3.10 or newer
    python3-venv    # build/venv
    ca-certificates # the package index over TLS
    e2fsprogs       # ext4 on the lab's disks
    xfsprogs        # xfs on the lab's disks
    btrfs-progs     # btrfs on the lab's disks
    lvm2            # volume groups on the tests' loop devices; no volume is activated
    mount           # mount, umount, losetup
    util-linux      # unshare, nsenter, findmnt, blkid, fsfreeze
    kmod            # modprobe fuse, loop, xfs
    iproute2        # the lab's network namespaces
    iputils-ping    # does a node's address still answer?
    procps          # ps, for the lab's own checks
    systemd         # the program alone: the tests shut a manager of their own down; nothing of the machine's is started
    git             # a repository that a master is served from
    linux-libc-dev  # the kernel's headers, which the numbers of system calls are checked against
)
for_bench=(
    resource-agents # ocf:heartbeat:Filesystem, for make bench-detect-peers
    psmisc          # fuser, without which that agent does nothing
)
for_peers=(
    "${for_bench[@]}"
    pacemaker           # the cluster that make bench-peers measures beside this product
    corosync            # its membership; neither daemon is started or enabled here
    pacemaker-cli-utils # cibadmin, crm_mon, crm_resource
)

for_guest=(
    qemu-system-x86 # the guest, under software emulation
    qemu-utils      # qemu-img, for what a guest changes on its root disk
    mmdebstrap      # its root file system
    busybox-static  # its first steps
    cpio            # its initrd
)

for_examples=(
    postgresql # the example of a data base
)

fail() {
    echo "system-packages: $*" >&2
    exit 1
}

missing() {
    local package
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || echo "$package"
    done
}

# The cluster's daemons run in the lab's cells alone: the machine's own are neither started now nor at its next boot.
policy=/usr/sbin/policy-rc.d
forbid_start() {
    [[ -e $policy ]] && return
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
}
stay_down() {
    command -v systemctl >/dev/null || return 0
    systemctl disable --quiet "$@" 2>/dev/null || true
}

if [[ ${1:-} == --list ]]; then
    printf '%s\n' "${packages[@]}"
    exit 0
fi
[[ ${1:-} != --bench ]] || packages+=("${for_bench[@]}")
[[ ${1:-} != --peers ]] || packages+=("${for_peers[@]}")
[[ ${1:-} != --examples ]] || packages+=("${for_examples[@]}")
[[ ${1:-} != --guest ]] || packages+=("${for_guest[@]}")
[[ ${SKIP_SYSTEM_PACKAGES:-} != 1 ]] || exit 0
command -v dpkg-query >/dev/null && command -v apt-get >/dev/null ||
    fail "this is not Debian or a child of it; install what matches ${packages[*]} and set SKIP_SYSTEM_PACKAGES=1"
mapfile -t wanted < <(missing)
[[ ${#wanted[@]} -gt 0 ]] || exit 0
[[ $(id -u) == 0 ]] || fail "${wanted[*]} must be installed by root; run \`sudo make system\`"

echo "system-packages: installing ${wanted[*]}"
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get --quiet=2 --option DPkg::Lock::Timeout=300 --option Dpkg::Use-Pty=0 "$@" >/dev/null; }
daemons=()
for package in corosync pacemaker; do
    [[ " ${wanted[*]} " != *" $package "* ]] || daemons+=("$package")
done
[[ ${#daemons[@]} == 0 ]] || forbid_start
apt update && apt install --yes --no-install-recommends "${wanted[@]}" ||
    fail "apt-get could not install ${wanted[*]}; see the lines above"
[[ ${#daemons[@]} == 0 ]] || stay_down "${daemons[@]}"
