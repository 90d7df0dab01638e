"""The state of SCSI disks, on a picture of sysfs, and how a change of it is heard; a real kernel's is in ``lab/guest``."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from vmdk_failover.guest import kernel_log, prober, sources
from vmdk_failover.guest.mounts import Line, parse
from vmdk_failover.guest.scsi_states import ScsiStates
from vmdk_failover.guest.watched import Watched
from vmdk_failover.model import Condition, Disk, Mount, Node, Resource

from .picture import UUID, Picture

TABLE = "30 20 8:16 / /srv rw,relatime - ext4 /dev/sdb rw\n"
MOUNTED = parse(TABLE)
NOTHING: tuple[Line, ...] = ()


class Bench:
    """A disk on the picture, and the watch over it."""

    def __init__(self, root: Path) -> None:
        self.picture = Picture(root)
        self.directory = self.picture.add("sdb", "8:16", UUID, f"wwn-0x{UUID}")
        (self.picture.places.sys / "dev/block").mkdir(parents=True)
        (self.picture.places.sys / "dev/block/8:16").symlink_to(self.directory)
        self.set("running")
        mounts = (Mount("/srv", "00010203-0405-0607-0809-0a0b0c0d0e0f", "ext4"),)
        resource = Resource("r", (Node("db1", "u"),), (Disk("[ds1] a.vmdk", UUID, 1, 0),), mounts)
        # the picture has no /proc of its own, and reads of its disk would fail
        places = replace(self.picture.places, dev=Path("/nonexistent"))
        self.watched = Watched(resource, places, lambda words: None)

    def set(self, state: str) -> None:
        (self.directory / "device/state").write_text(f"{state}\n")

    def says(self, now: float) -> tuple[str, str]:
        sign = self.watched.verdict.current(now)
        return sign.condition, sign.evidence


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    one = Bench(tmp_path)
    yield one
    one.watched.close()


@pytest.mark.parametrize("state", ["cancel", "deleted"])
def test_a_disk_in_use_that_is_being_taken_away_is_told_before_it_has_gone(bench: Bench, state: str) -> None:
    bench.watched.look(1.0, MOUNTED)
    assert bench.says(1.0)[0] == Condition.OK.value
    bench.set(state)
    bench.watched.glance(2.0, MOUNTED)
    condition, words = bench.says(2.0)
    assert condition == Condition.DEVICE_GONE.value and "taking sdb away" in words


def test_it_stays_told_while_the_kernel_is_at_it_and_when_it_has_gone(bench: Bench) -> None:
    bench.watched.look(1.0, MOUNTED)
    bench.set("cancel")
    bench.watched.glance(2.0, MOUNTED)
    told = bench.watched.verdict.current(2.0)
    bench.watched.look(2.1, MOUNTED)
    assert bench.watched.verdict.current(2.1) == told
    bench.picture.remove("sdb")
    (bench.picture.places.by_id / f"wwn-0x{UUID}").unlink()
    (bench.picture.places.sys / "dev/block/8:16").unlink()
    bench.watched.look(2.2, MOUNTED)
    assert bench.watched.verdict.current(2.2) == told


def end(states: ScsiStates, name: str) -> None:
    """As the kernel does it: who has the file open cannot read it any more, and nobody can open it."""
    unreadable, other = os.pipe()
    os.dup2(unreadable, states._of[name]._fd)
    for fd in (unreadable, other):
        os.close(fd)


def test_its_file_goes_first_and_says_the_same(bench: Bench) -> None:
    bench.watched.look(1.0, MOUNTED)
    end(bench.watched.states, "sdb")
    (bench.directory / "device/state").unlink()
    bench.watched.glance(2.0, MOUNTED)
    assert bench.says(2.0)[0] == Condition.DEVICE_GONE.value
    bench.watched.look(2.1, MOUNTED)
    bench.watched.look(2.2, MOUNTED)
    assert bench.says(2.2)[0] == Condition.DEVICE_GONE.value


def test_another_disk_of_that_name_is_read_anew(bench: Bench) -> None:
    bench.watched.look(1.0, MOUNTED)
    end(bench.watched.states, "sdb")
    bench.watched.look(2.0, MOUNTED)
    assert bench.watched.states.leaving() == []
    bench.set("cancel")
    assert bench.watched.states.leaving() == ["sdb"]


def test_a_disk_that_was_released_may_go(bench: Bench) -> None:
    bench.watched.look(1.0, MOUNTED)
    bench.set("cancel")
    bench.watched.glance(2.0, NOTHING)
    assert (
        bench.says(2.0)[0] == Condition.OK.value
    )  # what is mounted has not been judged, and nothing is wrong with the disk
    bench.watched.look(2.1, NOTHING)
    assert bench.says(2.1)[0] == Condition.UNMOUNTED.value


def test_offline_is_told_at_a_glance_and_running_takes_it_back(bench: Bench) -> None:
    bench.watched.look(1.0, MOUNTED)
    bench.set("offline")
    bench.watched.glance(2.0, MOUNTED)
    assert bench.says(2.0)[0] == Condition.DEVICE_OFFLINE.value
    bench.set("running")
    bench.watched.look(2.1, MOUNTED)
    assert bench.says(2.1)[0] == Condition.OK.value


def test_a_disk_without_a_state_is_in_none(tmp_path: Path) -> None:
    picture = Picture(tmp_path)
    picture.add("loop0", "7:0")
    states = ScsiStates(picture.places)
    states.keep(frozenset({"loop0"}))
    assert (states.offline(), states.leaving()) == ([], [])


def test_a_name_that_comes_back_is_read_anew(bench: Bench) -> None:
    states = ScsiStates(bench.picture.places)
    states.keep(frozenset({"sdb"}))
    assert states.offline() == []
    bench.picture.remove("sdb")
    states.keep(frozenset())
    bench.directory = bench.picture.add("sdb", "8:16", UUID)
    bench.set("offline")
    states.keep(frozenset({"sdb"}))
    assert states.offline() == ["sdb"]
    states.close()


# -- who is woken

ADDRESS = b"/devices/pci0000:00/0000:00:10.0/host0/target0:0:1/0:0:1:0"


def uevent(action: bytes, path: bytes, subsystem: bytes) -> bytes:
    parts = (
        action + b"@" + path,
        b"ACTION=" + action,
        b"DEVPATH=" + path,
        b"SUBSYSTEM=" + subsystem,
        b"SEQNUM=1234",
    )
    return b"\0".join(parts) + b"\0"


@pytest.mark.parametrize(
    ("action", "path", "subsystem", "leaves"),
    [
        (b"remove", b"/bsg/0:0:1:0", b"bsg", True),
        (b"remove", b"/scsi_generic/sg1", b"scsi_generic", True),
        (b"remove", b"/scsi_device/0:0:1:0", b"scsi_device", True),
        (b"add", b"/scsi_device/0:0:1:0", b"scsi_device", False),
        (b"change", b"", b"scsi", False),
        (b"remove", b"/block/sdb", b"block", False),
    ],
)
def test_a_disk_leaves_when_the_kernel_removes_one_of_its_faces(
    action: bytes, path: bytes, subsystem: bytes, leaves: bool
) -> None:
    assert kernel_log.is_leaving(uevent(action, ADDRESS + path, subsystem)) is leaves


def test_that_it_leaves_is_heard_before_that_it_has_gone() -> None:
    kernel, netlink = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard: list[str] = []
    with kernel, netlink:
        netlink.setblocking(False)
        kernel.send(uevent(b"remove", ADDRESS + b"/bsg/0:0:1:0", b"bsg"))
        kernel.send(uevent(b"remove", ADDRESS + b"/block/sdb", b"block"))
        assert sources._changed_blocks(netlink, lambda: heard.append("leaves")) == {"sdb"}
    assert heard == ["leaves"]


class Ears:
    """What the prober listens to and tells with, as far as a glance needs it."""

    def __init__(self, table: bytes) -> None:
        self._table = table

    def table(self) -> bytes:
        return self._table


@pytest.mark.parametrize(("state", "told"), [("cancel", ["device_gone"]), ("running", [])])
def test_the_prober_tells_it_of_its_own_disks_alone(bench: Bench, state: str, told: list[str]) -> None:
    bench.watched.look(1.0, MOUNTED)
    bench.set(state)
    said: list[str] = []
    one = object.__new__(prober.Prober)
    one._watched, one._again = {"r": bench.watched}, []
    one._sources = Ears(TABLE.encode())  # type: ignore[assignment]
    one._tell = lambda now, ones=(): said.extend(each.verdict.current(now).condition for each in ones)  # type: ignore[method-assign]
    one._disk_leaves()
    assert said == told
    assert bool(one._again) is bool(told)
