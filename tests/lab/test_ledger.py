"""The witness' own tools can tell: a lost record, a damaged one, a torn one, and a disk at two nodes at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab import linux, observer
from lab.faultdisk import ROOT
from lab.ledger import Acknowledged, Ledger, acknowledgement, lost, parse_acknowledged, parse_ledger, record
from lab.mounts import parse_mounts
from lab.observer import Observer, holders
from tests.lab.conftest import wait_for


def test_records_come_back() -> None:
    found = parse_ledger(b"".join(record(number, "a") for number in range(1, 6)))
    assert (numbers(found), found.damaged, found.last) == ([1, 2, 3, 4, 5], 0, 5)
    assert parse_ledger(b"").last == 0


def test_a_torn_record_is_cut_off_and_a_damaged_one_is_counted() -> None:
    good = record(1, "a") + record(2, "a")
    torn = parse_ledger(good + record(3, "a")[:-4])
    assert (numbers(torn), torn.damaged, torn.size) == ([1, 2], 0, len(good))
    damaged = parse_ledger(good.replace(b" a ", b" b ", 1))
    assert (numbers(damaged), damaged.damaged) == ([2], 1)


def numbers(found: Ledger) -> list[int]:
    return [number for number, _ in found.records]


def test_what_was_acknowledged_and_is_missing_is_lost() -> None:
    told = parse_acknowledged(
        "".join(acknowledgement(number, 1.5, "a").decode() for number in (1, 2, 3)) + "4 1."
    )
    assert told[0] == Acknowledged(1, 1.5, "a")
    assert len(told) == 3  # the torn line does not count
    assert lost(told, parse_ledger(record(1, "a") + record(3, "a"))) == [2]


@pytest.mark.parametrize("second", ["b", "a"])
def test_what_a_later_writer_writes_anew_is_lost_all_the_same(second: str) -> None:
    """a got up to 5; 4 and 5 are gone from the disk, so the next writer, which may be a once more, goes on with 4."""
    wrote = [(number, "a") for number in range(1, 6)] + [(number, second) for number in range(4, 9)]
    told = [Acknowledged(number, 1.0 + nth, node) for nth, (number, node) in enumerate(wrote)]
    disk = b"".join(record(*one) for one in wrote[:3] + wrote[5:])
    assert lost(told, parse_ledger(disk)) == [4, 5]
    assert lost(told, parse_ledger(b"".join(record(*one) for one in wrote))) == []


def test_two_running_holders_are_seen_and_one_that_is_off_is_not() -> None:
    disk = [{"path": "[ds1] x.vmdk"}]
    vms = [{"name": name, "power": "poweredOn", "disks": disk} for name in ("b", "a")]
    vms.append({"name": "c", "power": "poweredOff", "disks": disk})
    assert holders({"vms": vms}, "[ds1] x.vmdk") == ("a", "b")
    assert holders({"vms": vms}, "[ds1] y.vmdk") == ()


class Blinding:
    """A node whose mounts cannot be read while `problem` is set."""

    name, problem = "labdb1-vm", ""

    def devices_of(self, _: Any) -> tuple[int, ...]:
        return (1,)

    def mounts(self) -> list[Any]:
        if self.problem:
            raise KeyError(self.problem)
        return []


def test_a_witness_that_does_not_see_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observer, "BLIND_S", 0.3)
    node, disk = Blinding(), SimpleNamespace(path="[ds1] x.vmdk")
    with Observer("http://127.0.0.1:1", [cast(Any, node)], [cast(Any, disk)]) as witness:
        began = time.monotonic()
        wait_for(lambda: witness.findings.looks > 3)
        assert witness.amiss(began) == ""  # a vCenter that is not there is no gap: without it nothing moves
        node.problem = "rubbish"
        wait_for(lambda: witness.blind(began) != "")
        assert "did not see the mounts" in witness.blind(began)
        node.problem, looks = "", witness.findings.looks
        wait_for(lambda: witness.findings.looks > looks)
        assert "did not see the mounts" in witness.amiss(began)  # what was not seen stays unseen
        assert witness.blind(time.monotonic()) == ""


@pytest.mark.parametrize(
    ("options", "superblock", "writable"), [("rw", "rw", True), ("ro", "rw", False), ("rw", "ro", False)]
)
def test_mount_lines(options: str, superblock: str, writable: bool) -> None:
    line = f"36 35 7:3 / /srv/a\\040b {options},noatime shared:1 - ext4 /dev/loop3 {superblock},errors=remount-ro\n"
    (mount,) = parse_mounts(line)
    assert (mount.mountpoint, mount.writable, mount.fstype, mount.source) == (
        "/srv/a b",
        writable,
        "ext4",
        "/dev/loop3",
    )


def _writer(place: Path, ack: Path) -> list[str]:
    words = ["--place", str(place), "--ack", str(ack), "--node", "n", "--interval", "0.001"]
    return [sys.executable, "-m", "lab.writer", *words]


def test_the_writer_goes_on_where_the_disk_ends(tmp_path: Path, own_namespaces: None) -> None:
    place, ack = tmp_path / "disk", tmp_path / "ack"
    place.mkdir()
    refused = subprocess.run(_writer(place, ack), cwd=ROOT, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "nothing is mounted" in refused.stderr
    linux.mount("tmpfs", str(place), "tmpfs")
    try:
        for least in (5, 10):
            with subprocess.Popen(_writer(place, ack), cwd=ROOT) as process:
                wait_for(lambda least=least: ack.exists() and len(ack.read_text().splitlines()) >= least)  # type: ignore[misc]
                process.send_signal(signal.SIGTERM)
                assert process.wait(5) == 0
            with open(place / "ledger.log", "ab") as file:
                file.write(b"0000000099 torn")
        told, found = parse_acknowledged(ack.read_text()), parse_ledger((place / "ledger.log").read_bytes())
        assert lost(told, found) == []
        assert numbers(found) == list(range(1, found.last + 1))
    finally:
        linux.umount(str(place))
