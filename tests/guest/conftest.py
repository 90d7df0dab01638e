"""A node's disk that can be made to fail, and a place for its links and memory. Needs root; gives everything back."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lab import linux
from lab.disk import Disk, make_disk
from lab.faultdisk import Disks, FaultDisk
from lab.isolation import isolated
from vmdk_failover import model
from vmdk_failover.guest import holder, memory, watch
from vmdk_failover.guest.places import Places
from vmdk_failover.guest.watch import Watch

BOOT = "11111111-2222-3333-4444-555555555555"


@pytest.fixture(scope="module", autouse=True)
def _own_namespaces() -> Iterator[None]:
    assert os.geteuid() == 0, (
        "the tests of the node's side need root: they use loop devices, mounts and namespaces"
    )
    with isolated():
        _be_the_machine()
        yield


def _be_the_machine() -> None:
    """Process 1 of a node has the mounts that the node's minion has; here, as far as one looks, it is the tests' own."""
    for name in ("ns", "mountinfo"):
        linux.bind(f"/proc/{os.getpid()}/{name}", f"/proc/1/{name}")


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """An empty directory in memory."""
    with tempfile.TemporaryDirectory(prefix="vmdk-guest-test-", dir="/tmp") as name:
        linux.mount("tmpfs", name, "tmpfs")
        try:
            yield Path(name)
        finally:
            linux.umount(name, linux.MNT_DETACH)


@pytest.fixture
def disks(run_dir: Path) -> Iterator[Disks]:
    """The service that attaches disks; a hang ends by itself after 60 s."""
    with Disks(run_dir) as started:
        yield started


@contextmanager
def outside(pid: int) -> Iterator[None]:
    """Hide a process that is no part of the node: the one that serves the disk has it open."""
    path = f"/proc/{pid}"
    linux.mount("tmpfs", path, "tmpfs")
    try:
        yield
    finally:
        linux.umount(path, linux.MNT_DETACH)


def wait_for(condition: Callable[[], bool], seconds: float = 5.0) -> float:
    """Fail unless a condition holds in time. Returns the seconds that it took."""
    began = time.monotonic()
    assert linux.wait_until(condition, seconds), f"not true within {seconds} s"
    return time.monotonic() - began


@dataclass
class Rig:
    """One resource with one disk on this node."""

    disks: Disks
    disk: Disk
    fault: FaultDisk
    places: Places
    state: Path
    mountpoint: Path
    resource: model.Resource
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def link(self) -> Path:
        """The link by which the node knows its disk."""
        return self.places.by_id / f"wwn-0x{self.resource.disks[0].uuid}"

    def plug(self) -> None:
        """Show the disk to the node, as udev does."""
        draft = self.places.by_id / ".draft"
        draft.symlink_to(f"../../{self.fault.loop}")
        draft.rename(self.link)

    def unplug(self) -> None:
        """Take the disk out of the node's sight."""
        self.link.unlink()

    def mount(self) -> None:
        """Mount it by hand."""
        subprocess.run(["mount", self.fault.path, str(self.mountpoint)], check=True)

    def umount(self, *options: str) -> None:
        """Unmount it by hand."""
        subprocess.run(["umount", *options, str(self.mountpoint)], check=True)

    def run(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a Python program and wait until it says so by an empty line."""
        process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "\n"
        return process

    def close(self) -> None:
        """End what was started and unmount, whatever the disk does."""
        for process in self.processes:
            process.kill()
        holder.let_go(memory.load(self.state, self.resource.name, BOOT).holders)
        self.disks.drop(self.fault.name)  # whoever is stuck gets an error now
        while str(self.mountpoint) in Path("/proc/self/mountinfo").read_text():
            linux.umount(str(self.mountpoint), linux.MNT_DETACH)
        for process in self.processes:
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()
        assert self.fault.wait_gone(10), f"{self.fault.loop} is left over"


WRITER = """
import os, sys, time
fd = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR)
print(flush=True)
while True:
    try:
        os.pwrite(fd, b"z" * 4096, 0)
        os.fsync(fd)
    except OSError:
        pass
    time.sleep(0.02)
"""


def _resource(disk: Disk, mountpoint: Path) -> model.Resource:
    uuid = disk.uuid.replace("-", "")
    return model.Resource(
        name="pgdata",
        nodes=(model.Node("db1", "u1"), model.Node("db2", "u2")),
        disks=(model.Disk(disk.path, uuid, 1, 0),),
        mounts=(model.Mount(str(mountpoint), disk.fs_uuid, disk.fstype),),
        hang_timeout=1.0,
    )


@pytest.fixture
def fstype() -> str:
    """File system of the rig's disk; tests override it by parametrization."""
    return "ext4"


@pytest.fixture
def rig(run_dir: Path, disks: Disks, fstype: str) -> Iterator[Rig]:
    """A disk with a file system, visible on this node, not mounted."""
    disk = make_disk(run_dir, "[ds1] shared/pgdata.vmdk", fstype)
    by_id, mountpoint, boot = run_dir / "dev/disk/by-id", run_dir / "srv", run_dir / "boot_id"
    by_id.mkdir(parents=True)
    mountpoint.mkdir()
    boot.write_text(BOOT + "\n")
    places = Places(by_id=by_id, boot_id=boot, fstab=run_dir / "fstab")
    fault = disks.attach("db1.pgdata", str(disk.backing))
    made = Rig(disks, disk, fault, places, run_dir / "state", mountpoint, _resource(disk, mountpoint))
    with outside(disks.pid):
        try:
            made.plug()
            yield made
        finally:
            made.close()


class Reader:
    """A watch of one resource, and all that it has told."""

    def __init__(self, rig: Rig, **more: Any) -> None:
        self.rig, self.watch = rig, Watch(rig.state, places=rig.places, **more)
        self.told: list[dict[str, Any]] = []

    def poll(self) -> None:
        """Read what is told now."""
        self.told += self.watch.poll({self.rig.resource.name: self.rig.resource})

    def word(self) -> str:
        """The prober's present word, as the file has it."""
        self.poll()
        return str(
            (watch.latest(self.rig.state, "pgdata", self.rig.places) or {"condition": ""})["condition"]
        )

    def until(self, condition: str, seconds: float = 5.0) -> float:
        """Wait until a condition is told. Returns the seconds that it took."""
        began, before = time.monotonic(), len(self.told)
        while not any(report["condition"] == condition for report in self.told[before:]):
            assert time.monotonic() - began < seconds, (
                f"{condition} not told, but {self.told[before:]}; {self.word()}; {(self.rig.state / 'prober.log').read_text()}"
            )
            self.watch._epoll.poll(0.002)
            self.poll()
        return time.monotonic() - began

    def pid(self) -> int:
        """Process id of the prober."""
        return next((process.pid for process in self.watch._processes if process.poll() is None), 0)


@pytest.fixture
def reader(rig: Rig) -> Iterator[Reader]:
    made = Reader(rig)
    try:
        yield made
    finally:
        for process in made.watch._processes:
            process.kill()
        rig.fault.set("ok") if _answers(rig) else None
        made.watch.close()
        for process in made.watch._processes:
            process.wait(10)


def _answers(rig: Rig) -> bool:
    try:
        rig.fault.set("stats")
    except Exception:
        return False
    return True


def ready(reader: Reader, word: str = "ok") -> None:
    """Wait until the prober has said so, and a moment longer: past its first look."""
    wait_for(lambda: reader.word() == word, 5)
    time.sleep(0.3)
