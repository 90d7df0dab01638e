#!/usr/bin/env bash
# A small Debian guest with a real SCSI layer, device-mapper, LVM and Salt, made from packages of this machine's own sources:
#   lab/guest/image.sh OUT PYTHON   OUT/root.raw, OUT/vmlinuz, OUT/initrd.gz (root; a minute). PYTHON: has Salt
# OUT/packages lists what they were made from. The same packages give the same bytes: `python -m lab.guest image`.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
out=$(realpath -m "$1")
python=$2
root=$out/root

# All that would tell when and where an image was made: the clock, the language that sorts names, the umask, chance.
export SOURCE_DATE_EPOCH=1767225600 LC_ALL=C PYTHONHASHSEED=0 TZ=UTC
umask 022
identity=5ca1ab1e-0000-4000-8000-766d646b6c61 # of the file system, and the seed of its directories' hashes

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
# What packages have compiled themselves holds the moments of its sources. One process for each tree: which of several takes
# a file, and so what its strings share, would be chance.
find "$root" -name __pycache__ -prune -exec rm -rf {} +
for tree in usr/lib usr/local/lib; do
    mapfile -t places < <(cd "$root" && printf '/%s\n' "$tree"/python3*)
    # what is for another Python does not compile
    chroot "$root" python3 -m compileall -q --invalidation-mode unchecked-hash "${places[@]}" >/dev/null || true &
done
wait
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
find "$initrd" -exec touch -hd "@$SOURCE_DATE_EPOCH" {} +
(cd "$initrd" && find . | sort | cpio -o -H newc -R 0:0 --reproducible --quiet) | gzip -1n >"$out/initrd.gz"

{
    chroot "$root" dpkg-query --show --showformat='${Package} ${Version}\n'
    (cd "$out/dl" && ls "$package"_*.deb)
    (cd "$here/../.." && "$python" -m lab.guest.salt_tree --list)
    dpkg-query --show --showformat='with ${Package} ${Version}\n' mmdebstrap e2fsprogs cpio gzip
} >"$out/packages"

# What is of no use in a guest, what apt and dpkg keep of their work, and what is of this machine: its mirror, name and resolver.
rm -rf "$root"/boot/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/etc/apt/sources.list* \
    "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/etc/{passwd,group,shadow,gshadow}- \
    "$root"/usr/lib/modules/"$version"/kernel/{sound,drivers/gpu,drivers/infiniband,drivers/hv,drivers/net/{ethernet,wireless,wwan,hyperv,bonding,team}}
find "$root/var/log" -type f -exec truncate -s 0 {} +
echo guest >"$root/etc/hostname"
: >"$root/etc/resolv.conf"
: >"$root/etc/machine-id"
days=$((SOURCE_DATE_EPOCH / 86400)) # since when a password is
sed -i "s/^\([^:]*:[^:]*\):[0-9]*:/\1:$days:/" "$root/etc/shadow"

rm -f "$out/root.raw"
truncate -s 1400M "$out/root.raw"
export E2FSPROGS_FAKE_TIME=$SOURCE_DATE_EPOCH
mkfs.ext4 -q -F -L root -U "$identity" -E "hash_seed=$identity,lazy_itable_init=1,root_owner=0:0" -d "$root" "$out/root.raw"
# It takes the times of the tree's files along, and when a file was changed last cannot be set there: so here, inode by inode.
dumpe2fs "$out/root.raw" 2>/dev/null | awk '
    /^Inode count:/ { count = $3 }
    /^  Free inodes:/ {
        gsub(",", "")
        for (i = 3; i <= NF; i++) { n = split($i, range, "-"); for (k = range[1]; k <= range[n]; k++) free[k] = 1 }
    }
    END { for (k = 2; k <= count; k++) if ((k == 2 || k > 10) && !(k in free)) print k }' | while read -r inode; do
    for field in atime ctime mtime crtime; do
        echo "set_inode_field <$inode> $field @$SOURCE_DATE_EPOCH"
    done
done | debugfs -w -f - "$out/root.raw" >/dev/null 2>"$out/debugfs.err"
! grep -v '^debugfs [0-9]' "$out/debugfs.err" >&2 || { echo "guest: debugfs could not set the times in $out/root.raw" >&2; exit 1; }
rm -rf "$root" "$initrd" "$out/debugfs.err"
