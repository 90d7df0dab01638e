"""The shared disks: files in memory with a file system in them, made once."""

from __future__ import annotations

import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

from lab.cell import LabError

_MKFS = {
    "ext4": ["mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0,nodiscard", "-U"],
    "xfs": ["mkfs.xfs", "-q", "-f", "-K", "-m"],
    "btrfs": ["mkfs.btrfs", "-q", "-f", "-K", "-U"],
}


_PACKAGES = {"ext4": "e2fsprogs", "xfs": "xfsprogs", "btrfs": "btrfs-progs"}


@dataclass(frozen=True)
class Disk:
    """A virtual disk of the lab. path: as vSphere names it. uuid: the disk's own. backing: its file here."""

    path: str
    uuid: str
    backing: Path
    size_mb: int
    fstype: str
    fs_uuid: str

    @property
    def name(self) -> str:
        """The last part of its path, without the ending."""
        return self.path.rsplit("/", 1)[-1].removesuffix(".vmdk")


def _vmware_uuid() -> str:
    digits = "6000c29" + uuid.uuid4().hex[7:]
    return str(uuid.UUID(digits))


def make_disk(directory: Path, path: str, fstype: str = "ext4", size_mb: int = 512) -> Disk:
    """Make the file of a disk and a file system in it.

    directory: on tmpfs. path: such as "[ds1] shared/pgdata.vmdk". size_mb: xfs needs at least 300. Raises LabError.
    """
    disk = Disk(path, _vmware_uuid(), Path(), size_mb, fstype, str(uuid.uuid4()))
    backing = directory / f"{disk.name}.img"
    with open(backing, "xb") as file:
        os.truncate(file.fileno(), size_mb << 20)
    word = f"uuid={disk.fs_uuid}" if fstype == "xfs" else disk.fs_uuid
    try:
        made = subprocess.run(
            [*_MKFS[fstype], word, str(backing)], capture_output=True, text=True, timeout=60, check=False
        )
    except FileNotFoundError:
        raise LabError(f"mkfs.{fstype} is not installed; install {_PACKAGES[fstype]}") from None
    if made.returncode:
        raise LabError(f"mkfs.{fstype} could not make {path}: {made.stderr.strip()}")
    return Disk(path, disk.uuid, backing, size_mb, fstype, disk.fs_uuid)
