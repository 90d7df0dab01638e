"""One btrfs on two disks: mounted without a scan of others, released only when both disks are let go."""

from __future__ import annotations

import dataclasses
import errno
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import linux
from lab.disk import make_disk
from lab.faultdisk import Disks, FaultDisk
from vmdk_failover import model
from vmdk_failover.guest import holder, memory, mounts, survey
from vmdk_failover.guest.facts import node_facts
from vmdk_failover.guest.mounting import MountReport, mount_all
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.release import ReleaseReport, release
from vmdk_failover.model import MountState

from .conftest import BOOT, outside


@dataclasses.dataclass
class Pair:
    """Two disks with one file system."""

    faults: list[FaultDisk]
    places: Places
    resource: model.Resource
    state: Path
    epoch: int = 0

    @property
    def mountpoint(self) -> Path:
        return Path(self.resource.mounts[0].mountpoint)

    def mount(self, deadline_s: float = 5.0) -> MountReport:
        self.epoch += 1
        return mount_all(
            self.resource, start_services=lambda: None, deadline_s=deadline_s, state_dir=self.state,
            epoch=self.epoch, places=self.places,
        )  # fmt: skip

    def release(self, deadline_s: float = 10.0) -> ReleaseReport:
        self.epoch += 1
        return release(
            self.resource, stop_services=lambda: None, deadline_s=deadline_s, state_dir=self.state,
            epoch=self.epoch, places=self.places,
        )  # fmt: skip

    def link(self, number: int) -> Path:
        return self.places.by_id / f"wwn-0x{self.resource.disks[number].uuid}"


def _attach(run_dir: Path, disks: Disks, places: Places) -> tuple[list[FaultDisk], list[model.Disk]]:
    faults, records = [], []
    for number in range(2):
        made = make_disk(run_dir, f"[ds1] shared/b{number}.vmdk", "ext4", 256)
        faults.append(disks.attach(f"db1.b{number}", str(made.backing)))
        records.append(model.Disk(made.path, made.uuid.replace("-", ""), 1, number))
        (places.by_id / f"wwn-0x{records[number].uuid}").symlink_to(f"../../{faults[number].loop}")
    return faults, records


@pytest.fixture
def pair(run_dir: Path, disks: Disks) -> Iterator[Pair]:
    by_id, mountpoint, boot = run_dir / "dev/disk/by-id", run_dir / "srv", run_dir / "boot_id"
    by_id.mkdir(parents=True)
    mountpoint.mkdir()
    boot.write_text(BOOT + "\n")
    places = Places(by_id=by_id, boot_id=boot, fstab=run_dir / "fstab")
    faults, records = _attach(run_dir, disks, places)
    ident = str(uuid.uuid4())
    paths = [one.path for one in faults]
    subprocess.run(
        ["mkfs.btrfs", "-q", "-f", "-K", "-d", "raid0", "-m", "raid1", "-U", ident, *paths], check=True
    )
    subprocess.run(["btrfs", "device", "scan", "--forget", *paths], check=True)
    nodes = (model.Node("db1", "u1"), model.Node("db2", "u2"))
    where = (model.Mount(str(mountpoint), ident, "btrfs", "noatime"),)
    resource = model.Resource("pair", nodes, tuple(records), where, hang_timeout=1.0)
    made = Pair(faults, places, resource, run_dir / "state")
    with outside(disks.pid):
        try:
            yield made
        finally:
            _close(made, disks)


def _close(pair: Pair, disks: Disks) -> None:
    holder.let_go(memory.load(pair.state, "pair", BOOT).holders)
    for one in pair.faults:
        disks.drop(one.name)
    while str(pair.mountpoint) in Path("/proc/self/mountinfo").read_text():
        linux.umount(str(pair.mountpoint), linux.MNT_DETACH)
    for one in pair.faults:
        assert one.wait_gone(10), f"{one.loop} is left over"


def test_it_is_mounted_released_and_mounted_again(pair: Pair) -> None:
    """The kernel has forgotten both devices, so a mount of one without naming the other would fail."""
    for text in ("one", "two"):
        report = pair.mount()
        assert report.ok, report
        (pair.mountpoint / "file").write_text(text)
        done = pair.release()
        assert done.clean, done
        assert not any(mounts.superblock_alive(one.loop) for one in pair.faults)
        for one in pair.faults:
            with pytest.raises(OSError) as refused:
                os.close(os.open(one.path, os.O_RDONLY | os.O_EXCL))
            assert refused.value.errno == errno.EBUSY  # kept for ourselves
        subprocess.run(
            ["btrfs", "device", "scan", "--forget", *(one.path for one in pair.faults)], check=False
        )
    assert pair.mount().ok
    assert (pair.mountpoint / "file").read_text() == "two"
    line = mounts.visible(mounts.of_process(), str(pair.mountpoint))
    assert line is not None
    assert "noatime" in line.options


def test_a_missing_half_is_waited_for_and_named(pair: Pair) -> None:
    pair.link(1).unlink()
    report = pair.mount(0.5)
    assert (report.ok, report.code) == (False, "device_missing"), report
    assert pair.resource.disks[1].uuid in report.reason


def test_a_lazily_unmounted_one_is_alive_on_both(pair: Pair) -> None:
    assert pair.mount().ok
    fd = os.open(pair.mountpoint / "file", os.O_CREAT | os.O_RDWR)
    try:
        subprocess.run(["umount", "-l", str(pair.mountpoint)], check=True)
        assert all(mounts.superblock_alive(one.loop) for one in pair.faults)
        done = pair.release(1.0)
    finally:
        os.close(fd)
    assert (done.clean, done.code) == (False, "superblock_alive"), done


@pytest.mark.parametrize("number", [0, 1])
def test_a_hang_of_either_is_not_waited_for(pair: Pair, number: int) -> None:
    assert pair.mount().ok
    (pair.mountpoint / "file").write_bytes(os.urandom(1 << 20))
    pair.faults[number].set("write=hang flush=hang")
    began = time.monotonic()
    done = pair.release(20.0)
    assert not done.clean, done
    assert time.monotonic() - began < 4.0, done.steps


def test_the_nodes_word_and_protect_know_both(pair: Pair) -> None:
    assert pair.mount().ok
    said = node_facts(pair.resource, minion="db1", state_dir=pair.state, prober=None, places=pair.places)
    assert (said.device, said.mounted, said.superblock) == (True, MountState.MOUNTED, True)
    seen = survey.survey(str(pair.mountpoint), pair.places)
    assert seen.disk_uuids == tuple(sorted(disk.uuid for disk in pair.resource.disks))
    assert (seen.fs_uuid, seen.fstype) == (pair.resource.mounts[0].fs_uuid, "btrfs")
