"""The witness' own tools can tell: a lost record, a damaged one, a torn one, and a disk at two nodes at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lab import linux
from lab.faultdisk import ROOT
from lab.ledger import Acknowledged, acknowledgement, lost, parse_acknowledged, parse_ledger, record
from lab.mounts import parse_mounts
from lab.observer import holders
from tests.lab.conftest import wait_for


def test_records_come_back() -> None:
    found = parse_ledger(b"".join(record(number, "a") for number in range(1, 6)))
    assert (found.numbers, found.damaged, found.last) == ((1, 2, 3, 4, 5), 0, 5)
    assert parse_ledger(b"").last == 0


def test_a_torn_record_is_cut_off_and_a_damaged_one_is_counted() -> None:
    good = record(1, "a") + record(2, "a")
    torn = parse_ledger(good + record(3, "a")[:-4])
    assert (torn.numbers, torn.damaged, torn.size) == ((1, 2), 0, len(good))
    damaged = parse_ledger(good.replace(b" a ", b" b ", 1))
    assert (damaged.numbers, damaged.damaged) == ((2,), 1)


def test_what_was_acknowledged_and_is_missing_is_lost() -> None:
    told = parse_acknowledged(
        "".join(acknowledgement(number, 1.5, "a").decode() for number in (1, 2, 3)) + "4 1."
    )
    assert told[0] == Acknowledged(1, 1.5, "a")
    assert len(told) == 3  # the torn line does not count
    assert lost(told, parse_ledger(record(1, "a") + record(3, "a"))) == [2]


def test_two_running_holders_are_seen_and_one_that_is_off_is_not() -> None:
    disk = [{"path": "[ds1] x.vmdk"}]
    vms = [{"name": name, "power": "poweredOn", "disks": disk} for name in ("b", "a")]
    vms.append({"name": "c", "power": "poweredOff", "disks": disk})
    assert holders({"vms": vms}, "[ds1] x.vmdk") == ("a", "b")
    assert holders({"vms": vms}, "[ds1] y.vmdk") == ()


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
        assert found.numbers == tuple(range(1, found.last + 1))
    finally:
        linux.umount(str(place))
