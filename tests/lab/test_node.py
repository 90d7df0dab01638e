"""A node is a machine: it sees its own disks alone, and when its power is cut nothing of it goes on."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import guard, loop
from lab.cell import CellSpec, Command, LabError
from lab.faultdisk import Disks, FaultDisk
from lab.namespace import NamespaceNode
from lab.node import Locked, new_identity
from tests.lab.conftest import PATH, Pair, make_disk, wait_for

pytestmark = pytest.mark.usefixtures("own_namespaces")
BOTH = pytest.mark.parametrize("pair", ["ext4", "xfs"], indirect=True)


def _text(node: NamespaceNode, *argv: str) -> str:
    done = node.run(argv)
    assert done.code == 0, done.err
    return done.out.strip()


def _dirty_and_hung(pair: Pair) -> FaultDisk:
    """Get writers stuck on the disk of node a. Returns the disk."""
    pair.put(pair.a)
    disk = pair.a.fault_disk(pair.disk)
    _text(
        pair.a,
        "sh",
        "-c",
        "echo kept > /srv/data/kept && sync -f /srv/data/kept && echo lost > /srv/data/lost",
    )
    disk.set("all=hang")
    for number in range(3):
        command = ["dd", "if=/dev/zero", f"of=/srv/data/{number}", "bs=1M", "count=8", "conv=fsync"]
        pair.a.cell.start(command)
    wait_for(lambda: int(str(disk.set("stats")["waiting"])) > 0)
    wait_for(lambda: " D " in _text(pair.a, "ps", "-eo", "pid,state,args"))
    return disk


@BOTH
def test_power_off_with_a_hung_dirty_disk(pair: Pair) -> None:
    disk = _dirty_and_hung(pair)
    assert loop.has_superblock(disk.loop)
    assert not disk.wait_gone(0)
    cell = pair.a.cell
    started = time.monotonic()
    pair.a.power_off()
    assert time.monotonic() - started < 2
    assert not pair.a.is_running
    assert disk.wait_gone(0)
    assert not Path(f"/proc/{cell.pid}").exists()


@BOTH
def test_what_was_synced_is_on_the_other_node_and_the_rest_is_not(pair: Pair) -> None:
    _dirty_and_hung(pair)
    pair.a.power_off()
    pair.a.detach(pair.disk)
    pair.put(pair.b)
    assert _text(pair.b, "cat", "/srv/data/kept") == "kept"
    assert _text(pair.b, "sh", "-c", "cat /srv/data/lost 2>/dev/null || true") == ""


def test_a_node_sees_its_own_disks_alone(pair: Pair) -> None:
    pair.put(pair.a)
    name = pair.a.fault_disk(pair.disk).loop
    digits = pair.disk.uuid.replace("-", "")
    assert _text(pair.a, "ls", "/dev/disk/by-id").split() == [f"scsi-3{digits}", f"wwn-0x{digits}"]
    assert _text(pair.a, "readlink", "-f", f"/dev/disk/by-id/wwn-0x{digits}") == f"/dev/{name}"
    assert _text(pair.b, "ls", "/dev/disk/by-id") == ""
    assert name not in _text(pair.b, "ls", "/dev")
    device = pair.a.device_of(pair.disk)
    assert [mount.mountpoint for mount in pair.a.mounts() if mount.devno == device] == ["/srv/data"]
    assert all(mount.devno != device for mount in pair.b.mounts())
    pair.a.detach(pair.disk)
    assert (
        _text(pair.a, "sh", "-c", "ls /dev/disk/by-id /dev/loop* 2>/dev/null || true") == "/dev/disk/by-id:"
    )


def test_a_clean_detach_gives_the_device_back_at_once(pair: Pair) -> None:
    pair.put(pair.a)
    disk = pair.a.fault_disk(pair.disk)
    _text(pair.a, "umount", "/srv/data")
    pair.a.detach(pair.disk)
    assert disk.wait_gone(1)
    assert pair.a.is_running


def test_a_disk_pulled_out_under_a_mount_fails_and_moves(pair: Pair) -> None:
    pair.put(pair.a)
    pair.a.detach(pair.disk)
    assert pair.a.run(["sh", "-c", "echo x > /srv/data/x && sync -f /srv/data/x"]).code != 0
    pair.put(pair.b)
    pair.a.power_off()
    assert _text(pair.b, "sh", "-c", "echo y > /srv/data/y && sync -f /srv/data/y && cat /srv/data/y") == "y"


def test_a_disk_in_use_is_refused_and_free_after_power_off(pair: Pair) -> None:
    pair.put(pair.a)
    with pytest.raises(
        Locked, match=r"pgdata.vmdk cannot be attached to node db2-vm: .* in use by another running node"
    ):
        pair.b.attach(pair.disk, 1, 0)
    assert pair.b.slots() == []
    pair.a.freeze()  # a node that stands still keeps its lock
    with pytest.raises(Locked):
        pair.b.attach(pair.disk, 1, 0)
    pair.a.power_off()
    pair.b.attach(pair.disk, 1, 0)
    with pytest.raises(Locked):
        pair.a.power_on()
    assert not pair.a.is_running


def test_a_disk_attached_to_a_node_that_is_off_is_there_after_boot(pair: Pair) -> None:
    pair.a.power_off()
    pair.a.attach(pair.disk, 1, 0)
    pair.a.power_on()
    assert "wwn-0x" in _text(pair.a, "ls", "/dev/disk/by-id")


def test_each_boot_has_its_own_number_and_each_node_its_own_name(pair: Pair) -> None:
    seen = [_text(node, "cat", "/proc/sys/kernel/random/boot_id") for node in (pair.a, pair.b)]
    pair.a.power_off()
    pair.a.power_on()
    seen.append(_text(pair.a, "cat", "/proc/sys/kernel/random/boot_id"))
    seen.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
    assert len(set(seen)) == 4
    assert [_text(node, "hostname") for node in (pair.a, pair.b)] == ["db1", "db2"]
    assert pair.a.identity.uuid != pair.b.identity.uuid


def test_a_node_cannot_harm_the_machine(pair: Pair) -> None:
    for words in (
        "touch /usr/harm",
        "echo 1 > /proc/sys/kernel/panic",
        "echo 1 > /sys/block/loop0/queue/nomerges",
    ):
        assert pair.a.run(["sh", "-c", words]).code != 0, words
    _text(
        pair.a,
        "sh",
        "-c",
        "echo mine > /etc/fstab; echo mine > /run/x; echo mine > /tmp/x; echo mine > /srv/x",
    )
    assert "mine" not in Path("/etc/fstab").read_text()
    assert not (Path("/tmp/x").exists() or Path("/run/x").exists() or Path("/srv/x").exists())


def test_a_node_keeps_its_files_over_power_off_but_not_its_run(pair: Pair) -> None:
    _text(pair.a, "sh", "-c", "echo fstab > /etc/fstab; mkdir /srv/point; echo x > /run/x")
    pair.a.power_off()
    pair.a.power_on()
    assert _text(pair.a, "cat", "/etc/fstab") == "fstab"
    assert "point" in _text(pair.a, "ls", "/srv")
    assert pair.a.run(["ls", "/run/x"]).code != 0


def _answers(address: str) -> bool:
    with socket.socket() as sock:
        sock.settimeout(1)
        try:
            sock.connect((address, 9))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
    return True


def test_its_address_answers_while_it_runs(pair: Pair) -> None:
    assert _answers(pair.a.identity.address)
    pair.a.power_off()
    assert not _answers(pair.a.identity.address)
    assert _answers(pair.b.identity.address)


@pytest.mark.parametrize("letter", ["o", "b"])
def test_a_guest_that_halts_itself_is_off_at_once(pair: Pair, letter: str) -> None:
    _dirty_and_hung(pair)
    pair.a.cell.start(["sh", "-c", f"echo {letter} > /run/lab/sysrq"])
    wait_for(lambda: pair.halts == [("db1-vm", letter)], 2)
    assert not pair.a.is_running
    assert pair.b.is_running
    pair.a.power_on()
    _text(pair.a, "true")


@pytest.mark.parametrize(("command", "letter"), [("0x4321fedc", "o"), ("0x1234567", "b")])
def test_a_guest_that_calls_reboot_ends_the_same_way(pair: Pair, command: str, letter: str) -> None:
    words = f"import ctypes; ctypes.CDLL(None).reboot({command})"
    pair.a.cell.start(["python3", "-c", words])
    wait_for(lambda: pair.halts == [("db1-vm", letter)], 3)
    assert not pair.a.is_running


def test_bytes_that_are_no_halt_are_ignored(pair: Pair) -> None:
    _text(pair.a, "sh", "-c", "echo s > /run/lab/sysrq; echo u > /run/lab/sysrq")
    assert not wait_quietly(lambda: bool(pair.halts))
    assert pair.a.is_running


def wait_quietly(condition: object, seconds: float = 0.3) -> bool:
    """Whether something happens within a moment."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if callable(condition) and condition():
            return True
        time.sleep(0.02)
    return False


def test_frozen_is_still_and_thawed_goes_on(pair: Pair) -> None:
    _text(pair.a, "sh", "-c", "(while :; do date +%N > /tmp/tick; sleep 0.02; done) > /dev/null 2>&1 &")
    tick = pair.a.cell.root / "tmp/tick"
    wait_for(tick.exists)
    pair.a.freeze()
    before = tick.read_text()
    assert not wait_quietly(lambda: tick.read_text() != before)
    pair.a.thaw()
    wait_for(lambda: tick.read_text() not in (before, ""))


def test_run_gives_up_on_a_program_that_is_stuck(pair: Pair) -> None:
    _dirty_and_hung(pair)
    started = time.monotonic()
    with pytest.raises(LabError, match=r"did not end within 0\.5 s"):
        pair.a.run(["sync", "-f", "/srv/data"], 0.5)
    assert time.monotonic() - started < 2


# -- the guard


def test_the_guard_refuses_a_watchdog_that_is_not_the_pipe(pair: Pair) -> None:
    fifo = pair.a._spec.directory / "sysrq"
    guard.check("db1-vm", pair.a.cell.root, fifo)
    os.mknod(pair.a.cell.root / "dev/watchdog0", 0o020600, os.makedev(1, 3))
    with pytest.raises(LabError, match="node db1-vm: /dev/watchdog0 is not the lab's pipe"):
        guard.check("db1-vm", pair.a.cell.root, fifo)


def test_the_guard_refuses_the_trigger_of_a_machine(tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "proc").mkdir()
    (tmp_path / "dev").mkdir()
    (tmp_path / "proc/sysrq-trigger").write_text("")
    with pytest.raises(LabError, match="/proc/sysrq-trigger is not the lab's pipe"):
        guard.check("x", tmp_path, pair.a._spec.directory / "sysrq")
    (tmp_path / "proc/sysrq-trigger").unlink()
    os.mkfifo(tmp_path / "proc/sysrq-trigger")  # a pipe, but another one
    with pytest.raises(LabError, match="/proc/sysrq-trigger is not the lab's pipe"):
        guard.check("x", tmp_path, pair.a._spec.directory / "sysrq")


def test_a_refused_node_starts_nothing(run_dir: Path, disks: Disks, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine whose trigger the lab failed to cover, no program of the node runs."""
    identity = new_identity("db3-vm", "db3", 3)
    program = Command(("touch", "/run/lab/started"), "/run/lab/log")
    spec = CellSpec("db3", run_dir / "n/db3", identity.address, hidden=(run_dir,), boot=(program,))
    node = NamespaceNode(identity, spec, disks, lambda *_: None)
    monkeypatch.setattr(guard, "TRIGGER", "/proc/version")  # stands for a trigger that is the machine's own
    with pytest.raises(LabError, match="/proc/version is not the lab's pipe"):
        node.power_on()
    assert not node.is_running
    monkeypatch.undo()
    node.power_on()
    wait_for((spec.directory / "started").exists)
    node.close()


_OWNER = """
import sys, time
from pathlib import Path
from lab.cell import CellSpec
from lab.disk import make_disk
from lab.faultdisk import Disks, FaultDisk
from lab.namespace import NamespaceNode
from lab.node import new_identity
place = Path(sys.argv[1])
disk = make_disk(place, "[ds1] a/b.vmdk")
with Disks(place) as disks:
    node = NamespaceNode(new_identity("db9-vm", "db9", 9), CellSpec("db9", place / "n"), disks, print)
    node.power_on()
    node.attach(disk, 1, 0)
    node.run(["sh", "-c", "mkdir /srv/d; mount /dev/disk/by-id/wwn-0x* /srv/d; date > /srv/d/x"])
    node.fault_disk(disk).set("all=hang")
    node.cell.start(["sync", "-f", "/srv/d"])
    print(node.cell.pid, node.fault_disk(disk).loop, flush=True)
    time.sleep(600)
"""


def test_a_killed_lab_leaves_nothing(run_dir: Path) -> None:
    """kill -9 of the lab's process ends its nodes and frees their disks, hung ones too."""
    command = [sys.executable, "-c", _OWNER, str(run_dir)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        pid, name = owner.stdout.readline().split()
        wait_for(lambda: loop.has_superblock(name))
        was = loop.configuration(name)
        owner.send_signal(signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    assert loop.wait_gone(name, was, 5)


def test_disks_are_made_with_the_identity_that_is_said(run_dir: Path) -> None:
    disk = make_disk(run_dir, PATH)
    assert disk.uuid.startswith("6000c29")
    assert len(disk.uuid) == 36
    found = subprocess.run(
        ["blkid", "-p", "-s", "UUID", "-o", "value", disk.backing], capture_output=True, text=True
    )
    assert found.stdout.strip() == disk.fs_uuid
