#!/usr/bin/env bash
# A small Debian guest with a real SCSI layer, device-mapper, LVM and Salt, made from packages of this machine's own sources:
#   lab/guest/image.sh OUT PYTHON   OUT/root.raw, OUT/vmlinuz, OUT/initrd.gz (root; a minute). PYTHON: has Salt
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
python=$2
root=$out/root
mkdir -p "$out"
rm -rf "$root"

# shellcheck disable=SC1091
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
sources=
for own in /etc/apt/sources.list /etc/apt/sources.list.d/debian.sources; do
    [[ ! -s $own ]] || sources=$own
done
[[ -n $sources ]] || { echo 'guest: no Debian mirror stands in /etc/apt/sources.list; add one' >&2; exit 1; }
mmdebstrap --quiet --mode=root --variant=minbase --skip=check/empty --aptopt='Acquire::Languages "none"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --include=udev,kmod,python3,mount,fdisk,e2fsprogs,xfsprogs,btrfs-progs,lvm2,procps,busybox-static,iproute2,psmisc \
    "$suite" "$root" "$sources"

# The cloud kernel has vmw_pvscsi, device-mapper, xfs, btrfs, softdog and virtio's network and console as modules, ext4 built in.
package=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends: linux-image-/{print $2; exit}')
version=${package#linux-image-}
mkdir -p "$out/dl"
(
    cd "$out/dl"
    compgen -G "${package}_*.deb" >/dev/null || apt-get download --quiet "$package"
    dpkg-deb --fsys-tarfile "$package"_*.deb | tar -x -C "$root" --keep-directory-symlink ./boot ./lib
)
chroot "$root" depmod "$version"
mv "$root/boot/vmlinuz-$version" "$out/vmlinuz"

(cd "$here/../.." && "$python" -m lab.guest.salt_tree "$root")
chroot "$root" python3 -m compileall -q -j2 /usr/lib/python3 /usr/lib/python3.* /usr/local/lib >/dev/null || true # what is for another Python
mkdir -p "$root/var/lab"

install -m 0755 "$here/init" "$root/usr/local/sbin/guest-init"
install -m 0644 "$here/61-vmware-id.rules" "$root/etc/udev/rules.d/"

initrd=$out/initrd
rm -rf "$initrd"
mkdir -p "$initrd"/{bin,dev,proc,sys,new,modules}
cp "$root/bin/busybox" "$initrd/bin/"
{
    printf '#!/bin/busybox sh\nB=/bin/busybox; $B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev\n'
    for module in virtio_pci virtio_blk; do
        chroot "$root" modprobe -S "$version" --show-depends "$module" | awk '/^insmod/{print $2}'
    done | awk '!seen[$0]++' | while read -r path; do
        cp "$root/$path" "$initrd/modules/"
        echo "\$B insmod /modules/${path##*/}"
    done
    # shellcheck disable=SC2016
    printf '%s\n' 'i=0; until [ -b /dev/vda ] || [ $i -gt 200 ]; do $B usleep 50000; i=$((i+1)); done' \
        '$B mount -t ext4 -o noatime /dev/vda /new || exec $B sh' \
        '$B mount --move /dev /new/dev; $B umount /sys; $B umount /proc' \
        'exec $B switch_root /new /usr/local/sbin/guest-init'
} >"$initrd/init"
chmod +x "$initrd/init"
(cd "$initrd" && find . | cpio -o -H newc -R 0:0 --quiet) | gzip -1 >"$out/initrd.gz"

rm -rf "$root"/boot/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* \
    "$root"/usr/lib/modules/"$version"/kernel/{sound,drivers/gpu,drivers/infiniband,drivers/hv,drivers/net/{ethernet,wireless,wwan,hyperv,bonding,team}}
rm -f "$out/root.raw"
truncate -s 1400M "$out/root.raw"
mkfs.ext4 -q -F -L root -E lazy_itable_init=1,root_owner=0:0 -d "$root" "$out/root.raw"
rm -rf "$root" "$initrd"
