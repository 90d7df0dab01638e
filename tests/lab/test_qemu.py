"""What the lab's emulated guests are steered by, tried without one: descriptor, monitor, agent's line, heartbeats."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from lab import __main__ as command
from lab.cell import Done, LabError
from lab.ledger import parse_acknowledged
from lab.linux import wait_until
from lab.node import Locked, Slot
from lab.observer import mountpoints
from lab.qemu import agent as in_guest
from lab.qemu.guests import RED_S, YELLOW_S, Guests, colour
from lab.qemu.line import Acknowledgements, Agent
from lab.qemu.monitor import Monitor, Refused
from lab.qemu.node import QemuNode
from lab.qemu.scenarios import SCENARIOS as OF_GUESTS
from lab.qemu.vmdk import Drive, make_vmdk, serial
from lab.scenarios import SCENARIOS

LOCK = 'Failed to get "write" lock'


class Peer:
    """The other end of a line: a listening socket, and what it says to whoever comes. Lines of JSON both ways."""

    def __init__(self, path: Path) -> None:
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(1)
        self.heard: list[dict[str, Any]] = []

    def serve(self, answer: Any, greeting: dict[str, Any] | None = None) -> None:
        """Answer each line by what `answer` returns for it: a list of JSON values."""

        def work() -> None:
            line, _ = self._listener.accept()
            self.line = line
            with suppress(OSError), line, line.makefile("r") as lines:
                if greeting is not None:
                    self.say(greeting)
                for text in lines:
                    self.heard.append(json.loads(text))
                    for one in answer(self.heard[-1]):
                        self.say(one)

        threading.Thread(target=work, daemon=True).start()

    def say(self, what: dict[str, Any]) -> None:
        self.line.sendall(json.dumps(what).encode() + b"\n")

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    one = Peer(tmp_path / "line")
    yield one
    one.close()


def qemu(peer: Peer, refuse: dict[str, str], events: list[str], path: Path) -> Monitor:
    """A monitor of something that answers as QEMU does. refuse: command to what is said instead of doing it."""

    def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
        name = asked["execute"]
        if name in refuse:
            return [{"error": {"desc": refuse[name]}}]
        gone = {"event": "DEVICE_DELETED", "data": {"device": asked["arguments"].get("id")}}
        return [{"return": {}}, *([gone] if name == "device_del" else [])]

    peer.serve(answer, {"QMP": {}})
    return Monitor(path, lambda name, _: events.append(name))


def test_a_disk_is_laid_out_as_esxi_does_and_has_its_uuid(tmp_path: Path) -> None:
    disk = make_vmdk(tmp_path, "[ds1] shared/pgdata.vmdk", "ext4", 16)
    words = disk.backing.read_text()
    assert disk.backing.name == "pgdata.vmdk"
    assert f'RW {16 << 11} FLAT "pgdata-flat.vmdk" 0' in words
    assert (tmp_path / "pgdata-flat.vmdk").stat().st_size == 16 << 20
    written = next(line for line in words.splitlines() if line.startswith("ddb.uuid")).split('"')[1]
    assert written.replace(" ", "").replace("-", "") == serial(disk)
    assert len(written) == 47 and written[23] == "-"


def test_a_disk_comes_and_goes_at_its_place(tmp_path: Path, peer: Peer) -> None:
    disk, events = make_vmdk(tmp_path, "[ds1] shared/a.vmdk", "ext4", 8), []
    monitor = qemu(peer, {}, events, tmp_path / "line")
    Drive(monitor, Slot(disk, 1, 15), "a-1").unplug()
    monitor.close()
    added = next(one["arguments"] for one in peer.heard if one["execute"] == "device_add")
    assert (added["bus"], added["scsi-id"], added["lun"]) == ("scsi1.0", 15, 0)
    assert added["serial"] == added["device_id"] == serial(disk)
    order = [one["execute"] for one in peer.heard]
    assert order.index("device_del") < order.index("blockdev-del"), (
        "the image was taken from a device that was still there"
    )
    assert "DEVICE_DELETED" in events


@pytest.mark.parametrize(("said", "kind"), [(LOCK, Locked), ("no such file", Refused)])
def test_a_disk_that_another_guest_has_open_is_locked(
    tmp_path: Path, peer: Peer, said: str, kind: type
) -> None:
    disk = make_vmdk(tmp_path, "[ds1] shared/a.vmdk", "ext4", 8)
    monitor = qemu(peer, {"blockdev-add": said}, [], tmp_path / "line")
    with pytest.raises(kind):
        Drive(monitor, Slot(disk, 1, 0), "a-1")
    monitor.close()
    assert peer.heard[-1]["execute"] == "object-del", "what was made for it is left"


def test_a_disk_that_is_hurt_again_in_the_same_way_is_whole_for_no_moment(tmp_path: Path, peer: Peer) -> None:
    monitor = qemu(peer, {}, [], tmp_path / "line")
    drive = Drive(monitor, Slot(make_vmdk(tmp_path, "[ds1] shared/a.vmdk", "ext4", 8), 1, 0), "a-1")
    drive.hurt("all=eio")
    asked = len(peer.heard)
    drive.hurt("all=eio")
    assert len(peer.heard) == asked, "it was healed in between"
    drive.hurt("ok")
    drive.hurt("ok")
    monitor.close()
    healed = [
        one["arguments"]["options"][0]["file"] for one in peer.heard[asked:] if "reopen" in one["execute"]
    ]
    assert healed and set(healed) == {"image-a-1"}


@pytest.mark.parametrize(("bus", "unit"), [(1, 7), (0, 16), (2, 0)])
def test_there_are_places_that_a_controller_does_not_have(bus: int, unit: int) -> None:
    disk = cast(Any, SimpleNamespace(uuid="6000c29" + "0" * 25))
    with pytest.raises(LabError, match="no place"):
        Drive(cast(Any, None), Slot(disk, bus, unit), "a-1")


def test_the_end_of_qemu_is_told(tmp_path: Path, peer: Peer) -> None:
    events: list[str] = []
    monitor = qemu(peer, {}, events, tmp_path / "line")
    peer.line.shutdown(socket.SHUT_RDWR)
    assert wait_until(lambda: "EOF" in events, 30)
    with pytest.raises(LabError):
        monitor("query-status", 5)
    monitor.close()


def test_the_agent_is_asked_and_heard(tmp_path: Path, peer: Peer) -> None:
    def answer(asked: dict[str, Any]) -> list[dict[str, Any]]:
        if asked["argv"] == ["stuck"]:
            return [{"op": "done", "id": asked["id"], "late": True}]
        return [
            {"op": "sight", "mounts": "x", "disks": {"6000c29": "8:16"}},
            {"op": "done", "id": asked["id"], "code": 3, "out": "o", "err": "e"},
        ]

    booted = threading.Event()
    peer.serve(answer)
    agent = Agent(tmp_path / "line", "db1", booted.set)
    done = agent.ask("run", 60, argv=["a"])
    assert (done.code, done.out, done.err) == (3, "o", "e")
    assert agent.sight["disks"] == {"6000c29": "8:16"}
    with pytest.raises(LabError, match="did not end"):
        agent.ask("run", 60, argv=["stuck"])
    with pytest.raises(LabError, match="e"):
        agent.must("run", 60, argv=["a"])
    peer.say({"op": "ready"})
    assert booted.wait(30) and agent.ready.is_set()
    agent.close()


def test_what_a_guest_says_of_itself_between_questions_does_not_end_the_line(
    tmp_path: Path, peer: Peer
) -> None:
    """Whoever asks must not touch the mode of the socket on which another thread reads."""
    sights = [{"op": "sight", "mounts": "x", "disks": {}}] * 5
    peer.serve(lambda asked: [{"op": "done", "id": asked["id"], "code": 0, "out": "", "err": ""}, *sights])
    agent = Agent(tmp_path / "line", "db1", lambda: None)
    for _ in range(5000):
        agent.must("run", 60, argv=["a"])
    agent.close()


def test_a_guest_that_ends_is_no_answer(tmp_path: Path, peer: Peer) -> None:
    def answer(_: dict[str, Any]) -> list[dict[str, Any]]:
        peer.line.shutdown(socket.SHUT_RDWR)
        return []

    peer.serve(answer)
    agent = Agent(tmp_path / "line", "db1", lambda: None)
    with pytest.raises(LabError, match="ended before"):
        agent.ask("run", 60, argv=["a"])
    agent.close()


def test_what_arrives_whole_is_acknowledged_by_the_hosts_clock(tmp_path: Path, peer: Peer) -> None:
    peer.serve(lambda _: [])
    target = tmp_path / "ack"
    acks = Acknowledgements(tmp_path / "line", target)
    assert wait_until(lambda: hasattr(peer, "line"), 30)
    peer.line.sendall(b"1 999999999.5 db1\n2 999999999.6 db1\n3 999999999.7 d")
    assert wait_until(lambda: len(parse_acknowledged(target.read_text())) == 2, 30)
    peer.line.shutdown(socket.SHUT_RDWR)
    acks.close()
    found = parse_acknowledged(target.read_text())
    assert [one.number for one in found] == [1, 2], "a torn line counts as acknowledged"
    assert all(one.monotonic < 999999999 for one in found), "the guest's clock was believed"


def test_a_heartbeat_turns_late() -> None:
    assert [colour(one) for one in (0.0, YELLOW_S - 1, YELLOW_S, RED_S - 1, RED_S)] == [
        "green", "green", "yellow", "yellow", "red",
    ]  # fmt: skip
    assert 30 <= RED_S <= 60


def test_no_scenario_waits_for_less_than_a_guest_needs() -> None:
    assert Guests().policy({"node_timeout": 3, "on_error": "halt"}) == {
        "node_timeout": 10,
        "on_error": "halt",
    }
    assert Guests().policy({"node_timeout": 60}) == {"node_timeout": 60}


def test_what_needs_a_kernel_is_not_played_by_namespaces(capsys: pytest.CaptureFixture[str]) -> None:
    assert not set(SCENARIOS) & set(OF_GUESTS)
    assert command.main(["run", next(iter(OF_GUESTS))]) == 2
    assert "--nodes qemu" in capsys.readouterr().err


@pytest.mark.parametrize("command_line", [["up"], ["demo"]])
def test_what_is_made_of_namespaces_does_not_take_guests(
    command_line: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main([*command_line, "--nodes", "qemu"])
    assert ended.value.code == 2
    assert "--nodes" in capsys.readouterr().err


def test_a_limit_that_guests_do_not_know_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["run", "power-off", "--nodes", "qemu", "--hang-limit", "5"]) == 2
    assert "--hang-limit" in capsys.readouterr().err


def test_a_reset_is_noted_and_what_was_seen_before_it_is_forgotten() -> None:
    node = object.__new__(QemuNode)
    agent = SimpleNamespace(ready=threading.Event(), sight={"mounts": "x", "disks": {"y": "8:16"}})
    agent.ready.set()
    node._machine, node.resets = cast(Any, SimpleNamespace(agent=agent)), []
    node._hear("RESET", {})
    assert len(node.resets) == 1 and not agent.ready.is_set()
    assert agent.sight == {"mounts": "", "disks": {}}


def test_what_nodes_have_written_is_on_their_disks_before_anything_breaks() -> None:
    asked: list[Sequence[str]] = []

    def run(argv: Sequence[str]) -> Done:
        asked.append(argv)
        return Done(0, "", "")

    node = SimpleNamespace(minion_id="labdb1", run=run)
    Guests().settle(cast(Any, SimpleNamespace(nodes={"a": node, "b": node})))
    assert asked == [["sync", "-f", "/run/lab"]] * 2
    node.run = lambda _: Done(1, "", "no")
    with pytest.raises(LabError, match="cannot be synced: no"):
        Guests().settle(cast(Any, SimpleNamespace(nodes={"a": node})))


def test_the_agent_of_a_guest_kills_a_minion_that_has_another_title(monkeypatch: pytest.MonkeyPatch) -> None:
    """Salt names its processes anew: what tells them from the zygote is their session."""
    argv = [sys.executable, "-c", "import time; time.sleep(600)", "zygote"]
    zygote, minion = subprocess.Popen(argv), subprocess.Popen(argv, start_new_session=True)
    struck: list[int] = []
    try:
        with monkeypatch.context() as patch:
            patch.setattr(os, "kill", lambda pid, _: struck.append(pid))
            patch.setattr(os, "listdir", lambda _: [str(zygote.pid), str(minion.pid), "self"])
            assert wait_until(lambda: all(b"zygote" in _line(one.pid) for one in (zygote, minion)), 30)
            in_guest.kill_agent({"signal": 9})
    finally:
        for one in (zygote, minion):
            one.kill()
            one.wait()
    assert struck == [minion.pid]


def test_what_lies_on_a_disk_is_found_by_its_holders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sdb (8:16) has a volume on it, and that one a snapshot; sdc (8:32) nothing."""
    monkeypatch.setattr(in_guest, "SYSFS", tmp_path / "block")
    for name, number, below in (
        ("sdb", "8:16", ""),
        ("sdc", "8:32", ""),
        ("dm-0", "253:0", "sdb"),
        ("dm-1", "253:1", "dm-0"),
    ):
        folder = tmp_path / "devices" / name
        (folder / "holders").mkdir(parents=True)
        (folder / "dev").write_text(f"{number}\n")
        (tmp_path / "dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "dev/block" / number).symlink_to(folder)
        if below:
            (tmp_path / "devices" / below / "holders" / name).symlink_to(folder)
    assert in_guest.above("8:16") == ["253:0", "253:1"]
    assert in_guest.above("8:32") == in_guest.above("8:48") == []


def test_a_disk_is_mounted_where_a_volume_on_it_is() -> None:
    disk = cast(Any, SimpleNamespace(uuid="6000c29" + "0" * 25))
    node, line = object.__new__(QemuNode), "1 1 253:0 / /srv/pgdata rw - ext4 /dev/mapper/vg-lv rw"
    sight: dict[str, Any] = {"mounts": line, "disks": {serial(disk): "8:16"}, "above": {"8:16": ["253:0"]}}
    node._parsed, node._machine = ("", []), cast(Any, SimpleNamespace(agent=SimpleNamespace(sight=sight)))
    assert mountpoints(node, disk) == ["/srv/pgdata"]
    assert node.device_of(disk) == os.makedev(8, 16)
    sight["above"] = {"8:16": []}
    assert mountpoints(node, disk) == []
    sight["disks"] = {}
    assert node.devices_of(disk) == () and node.device_of(disk) is None


def _line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
