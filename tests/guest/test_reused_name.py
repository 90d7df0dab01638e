"""A device name that a resource had once and that somebody else has now: what befalls that one is not the resource's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import linux
from lab.faultdisk import Disks, FaultDisk

from .conftest import WRITER, Reader, Rig, ready


@pytest.fixture
def elsewhere(run_dir: Path, disks: Disks) -> FaultDisk:
    """A place for the disk to come back to, attached before the rig hides the process that serves it."""
    backing = run_dir / "again.img"
    backing.touch()
    os.truncate(backing, 512 << 20)
    return disks.attach("db1.again", str(backing))


@pytest.fixture
def rig(elsewhere: FaultDisk, rig: Rig) -> Iterator[Rig]:
    try:
        yield rig
    finally:
        rig.disks.drop(elsewhere.name)
        rig.close()
        assert elsewhere.wait_gone(10), f"{elsewhere.loop} is left over"


def test_the_old_name_of_a_disk_says_nothing_of_it(reader: Reader, rig: Rig, elsewhere: FaultDisk) -> None:
    other = rig.mountpoint.with_name("other")
    other.mkdir()
    content = Path(rig.disk.backing).read_bytes()
    with open(elsewhere.backing, "r+b") as file:
        file.write(content)
    rig.mount()
    ready(reader)
    linux.mount(str(rig.mountpoint), str(other), None, linux.MS_BIND)
    try:
        rig.umount()
        rig.unplug()
        rig.link.symlink_to(f"../../{elsewhere.loop}")
        subprocess.run(["mount", elsewhere.path, str(rig.mountpoint)], check=True)
        ready(reader)
        rig.run(WRITER, str(other / "file"))
        rig.fault.set("all=eio")
        with pytest.raises(AssertionError, match="io_error not told"):
            reader.until("io_error", 2.0)
        assert reader.word() == "ok"
    finally:
        for process in rig.processes:
            process.kill()
        linux.umount(str(other), linux.MNT_DETACH)
