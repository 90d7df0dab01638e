"""A disk of the lab does what it is told: it fails, waits, hangs, lets go, and keeps what it acknowledged."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import linux, loop
from lab.disk import Disk, make_disk
from lab.faultdisk import ROOT, DiskError, Disks, FaultDisk
from tests.lab.conftest import PATH, reads, state_of, wait_for

pytestmark = pytest.mark.usefixtures("own_namespaces")


@pytest.fixture
def backing(run_dir: Path) -> str:
    path = run_dir / "raw.img"
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    return str(path)


@pytest.fixture
def disk(disks: Disks, backing: str) -> FaultDisk:
    return disks.attach("d", backing)


def _io(disk: FaultDisk, offset: int, data: bytes | None = None) -> bytes:
    """Read (or write) one block past every cache."""
    with mmap.mmap(-1, 4096) as block:
        fd = os.open(disk.path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
        try:
            if data is None:
                os.preadv(fd, [block], offset)
            else:
                block[: len(data)] = data
                os.pwritev(fd, [block], offset)
            return block[:]
        finally:
            os.close(fd)


def _errno_of(disk: FaultDisk, offset: int, data: bytes | None = None) -> int | None:
    try:
        _io(disk, offset, data)
    except OSError as problem:
        return problem.errno
    return None


def test_attach_is_fast_and_what_was_written_stays(disks: Disks, backing: str) -> None:
    disks.drop("nothing yet")  # the service itself is up
    took = []
    for number in range(5):
        started = time.monotonic()
        disk = disks.attach("d", backing)
        took.append(time.monotonic() - started)
        if number:
            assert _io(disk, 8192).startswith(f"round {number - 1}".encode())
        _io(disk, 8192, f"round {number}".encode())
        disk.drop()
        assert disk.wait_gone(1)
    assert min(took) < 0.1, f"an attach took {min(took):.3f} s"


@pytest.mark.parametrize(
    ("word", "number"), [("eio", errno.EIO), ("enospc", errno.ENOSPC), ("enodev", errno.ENODEV)]
)
def test_errors_reach_the_reader_and_the_writer(disk: FaultDisk, word: str, number: int) -> None:
    disk.set(f"all={word}")
    assert _errno_of(disk, 0) == number
    assert _errno_of(disk, 0, b"x") == number
    disk.set("ok")
    assert _errno_of(disk, 0, b"x") is None


def test_kinds_are_hurt_one_by_one(disk: FaultDisk) -> None:
    disk.set("write=eio")
    assert (_errno_of(disk, 0), _errno_of(disk, 0, b"x")) == (None, errno.EIO)
    disk.set("write=ok read=eio")
    assert (_errno_of(disk, 0), _errno_of(disk, 0, b"x")) == (errno.EIO, None)
    disk.set("read=ok flush=eio")  # O_DSYNC flushes after the write
    assert (_errno_of(disk, 0), _errno_of(disk, 0, b"x")) == (None, errno.EIO)


def test_a_range_hurts_only_itself(disk: FaultDisk) -> None:
    disk.set("read=eio range=8192-12287")
    assert [_errno_of(disk, offset) for offset in (4096, 8192, 12288)] == [None, errno.EIO, None]


def test_a_delay_delays(disk: FaultDisk) -> None:
    disk.set("read=delay:0.3")
    started = time.monotonic()
    _io(disk, 0)
    assert 0.3 <= time.monotonic() - started < 1.5


@pytest.mark.parametrize(
    "words", ["read=maybe", "speed=1", "range=9-1", "delay:3", "all=delay:x", "range=a-b"]
)
def test_what_is_not_understood_changes_nothing(disk: FaultDisk, words: str) -> None:
    with pytest.raises(DiskError, match=r"understood|action|ends before|number of seconds"):
        disk.set(f"write=eio {words}")
    assert _errno_of(disk, 0, b"x") is None


def test_a_hang_holds_and_ok_lets_go_in_order(disk: FaultDisk) -> None:
    disk.set("all=hang")
    reader = reads(disk.path)
    wait_for(lambda: disk.set("stats")["waiting"] == 1)
    assert state_of(reader.pid) == "D"
    disk.set("ok")
    assert reader.wait(5) == 0


def test_a_forgotten_hang_ends_by_itself(run_dir: Path, backing: str) -> None:
    with Disks(run_dir, hang_limit=1.0) as disks:
        disk = disks.attach("d", backing)
        disk.set("all=hang")
        started = time.monotonic()
        reader = reads(disk.path)
        assert reader.wait(5) != 0
        assert 0.9 < time.monotonic() - started < 3
        assert disk.set("stats")["gave_up"]
        assert _errno_of(disk, 0) == errno.EIO  # it stays broken: nothing gets stuck again


def test_drop_frees_who_is_stuck(disk: FaultDisk) -> None:
    disk.set("all=hang")
    reader = reads(disk.path)
    wait_for(lambda: disk.set("stats")["waiting"] == 1)
    disk.drop()
    assert reader.wait(2) != 0
    assert disk.wait_gone(2)


def test_two_servers_never_share_a_file(disks: Disks, disk: FaultDisk, backing: str) -> None:
    with pytest.raises(DiskError, match="in use by another running node") as refused:
        disks.attach("e", backing)
    assert refused.value.code == "locked"
    disk.stop()  # a frozen node keeps its disk
    with pytest.raises(DiskError, match="in use"):
        disks.attach("e", backing)
    disk.drop()
    assert disks.attach("e", backing).loop


def test_a_file_that_is_not_there(disks: Disks) -> None:
    with pytest.raises(DiskError, match="No such file") as refused:
        disks.attach("e", "/nowhere/e.img")
    assert refused.value.code == "failed"


@pytest.mark.parametrize("fstype", ["ext4", "xfs"])
def test_synced_is_kept_and_unsynced_is_lost(run_dir: Path, disks: Disks, fstype: str) -> None:
    made: Disk = make_disk(run_dir, PATH, fstype)
    place = run_dir / "mnt"
    place.mkdir()
    disk = disks.attach("d", str(made.backing))
    linux.mount(disk.path, str(place), fstype)
    with open(place / "synced", "wb") as file:
        file.write(b"kept")
        file.flush()
        os.fsync(file.fileno())
    (place / "unsynced").write_bytes(b"lost")
    disk.stop()
    disk.drop()
    linux.umount(str(place))
    assert disk.wait_gone(5)
    again = disks.attach("d", str(made.backing))
    linux.mount(again.path, str(place), fstype)
    try:
        assert (place / "synced").read_bytes() == b"kept"
        unsynced = place / "unsynced"
        assert not unsynced.exists() or unsynced.read_bytes() == b""
    finally:
        linux.umount(str(place))


_PARENT = """
import sys, time
from pathlib import Path
from lab.faultdisk import Disks
with Disks(Path(sys.argv[1])) as disks:
    disk = disks.attach("d", sys.argv[2])
    disk.set("all=hang")
    print(disk.loop, disk.pid, disks.pid, flush=True)
    time.sleep(600)
"""


@pytest.mark.parametrize("victim", ["parent", "service", "server"])
def test_a_hang_ends_with_whoever_is_killed(run_dir: Path, backing: str, victim: str) -> None:
    """kill -9 of the lab, of the service behind it or of the disk's own server frees every task and the device."""
    command = [sys.executable, "-c", _PARENT, str(run_dir), backing]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as parent:
        assert parent.stdout is not None
        name, server, service = parent.stdout.readline().split()
        reader = reads(f"/dev/{name}")
        wait_for(lambda: state_of(reader.pid) == "D")
        was = loop.configuration(name)
        pids = {"parent": parent.pid, "service": int(service), "server": int(server)}
        os.kill(pids[victim], signal.SIGKILL)
        assert reader.wait(3) != 0
        parent.kill()  # while it lives, the service keeps the device of a dead server until the disk is dropped
    assert loop.wait_gone(name, was, 3)
