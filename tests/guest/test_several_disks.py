"""A resource on several disks: a fault of any of them is the resource's, with one btrfs over two disks that fail on command."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab.faultdisk import Disks, FaultDisk
from vmdk_failover import model
from vmdk_failover.guest import latest

from .conftest import BOOT, WRITER, Reader, Rig, ready, wait_for
from .test_prober import ELSEWHERE

_UUID = "6000c290000000000000000000000002"


@dataclasses.dataclass
class Pair(Rig):
    """The rig with a second disk; its file system lies on both."""

    second: FaultDisk = None  # type: ignore[assignment]

    def mount(self) -> None:
        """Mount it by hand."""
        argv = ["mount", "-o", f"device={self.second.path}", self.fault.path, str(self.mountpoint)]
        subprocess.run(argv, check=True)


@pytest.fixture
def second(run_dir: Path, disks: Disks) -> FaultDisk:
    """Attached before the rig hides the process that serves both."""
    backing = run_dir / "second.img"
    backing.touch()
    os.truncate(backing, 512 << 20)
    return disks.attach("db1.second", str(backing))


@pytest.fixture
def rig(second: FaultDisk, rig: Rig) -> Iterator[Pair]:
    link = rig.places.by_id / f"wwn-0x{_UUID}"
    link.symlink_to(f"../../{second.loop}")
    argv = [
        "mkfs.btrfs",
        "-q",
        "-f",
        "-K",
        "-d",
        "raid0",
        "-m",
        "raid1",
    ]  # with a UUID of ours it would read every disk of the machine
    subprocess.run([*argv, rig.fault.path, second.path], check=True)
    with open(rig.fault.backing, "rb") as file:
        ident = str(uuid.UUID(bytes=os.pread(file.fileno(), 16, 65536 + 0x20)))
    mount = dataclasses.replace(rig.resource.mounts[0], fstype="btrfs", fs_uuid=ident)
    both = (*rig.resource.disks, model.Disk("[ds1] shared/second.vmdk", _UUID, 1, 1))
    rig.resource = dataclasses.replace(rig.resource, disks=both, mounts=(mount,))
    made = Pair(**{one.name: getattr(rig, one.name) for one in dataclasses.fields(Rig)}, second=second)
    try:
        yield made
    finally:
        rig.disks.drop(second.name)
        made.close()
        assert second.wait_gone(10), f"{second.loop} is left over"


def _evidence(reader: Reader) -> str:
    reader.poll()
    said: Any = latest.latest(reader.rig.state, "pgdata", BOOT)
    return str(said["evidence"]) if said else ""


@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [("read=eio", "io_error", 1.4), ("read=hang", "hung", 2.6), ("all=hang", "hung", 2.6)],
)
def test_the_second_disk_fails_while_idle(
    reader: Reader, rig: Pair, fault: str, condition: str, limit: float
) -> None:
    rig.mount()
    ready(reader)
    rig.second.set(fault)
    assert reader.until(condition) < limit
    assert rig.second.loop in reader.told[-1]["evidence"]
    assert "own probe" in reader.told[-1]["evidence"]
    rig.second.set("ok")
    reader.until("ok", 8)


@pytest.mark.parametrize(
    ("fault", "condition", "limit"),
    [("write=eio flush=eio", "io_error", 0.5), ("write=hang flush=hang", "hung", 2.0)],
)
def test_writes_to_the_second_disk_fail(
    reader: Reader, rig: Pair, fault: str, condition: str, limit: float
) -> None:
    rig.mount()
    rig.run(WRITER, str(rig.mountpoint / "file"))
    ready(reader)
    rig.second.set(fault)
    assert reader.until(condition) < limit
    assert rig.second.loop in reader.told[-1]["evidence"]


def test_both_disks_are_read_and_both_must_be_there(reader: Reader, rig: Pair) -> None:
    rig.mount()
    ready(reader)
    before = [disk.set("stats")["read"] for disk in (rig.fault, rig.second)]
    wait_for(
        lambda: all(d.set("stats")["read"] > n for d, n in zip((rig.fault, rig.second), before, strict=True))
    )
    (rig.places.by_id / f"wwn-0x{_UUID}").unlink()
    assert reader.until("device_gone") < 1.3
    assert _UUID in reader.told[-1]["evidence"]


def test_one_failed_read_of_the_second_disk_passes_by(reader: Reader, rig: Pair) -> None:
    rig.mount()
    ready(reader)
    rig.second.set(f"read=eio:1 {ELSEWHERE}")
    wait_for(lambda: "good when tried again" in _evidence(reader), 5)
    assert rig.second.loop in _evidence(reader)
    time.sleep(0.3)
    assert reader.word() == "ok"
    assert {report["condition"] for report in reader.told} <= {"ok"}
